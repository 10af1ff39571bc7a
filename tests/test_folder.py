"""Anybody's own folders: the layouts, the groups, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import unmask
from datamodules import DataOf
from unmask.data.manifest import ManifestError
from unmask.data.prepare import prepare
from unmask.datasets.folder import Folder
from unmask.media.recipe import FaceCrops


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return root


def module(root: Path, name: str = "own", group: str | None = None, **options) -> DataOf:
    source = Folder(name, root, options.get("only"), group)
    options = {"protocol": "predefined", **options}
    return DataOf(source, root.parent / "prepared", FaceCrops(frames=4, crop_size=32), **options)


PLAIN = [f"real/{n:03d}.jpg" for n in range(20)] + [f"fake/swap/{n:03d}.mp4" for n in range(20)]


def test_label_method_and_group_are_read_from_the_path(tmp_path):
    files = (*PLAIN, "REAL/anna/1.PNG".lower().replace("png", "PNG"), "fake/gan/anna/1.png", "fake/loose.webm")
    items = module(tree(tmp_path / "d", *files)).manifest().set_index("item")
    assert items.loc["own/real/anna/1", ["label", "method", "path"]].tolist() == [0, "real", "real/anna/1.PNG"]
    assert items.loc["own/gan/anna/1", ["label", "method", "path"]].tolist() == [1, "gan", "fake/gan/anna/1.png"]
    assert items.loc["own/fake/loose", "method"] == "fake"
    assert list(items.loc["own/gan/anna/1", "groups"]) == list(items.loc["own/real/anna/1", "groups"]) == ["own/anna"]
    assert list(items.loc["own/swap/007", "groups"]) == list(items.loc["own/real/007", "groups"]) == ["own/007"]


def test_whole_groups_are_dealt_by_seed(tmp_path):
    root = tree(tmp_path / "d", *PLAIN)
    items = module(root, val_fraction=0.25).manifest()
    splits = items.groupby(items["groups"].str[0])["split"].agg(set)
    assert splits.map(len).max() == 1, "a fake stays with the real of its name"
    counts = items.groupby(["split", "label"]).size().unstack()
    assert counts.loc["test"].tolist() == [4, 4] and counts.loc["val"].tolist() == [4, 4]
    assert module(root, val_fraction=0.25).manifest()["split"].equals(items["split"])
    assert not module(root, val_fraction=0.25, split_seed=1).manifest()["split"].equals(items["split"])
    other = module(root, val_fraction=0.5).manifest()
    assert (other["split"] == "test").equals(items["split"] == "test"), "validation takes nothing from the test set"


def test_a_pattern_names_the_group(tmp_path):
    files = [f"{kind}/{film}_frame{n}.jpg" for kind in ("real", "fake") for film in "abcdefgh" for n in range(4)]
    root = tree(tmp_path / "d", *files)
    items = module(root, group="(.+)_frame", val_fraction=0.25).manifest()
    films = items.groupby(items["path"].str.extract(r"/(.)_frame")[0])["split"].agg(set)
    assert films.map(len).max() == 1 and len(set.union(*films)) == 3
    assert set(module(root, group="^.").manifest()["groups"].str[0]) == {f"own/{film}" for film in "abcdefgh"}
    with pytest.raises(ManifestError, match=r"data.group=clip does not match 'a_frame0'"):
        module(root, group="clip").manifest()
    with pytest.raises(ValueError, match="is not a regular expression"):
        module(root, group="(")
    assert (
        module(root, group="(.+)_frame")
        .prepared.command()
        .startswith("unmask prepare data=folder data.name=own 'data.group=(.+)_frame' data.root=")
    )


def test_a_data_set_that_comes_divided_keeps_its_splits(tmp_path):
    files = [f"{split}/{kind}/{n}.jpg" for split in ("train", "Test") for kind in ("real", "fake") for n in range(10)]
    root = tree(tmp_path / "d", *files)
    data = module(root, val_fraction=0.2)
    items = data.manifest().set_index("path")
    assert (
        data.split.protocol == "predefined"
        and (items.loc[[p.startswith("Test") for p in items.index], "split"] == "test").all()
    )
    assert (items["split"] == "val").sum() == 4 and not items.loc[items["split"] == "val"].index.str.contains(
        "Test"
    ).any()
    tree(root, "validation/real/1.jpg", "validation/fake/1.jpg")
    items = module(root, val_fraction=0.2).manifest()
    assert items.groupby("split").size().to_dict() == {"test": 20, "train": 20, "val": 2}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["notes/a.jpg"], "no video or picture in real/ and fake/ in"),
        (["reals/a.jpg", "Fakes/b.jpg"], "rename Fakes/ to fake/, reals/ to real/"),
        (["real/a.jpg", "real/b.jpg"], "the real items form 2 groups, too few for three splits"),
        (["real/a.jpg", "fake/b.jpg", "train/real/c.jpg"], "contains both fake/ and train/: use one of"),
        (
            [f"{k}/s/{n}.jpg" for k in ("real", "fake/m") for n in range(9)],
            "the real items form 1 group, .* data.group",
        ),
    ],
)
def test_what_cannot_be_used_says_so(tmp_path, files, reason):
    with pytest.raises(ManifestError, match=reason):
        module(tree(tmp_path / "d", *files)).manifest()


def test_files_of_other_kinds_are_counted(tmp_path):
    root = tree(tmp_path / "d", *PLAIN, "real/a.txt", "fake/b.txt", "fake/c", "real/.DS_Store")
    with pytest.warns(UserWarning, match=r"3 files in .* are ignored \(2 .txt, 1 without suffix\)"):
        assert len(module(root).manifest()) == 40


def test_names_that_differ_by_suffix_and_linked_folders(tmp_path):
    root = tree(tmp_path / "d", *PLAIN, "real/x.jpg", "real/x.png")
    (tree(tmp_path / "elsewhere", "1.jpg") / "loop").symlink_to(tmp_path / "elsewhere")
    (root / "fake/linked").symlink_to(tmp_path / "elsewhere")
    items = set(module(root).manifest()["item"])
    assert {"own/real/x.jpg", "own/real/x.png", "own/linked/1"} < items and len(items) == 43


def test_pictures_go_the_whole_way(shared_data, tmp_path):
    portraits = sorted(shared_data.glob("face_photos/*_aligned160.png"))
    root = tmp_path / "d"
    for split in ("train", "test"):
        for kind, files in (("real", portraits[:2]), ("fake/drawn", portraits[2:])):
            (root / split / kind).mkdir(parents=True)
            for file in files:
                pixels = np.asarray(Image.open(file).convert("RGB"))
                copy = root / split / kind / file.name
                Image.fromarray(pixels if split == "train" else pixels[:, ::-1]).save(copy)
    said = unmask("prepare", "data=folder", f"data.root={root}", "data.name=own", "check=true", cwd=tmp_path).stdout
    assert "found: 4 real and 4 fake pictures" in said
    data = module(root, frames_per_video=1, image_size=32, batch_size=2, val_fraction=0.5)
    with pytest.raises(ValueError, match=r"unmask prepare data=folder data.name=own data.root="):
        _ = data.store
    shutil.copy(portraits[0], root / "train/real/again.png")
    prepare(data.manifest(), root, data.folder, data.recipe, num_workers=0)
    data.setup("fit")
    assert {split: len(samples) for split, samples in data.samples.items()} == {"train": 2, "val": 3, "test": 4}
    words = data.protocol_words("test")
    assert words["Split"] == "predefined (the splits of the folders)"
    batch = next(iter(data.test_dataloader()))
    assert batch["x"].shape == (2, 3, 32, 32)
    assert words["Data"].endswith("pictures") and words["Samples"] == "each picture once"


def test_the_same_picture_in_two_splits_is_refused(tmp_path, shared_data):
    photo = next(shared_data.glob("face_photos/*_aligned160.png"))
    root = tmp_path / "d"
    for name in ("train/real/a.png", "train/fake/b.png", "test/real/c.png", "test/fake/d.png"):
        (root / name).parent.mkdir(parents=True)
        shutil.copy(photo, root / name)
    data = module(root)
    prepare(data.manifest(), root, data.folder, data.recipe, num_workers=0)
    with pytest.raises(ManifestError, match="the same file is in two splits"):
        data.setup("test")
