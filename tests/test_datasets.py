"""The data sets' disks: each official layout in small, its traps, and the real files where they are at hand."""

import json
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import unmask
from datamodules import DataOf
from unmask.data.manifest import Item, ManifestError, items_table
from unmask.data.prepare import prepare
from unmask.data.splits import random_groups
from unmask.datasets.celeba import CelebA
from unmask.datasets.deepfakeart import DeepfakeArt
from unmask.datasets.dfdc import DFDC
from unmask.datasets.faceforensics import FaceForensics
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return root


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# -- FaceForensics++

PAIRS = {"train": [["000", "003"], ["001", "870"], ["033", "097"]], "val": [["720", "672"]], "test": [["953", "974"]]}
ORIGINALS = "original_sequences/youtube/c23/videos"
FAKES = "manipulated_sequences/{}/c23/videos"


def ffpp(root: Path, lists: str | None = "splits", methods: tuple[str, ...] = ("Deepfakes", "Face2Face")) -> Path:
    pairs = [pair for found in PAIRS.values() for pair in found]
    tree(root, *(f"{ORIGINALS}/{number}.mp4" for pair in pairs for number in pair))
    for method in methods:
        tree(root, *(f"{FAKES.format(method)}/{a}_{b}.mp4" for pair in pairs for a, b in permutations(pair)))
    for split, found in PAIRS.items() if lists is not None else ():
        write(root / lists / f"{split}.json", found)
    return root


def faceforensics(root: Path, methods=("Deepfakes", "Face2Face"), **options) -> DataOf:
    recipe = FaceCrops(frames=2, crop_size=32)
    source = FaceForensics("ff_c23", root, options.pop("compression", "c23"), methods)
    return DataOf(source, root.parent / "prepared", recipe, **{"protocol": "predefined", **options})


@pytest.mark.parametrize("lists", ["", "splits"])
def test_ff_reads_targets_sources_and_the_official_split(tmp_path, lists):
    data = faceforensics(ffpp(tmp_path / "ff", lists))
    items = data.manifest().set_index("item")
    fake = items.loc["ff_c23/Deepfakes/000_003"]
    assert (fake["label"], fake["method"], fake["source"]) == (1, "Deepfakes", "ff_c23/youtube/000")
    assert list(fake["groups"]) == ["ff_c23/youtube/000", "ff_c23/youtube/003"] and fake["mask"] is None
    assert items.loc["ff_c23/youtube/003", ["label", "method"]].tolist() == [0, "real"]
    assert items.groupby(["split", "method"]).size().to_dict() == {
        (split, method): 2 * len(pairs)
        for split, pairs in PAIRS.items()
        for method in ("real", "Deepfakes", "Face2Face")
    }, "both directions of a pair are in its split, with both of its videos"
    assert items.loc["ff_c23/Face2Face/974_953", "split"] == "test"


def test_ff_without_lists_says_where_they_are_had_and_what_needs_none(tmp_path):
    root = ffpp(tmp_path / "ff", None)
    said = r"train.json, val.json, test.json .* are missing .*dataset/splits of https://github.com/ondyari/.*"
    with pytest.raises(ManifestError, match=said + "data.split.protocol=identity_disjoint or random_groups"):
        faceforensics(root).manifest()
    for protocol in ("identity_disjoint", "random_groups"):
        items = faceforensics(root, protocol=protocol, val_fraction=0.3).manifest()
        members = items.explode("groups").groupby("groups")["split"].nunique()
        assert set(items["split"]) == {"train", "val", "test"} and members.max() == 1
    write(root / "test.json", PAIRS["test"])
    with pytest.raises(ManifestError, match=r"train.json, val.json of the official split are missing"):
        faceforensics(root, protocol="random_groups").manifest()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("val.json", [["953", "672"]], "video 953 is also in val.json"),
        ("val.json", {"pairs": 1}, 'val.json: expected a list of pairs like .*"033", "097"'),
        ("val.json", "split,pair", "val.json: expected a list of pairs"),
        ("test.json", [["target", "source"], ["953", "974"]], r"test.json: expected pairs .* \['target', 'source'\]"),
        ("val.json", [], "672.mp4: expected 672 in one of the official lists"),
        (
            "val.json",
            [["720", "672"], ["004", "982"]],
            r"6 of the 36 videos .* such as youtube/004: the download is incomp",
        ),
    ],
)
def test_ff_lists_that_do_not_fit_are_named(tmp_path, name, content, reason):
    root = ffpp(tmp_path / "ff")
    write(root / "splits" / name, content)
    with pytest.raises(ManifestError, match=reason):
        faceforensics(root).manifest()


def test_ff_a_fake_among_the_originals_is_named(tmp_path):
    root = tree(ffpp(tmp_path / "ff"), f"{ORIGINALS}/000_003.mp4")
    with pytest.raises(ManifestError, match=r"youtube/c23/videos/000_003.mp4: expected a name like 033.mp4"):
        faceforensics(root).manifest()


def test_ff_a_missing_method_or_compression_is_named(tmp_path):
    root = ffpp(tmp_path / "ff")
    with pytest.raises(ManifestError, match=r"no .mp4 in .*FaceSwap/c23/videos"):
        faceforensics(root, ("FaceSwap",)).manifest()
    with pytest.raises(ManifestError, match=r"no .mp4 in .*youtube/c40/videos \(set data.compression to c23\)"):
        faceforensics(root, compression="c40").manifest()
    with pytest.raises(ValueError, match=r"data.methods: unknown DeepFakes; expected some of Deepfakes, "):
        faceforensics(root, ("DeepFakes",))
    with pytest.raises(ValueError, match="choose at least one"):
        faceforensics(root, ())


def test_ff_masks_are_found_beside_the_compressions(tmp_path):
    root = tree(ffpp(tmp_path / "ff"), "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    items = faceforensics(root).manifest().set_index("item")
    assert items.loc["ff_c23/Deepfakes/000_003", "mask"] == "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"
    assert items["mask"].notna().sum() == 1


def test_ff_actors_belong_to_deepfakedetection_and_all_of_it_is_for_testing(tmp_path):
    root = ffpp(tmp_path / "ff")
    tree(root, *(f"original_sequences/actors/c23/videos/{name}.mp4" for name in ("01__hugging", "02__walk_down")))
    tree(root, FAKES.format("DeepFakeDetection") + "/01_02__hugging__YTHVB2AM.mp4")
    assert not any("actors" in path for path in faceforensics(root).manifest()["path"])
    items = faceforensics(root, ("Deepfakes", "DeepFakeDetection")).manifest().set_index("item")
    fake = items.loc["ff_c23/DeepFakeDetection/01_02__hugging__YTHVB2AM"]
    assert fake["source"] == "ff_c23/actors/01__hugging" and fake["source"] in items.index
    assert list(fake["groups"]) == ["ff_c23/actors/01", "ff_c23/actors/02"]
    acted = items[items.index.str.contains("actors|DeepFakeDetection")]
    assert len(acted) == 3 and (acted["split"] == "test").all() and (items["split"] == "train").sum() == 12
    shutil.rmtree(root / "splits")
    alone = faceforensics(root, ("DeepFakeDetection",)).manifest()
    assert (alone["split"] == "test").all() and len(alone) == 3, "it needs no lists"


def divided(data: DataOf, items: pd.DataFrame) -> pd.DataFrame:
    """What is prepared, with the splits of a data module."""
    return data.split.divide(items, None, data.source)[0]


def test_ff_methods_choose_from_what_is_prepared(tmp_path):
    data = faceforensics(ffpp(tmp_path / "ff"))
    stored = data.manifest().drop(columns="split")
    few = divided(faceforensics(data.root, ("Face2Face",)), stored)
    assert few.loc[few["split"].notna(), "method"].value_counts().to_dict() == {"real": 10, "Face2Face": 10}
    assert few["item"].tolist() == stored["item"].tolist(), "the others stay, without a split"
    with pytest.raises(ManifestError, match=r"data.methods: no crops of FaceSwap are prepared"):
        divided(faceforensics(data.root, ("Face2Face", "FaceSwap")), stored)
    with pytest.raises(ManifestError, match=r"are missing .* prepare again with rerun=true"):
        divided(data, stored.assign(predefined=None))
    assert data.prepared.command().startswith(
        "unmask prepare data=faceforensics data.compression=c23 'data.methods=[Deepfakes,Face2Face]' data.root="
    )


@pytest.mark.slow
def test_ff_real_clips(shared_data, tmp_path):
    four = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    data = faceforensics(shared_data / "ffpp", four, protocol="random_groups", val_fraction=0.4)
    items = data.manifest().set_index("item")
    assert len(items) == 8 and items.loc["ff_c23/FaceSwap/634_660", "source"] == "ff_c23/youtube/634"
    assert pd.isna(items.loc["ff_c23/Face2Face/750_743", "source"]), "its original is not there"
    unmatched = items.groupby(items["groups"].str[0])["split"].nunique()
    assert unmatched.max() == 1
    here = ("data=faceforensics", f"data.root={shared_data / 'ffpp'}")
    said = unmask("prepare", *here, "data.split.protocol=random_groups", "check=true", cwd=tmp_path).stdout
    assert "manipulated_sequences/METHOD/c23/videos" in said and "faceforensics_c23: download it from https" in said
    assert "found: 3 real and 5 fake videos" in said
    missing = unmask(
        "prepare", "data=faceforensics", f"data.root={shared_data / 'ffpp'}", "check=true", cwd=tmp_path, expect=1
    ).stdout
    assert "missing: train.json, val.json, test.json" in missing


# -- DFDC


def part(root: Path, number: int, originals: int = 4) -> Path:
    entries = {}
    for n in range(originals):
        entries[f"r{number}{n}.mp4"] = {"label": "REAL", "split": "train"}
        for k in range(3):
            entries[f"f{number}{n}{k}.mp4"] = {"label": "FAKE", "split": "train", "original": f"r{number}{n}.mp4"}
    folder = f"dfdc_train_part_{number}"
    write(root / folder / "metadata.json", entries)
    return tree(root, *(f"{folder}/{name}" for name in entries))


def dfdc(root: Path, **options) -> DataOf:
    given = {"protocol": "predefined", **options}
    return DataOf(DFDC("dfdc", root), root.parent / "prepared", FaceCrops(frames=2), **given)


def test_dfdc_fakes_stay_with_their_original(tmp_path):
    root = part(part(tmp_path / "dfdc", 0), 1)
    data = dfdc(root, val_fraction=0.3)
    items = data.manifest().set_index("item")
    assert data.split.rule(items, data.source) == "random_groups", "the parts come without a split of their own"
    fake = items.loc["dfdc/dfdc/f012"]
    assert (fake["label"], fake["source"], list(fake["groups"])) == (1, "dfdc/real/r01", ["dfdc/r01"])
    assert fake["path"] == "dfdc_train_part_0/f012.mp4"
    assert items.groupby(items["groups"].str[0])["split"].nunique().eq(1).all()
    assert items.groupby("label").size().tolist() == [8, 24] and set(items["split"]) == {"train", "val", "test"}


def test_dfdc_one_folder_may_be_the_root(tmp_path):
    root = part(tmp_path / "dfdc", 0, 6) / "dfdc_train_part_0"
    metadata = json.loads((root / "metadata.json").read_text())
    metadata.pop("r00.mp4")  # in Kaggle's sample most originals are not there
    write(root / "metadata.json", metadata)
    items = dfdc(root).manifest().set_index("item")
    assert pd.isna(items.loc["dfdc/dfdc/f000", "source"]) and list(items.loc["dfdc/dfdc/f000", "groups"]) == [
        "dfdc/r00"
    ]
    assert items.loc["dfdc/dfdc/f010", "source"] == "dfdc/real/r01"


def test_dfdc_the_public_test_set_is_for_testing(tmp_path):
    root = part(tmp_path / "dfdc", 0)
    write(root / "test/labels.csv", "filename,label\na.mp4,0\nb.mp4,1\n")
    tree(root, "test/test_videos/a.mp4", "test/test_videos/b.mp4")
    data = dfdc(root, val_fraction=0.3)
    items = data.manifest()
    assert data.split.rule(items, data.source) == "predefined" and (items["split"] == "val").any()
    assert items.loc[items["split"] == "test", ["path", "label"]].to_numpy().tolist() == [
        ["test/test_videos/b.mp4", 1],
        ["test/test_videos/a.mp4", 0],
    ]
    assert set(dfdc(root / "test").manifest()["split"]) == {"test"}


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        ("a.mp4,0\nb.mp4,1\n", r"labels.csv, line 1: expected the header `filename,label`"),
        ("filename,label\na.mp4,REAL\n", r"labels.csv, line 2: expected `FILENAME,LABEL` with 0 or 1 .*'a.mp4,REAL'"),
        ("filename,label\na.mp4,0\nc.mp4,1\n", r"1 of 2 videos in .*labels.csv are missing, such as .*c.mp4"),
    ],
)
def test_dfdc_a_wrong_line_of_the_test_list_is_named(tmp_path, listing, reason):
    write(tmp_path / "dfdc/labels.csv", listing)
    tree(tmp_path / "dfdc", "a.mp4", "b.mp4")
    with pytest.raises(ManifestError, match=reason):
        dfdc(tmp_path / "dfdc").manifest()


def test_dfdc_upside_down_or_broken_metadata_is_refused(tmp_path):
    root = part(tmp_path / "dfdc", 0)
    file = root / "dfdc_train_part_0/metadata.json"
    text = file.read_text()
    file.write_text(text.replace("REAL", "x").replace("FAKE", "REAL").replace("x", "FAKE"))
    with pytest.raises(
        ManifestError, match=r"f000.mp4 is labelled REAL and made from r00.mp4; expected .*: are the labels swapped"
    ):
        dfdc(root).manifest()
    file.write_text(text.replace("REAL", "real"))
    with pytest.raises(ManifestError, match=r"the label of r00.mp4 is 'real', not REAL or FAKE"):
        dfdc(root).manifest()
    write(file, ["r00.mp4"])
    with pytest.raises(ManifestError, match=r"metadata.json: expected "):
        dfdc(root).manifest()
    file.write_text(text)
    (root / "dfdc_train_part_0/f000.mp4").unlink()
    with pytest.raises(ManifestError, match=r"1 of 16 videos .* f?.*f000.mp4: the download is incomplete"):
        dfdc(root).manifest()
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(ManifestError, match=r"no metadata.json and no labels.csv .*\n.*download it from https"):
        dfdc(root).manifest()


# -- DeepfakeArt


def paintings(root: Path, count: int = 12, lists: bool = True) -> Path:
    numbers = [7 * n for n in range(count)]  # as in the data set, not every number is there
    kinds = ("original", "inpainting", "mask", "group")
    tree(root, *(f"similar/inpainting/{n}/{kind}.png" for n in numbers for kind in kinds))
    entries = {
        str(n): {
            f: f"similar/inpainting/{n}/{k}.png" for f, k in (("original", "original"), ("generated", "inpainting"))
        }
        for n in numbers
    }
    other = {"0": {"original": "similar/cutmix/1_source_1.png", "generated": "similar/cutmix/1_source_2.png"}}
    for split, chosen in (("train", numbers[:-3]), ("test", numbers[-3:])) if lists else ():
        write(
            root / f"similar/{split}_similar.json",
            {"inpainting": {str(n): entries[str(n)] for n in chosen}, "cutmix": other},
        )
    return root


def art(root: Path, **options) -> DataOf:
    recipe = WholePictures(32)
    given = {"protocol": "predefined", **options}
    return DataOf(DeepfakeArt("deepfakeart", root), root.parent / "prepared", recipe, **given)


def test_art_a_painting_is_an_original_and_its_inpainting(tmp_path):
    data = art(paintings(tmp_path / "art"), val_fraction=0.2)
    items = data.manifest().set_index("item")
    fake = items.loc["deepfakeart/inpainting/14"]
    assert (fake["label"], fake["source"], fake["path"]) == (
        1, "deepfakeart/real/14", "similar/inpainting/14/inpainting.png",
    )  # fmt: skip
    assert fake["mask"] == "similar/inpainting/14/mask.png" and list(fake["groups"]) == ["deepfakeart/14"]
    assert len(items) == 24 and not items["path"].str.contains("group.png").any()
    assert (
        data.split.rule(items, data.source) == "predefined"
        and items.groupby(items["groups"].str[0])["split"].nunique().eq(1).all()
    )
    test = sorted(items.loc[items["split"] == "test", "groups"].str[0].unique())
    assert test == ["deepfakeart/63", "deepfakeart/70", "deepfakeart/77"] and (items["split"] == "val").any()


def test_art_several_masks_and_methods(tmp_path):
    """What `unmask inpaint` writes."""
    root = paintings(tmp_path / "art", lists=False)
    masks = ("upper_left", "random_patches")
    tree(root, *(f"similar/inpainting/A_1/{kind}_{mask}.png" for kind in ("inpainting", "mask") for mask in masks))
    tree(root, "similar/inpainting/A_1/original.png")
    write(root / "methods.csv", "path,method\nsimilar/inpainting/A_1/inpainting_upper_left.png,sd2\n")
    data = art(root)
    items = data.manifest().set_index("item")
    assert data.split.rule(items, data.source) == "random_groups", "there are no lists"
    assert items.loc["deepfakeart/sd2/A_1_upper_left", "mask"] == "similar/inpainting/A_1/mask_upper_left.png"
    assert items.loc["deepfakeart/inpainting/A_1_random_patches", "source"] == "deepfakeart/real/A_1"
    assert items[items["groups"].str[0] == "deepfakeart/A_1"]["split"].nunique() == 1
    write(root / "methods.csv", "file,kind\n")
    with pytest.raises(ManifestError, match=r"methods.csv, line 1: expected the columns `path,method`"):
        art(root).manifest()


def test_art_lists_that_do_not_fit_are_named(tmp_path):
    root = paintings(tmp_path / "art")
    file = root / "similar/test_similar.json"
    text = file.read_text()
    file.write_text(
        text.replace('"original":', '"x":').replace('"generated":', '"original":').replace('"x":', '"generated":')
    )
    with pytest.raises(ManifestError, match=r"63/inpainting.png is listed as the original of .*: are the two swapped"):
        art(root).manifest()
    file.write_text(text.replace("inpainting/63/", "inpainting/64/"))
    with pytest.raises(ManifestError, match=r"lists .*inpainting/64/original.png, but .* lacks it: .* incomplete"):
        art(root).manifest()
    file.write_text(text.replace("inpainting/63/", "inpainting/7/"))
    with pytest.raises(ManifestError, match=r"painting 7 is also in train_similar.json"):
        art(root).manifest()
    write(file, ["inpainting"])
    with pytest.raises(ManifestError, match=r"test_similar.json: expected \{attack: "):
        art(root).manifest()
    file.write_text(text)
    tree(root, "similar/inpainting/99/original.png", "similar/inpainting/99/inpainting.png")
    with pytest.raises(
        ManifestError,
        match=r"99/.*, belong to paintings that no official list contains; data.split.protocol=random_groups",
    ):
        art(root).manifest()
    file.unlink()
    with pytest.raises(ManifestError, match=r"test_similar.json is missing"):
        art(root).manifest()


def test_art_an_incomplete_painting_is_named(tmp_path):
    root = paintings(tmp_path / "art", lists=False)
    for name in ("inpainting", "original"):
        (root / f"similar/inpainting/7/{name}.png").unlink()
        with pytest.raises(ManifestError, match=rf"inpainting/7/{name}.png is missing"):
            art(root).manifest()
    with pytest.raises(ManifestError, match=r"no folders of paintings in .*\n.*download it from https"):
        art(root / "similar").manifest()


def test_art_originals_alone_are_a_data_set_too(tmp_path):
    """All else was deleted; the official lists still name the forgeries."""
    root = paintings(tmp_path / "art")
    for path in root.glob("similar/inpainting/*/*.png"):
        if path.name != "original.png":
            path.unlink()
    items = DeepfakeArt("deepfakeart", root).find_items()
    assert sorted(item.item for item in items) == sorted(f"deepfakeart/real/{7 * n}" for n in range(12))
    assert {item.label for item in items} == {0}
    assert {item.item.split("/")[2] for item in items if item.predefined == "test"} == {"63", "70", "77"}
    (root / "similar/inpainting/70/original.png").unlink()
    with pytest.raises(ManifestError, match=r"inpainting/70/original.png is missing"):
        DeepfakeArt("deepfakeart", root).find_items()


def test_art_the_mask_of_a_forgery_is_its_attribute(tmp_path):
    root = tmp_path / "art"
    tree(root, *(f"similar/inpainting/5/{name}.png" for name in ("original", "inpainting_upper_left", "inpainting_x")))
    tree(root, *(f"similar/inpainting/6/{name}.png" for name in ("original", "inpainting", "mask")))
    found = {item.item.partition("/")[2]: dict(item.attributes) for item in art(root).find_items()}
    assert found == {
        "real/5": {"mask": "none"}, "inpainting/5_upper_left": {"mask": "upper_left"}, "inpainting/5_x": {"mask": "x"},
        "real/6": {}, "inpainting/6": {},
    }  # fmt: skip


@pytest.mark.slow
def test_art_goes_the_whole_way_on_real_paintings(shared_data, tmp_path):
    root = shared_data / "deepfakeart_layout"
    data = DataOf(
        DeepfakeArt("deepfakeart", root), tmp_path / "prepared", WholePictures(64, masks=True), protocol="predefined",
        val_fraction=0.3, frames_per_video=1, image_size=64, batch_size=2, masks=True, balance="pairs",
    )  # fmt: skip
    prepare(data.manifest(), root, data.folder, data.recipe, num_workers=0)
    data.setup("fit")
    assert sum(len(samples) for samples in data.samples.values()) == 16
    words = data.protocol_words("test")
    assert "single pictures" in words["Task"] and "whether two pictures are similar" in words["Task"]
    assert words["Split"].startswith(
        "random_groups (a painting and everything made from it stay together, assigned at random with seed 0"
    )
    batch = next(iter(data.train_dataloader()))
    assert batch["y"].tolist() == [1, 0] and batch["mask"][0].any() and not batch["mask"][1].any()
    said = unmask("prepare", "data=deepfakeart", f"data.root={root}", "check=true", cwd=tmp_path).stdout
    assert "found: 8 real and 8 fake pictures" in said and "inpainting_MASK.png" in said


# -- CelebA

NAMES = [f"{number:06d}.jpg" for number in range(1, 13)]


def celeba(root: Path, **options) -> DataOf:
    recipe = WholePictures(178, fit="cut")
    given = {"protocol": "predefined", "prepared": root.parent / "prepared", **options}
    return DataOf(CelebA("celeba", root), recipe=recipe, **given)


def celeba_tree(root: Path, kaggle: bool = False) -> Path:
    """The twelve pictures with Smiling in every second and Young in the first four; the last three for testing."""
    folder = "img_align_celeba/img_align_celeba" if kaggle else "img_align_celeba"
    tree(root, *(f"{folder}/{name}" for name in NAMES))
    smiling = [1 if at % 2 else -1 for at in range(12)]
    young = [1 if at < 4 else -1 for at in range(12)]
    part = [0] * 7 + [1] * 2 + [2] * 3
    if kaggle:
        rows = "".join(f"{name},{s},{y}\n" for name, s, y in zip(NAMES, smiling, young, strict=True))
        write(root / "list_attr_celeba.csv", "image_id,Smiling,Young\n" + rows)
        rows = "".join(f"{name},{p}\n" for name, p in zip(NAMES, part, strict=True))
        write(root / "list_eval_partition.csv", "image_id,partition\n" + rows)
        return root
    rows = "".join(f"{name} {s:2d} {y:2d}\n" for name, s, y in zip(NAMES, smiling, young, strict=True))
    write(root / "Anno/list_attr_celeba.txt", "12\nSmiling Young \n" + rows)
    write(root / "Eval/list_eval_partition.txt", "".join(f"{n} {p}\n" for n, p in zip(NAMES, part, strict=True)))
    write(root / "Anno/identity_CelebA.txt", "".join(f"{name} {2880 + at // 2}\n" for at, name in enumerate(NAMES)))
    return root


@pytest.mark.filterwarnings("ignore:identity_CelebA")
@pytest.mark.parametrize("kaggle", [False, True])
def test_celeba_both_forms_of_its_lists(tmp_path, kaggle):
    data = celeba(celeba_tree(tmp_path / "celeba", kaggle))
    items = data.manifest()
    assert (
        (items["label"] == 0).all()
        and items["item"].iloc[0] == "celeba/real/000001"
        and data.split.rule(items, data.source) == "predefined"
    )
    assert items["attribute.Smiling"].tolist() == [0, 1] * 6 and items["attribute.Young"].tolist() == [1] * 4 + [0] * 8
    assert items["split"].tolist() == ["train"] * 7 + ["val"] * 2 + ["test"] * 3
    assert [list(groups) for groups in items["groups"]][1:3] == (
        [[], []] if kaggle else [["celeba/person2880"], ["celeba/person2881"]]
    )


def test_celeba_lists_are_optional_and_said_to_be_missing(tmp_path):
    root = tree(tmp_path / "celeba", *(f"img_align_celeba/{name}" for name in NAMES))
    data = celeba(root, val_fraction=0.25)
    with pytest.warns(UserWarning) as warned:
        items = data.manifest()
    said = " ".join(str(warning.message) for warning in warned)
    assert "contains no list_attr_celeba.txt or .csv" in said and "attributes are not available" in said
    assert "list_eval_partition.txt or .csv" in said and "assigned to splits at random" in said
    assert data.split.rule(items, data.source) == "random_groups" and items["split"].value_counts().to_dict() == {
        "train": 8,
        "val": 2,
        "test": 2,
    }
    assert not any(column.startswith("attribute.") for column in items)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "Eval/list_eval_partition.txt",
            "image_id partition\n000001.jpg 0\n",
            r"line 1: .* but got 'image_id partition'",
        ),
        (
            "list_eval_partition.csv",
            "000001.jpg,0\n000002.jpg,0\n",
            r"list_eval_partition.csv, line 1: expected a header",
        ),
        (
            "Eval/list_eval_partition.txt",
            "000001.jpg 3\n",
            r"line 1: expected a picture and 1 value of \[0, 1, 2\], but got '000001.jpg 3'",
        ),
        ("Eval/list_eval_partition.txt", "000001.jpg 0\n", r"11 of 12 pictures have no line, such as 000002.jpg"),
        ("Anno/list_attr_celeba.txt", "1\nSmiling Young\n000001.jpg 1\n", r"line 3: .* 2 values of \[-1, 1\]"),
        ("Anno/list_attr_celeba.txt", "1\nSmiling\n000001.jpg 0\n", r"line 3: .* but got '000001.jpg 0'"),
        ("Anno/list_attr_celeba.txt", "000001.jpg 1\n000002.jpg 1\n", r"line 2: expected column names"),
    ],
)
@pytest.mark.filterwarnings("ignore:identity_CelebA")
def test_celeba_a_wrong_line_is_named(tmp_path, name, content, reason):
    root = celeba_tree(tmp_path / "celeba")
    for path in root.glob(f"*/{Path(name).stem}.*"):
        path.unlink()
    write(root / name, content)
    with pytest.raises(ManifestError, match=reason):
        celeba(root).manifest()


def test_celeba_an_incomplete_download_is_said(tmp_path):
    root = celeba_tree(tmp_path / "celeba")
    (root / "img_align_celeba/000012.jpg").unlink()
    with pytest.warns(UserWarning, match=r"lists 12 pictures, but .* contains 11: the download is incomplete"):
        assert len(celeba(root).manifest()) == 11
    shutil.rmtree(root / "img_align_celeba")
    with pytest.raises(ManifestError, match=r"no .jpg in .*img_align_celeba\n.*download it from https"):
        celeba(root).manifest()


def test_celeba_real_pictures_keep_their_middle(shared_data, tmp_path):
    root = tmp_path / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for file in sorted((shared_data / "celeba/img_align_celeba").glob("*.jpg"))[:12]:
        shutil.copy(file, root / "img_align_celeba")
    celeba_tree(tmp_path / "lists")
    for folder in ("Anno", "Eval"):
        shutil.copytree(tmp_path / "lists" / folder, root / folder)
    said = unmask("prepare", "data=celeba", f"data.root={root}", "prepare.num_workers=0", cwd=tmp_path).stdout
    assert "12 real and 0 fake pictures" in said and "12 items prepared, 0 rejected" in said
    data = celeba(root, prepared=tmp_path / "outputs/prepared", frames_per_video=1)
    _, pixels = data.store.of_item("celeba/real/000003", [0])
    with Image.open(root / "img_align_celeba/000003.jpg") as picture:
        np.testing.assert_array_equal(pixels[0], np.asarray(picture)[20:198].transpose(2, 0, 1))
    data.setup("test")
    assert len(data.samples["train"]) == 7 and data.items["attribute.Smiling"].sum() == 6
    data.samples.clear()
    with pytest.raises(ManifestError, match=r"all 12 items of celeba are real, .*blend=sbi.*To train a generator, set"):
        data.setup("fit")


# -- splits that all share


def test_random_groups_deals_one_class_too():
    rows = [Item(f"d/real/{n}", f"{n}.jpg", 0, "real", groups=(f"{n // 2}",)) for n in range(40)]
    items = items_table(rows)
    split = random_groups(items, val_fraction=0.25, test_fraction=0.2)
    assert split.value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    assert pd.crosstab(items["groups"].str[0], split).gt(0).sum(axis=1).eq(1).all()
    with pytest.raises(ManifestError, match="the real items form 2 groups"):
        random_groups(items.iloc[:3])


def test_the_share_for_testing_is_the_users(tmp_path):
    root = part(part(tmp_path / "dfdc", 0), 1)
    counts = [(dfdc(root, test_fraction=share).manifest()["split"] == "test").sum() for share in (0.25, 0.5)]
    assert counts == [8, 16]
