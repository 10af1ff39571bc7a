"""From names to splits to batches: the traps that peers fell into, each a test that can fail."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torchvision.transforms import v2

from datamodules import DataOf
from unmask.data import samplers, sampling
from unmask.data.audit import audit, weighted_auroc
from unmask.data.augment import Augmentation
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.handling import Resample
from unmask.data.manifest import Item, ManifestError, check_leaks, components, items_table
from unmask.data.parts import measured
from unmask.data.pixels import to_float
from unmask.data.prepare import prepare
from unmask.data.splits import identity_disjoint, official
from unmask.data.store import StoreError
from unmask.datasets.celebdf import CelebDF, read_test_list
from unmask.media.crops import Crops
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
from unmask.provenance import watermark


def tree(root: Path, listed: str, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    (root / "List_of_testing_videos.txt").write_text(listed)
    return root


PATHS = (
    *(f"Celeb-real/id{a}_{n:04d}.mp4" for a in range(8) for n in range(2)),
    *(f"Celeb-synthesis/id{a}_id{a ^ 1}_{n:04d}.mp4" for a in range(8) for n in range(2)),
    *(f"YouTube-real/{n:05d}.mp4" for n in range(4)),
)
LISTED = "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n1 YouTube-real/00000.mp4"


def module(root: Path, **kwargs) -> DataOf:
    return DataOf(CelebDF("celebdf_v2", root), root.parent / "prepared", FaceCrops(frames=2, crop_size=32), **kwargs)


# -- Celeb-DF's disk


def test_people_and_sources_are_read_from_the_names(tmp_path):
    items = module(tree(tmp_path / "raw", LISTED, *PATHS)).manifest().set_index("item")
    fake = items.loc["celebdf_v2/celebdf/id2_id3_0001"]
    assert (fake["label"], fake["method"], fake["source"]) == (1, "celebdf", "celebdf_v2/celeb/id2_0001")
    assert list(fake["groups"]) == ["celebdf_v2/id2", "celebdf_v2/id3"], "filmed person and the face put on"
    real = items.loc["celebdf_v2/celeb/id2_0001"]
    assert (real["label"], real["method"], list(real["groups"])) == (0, "real", ["celebdf_v2/id2"])


def test_both_real_folders_are_kept(tmp_path):
    """DeepfakeBench's rearrange.py lets YouTube-real overwrite Celeb-real."""
    items = module(tree(tmp_path / "raw", LISTED, *PATHS)).manifest()
    assert (items["label"] == 0).sum() == 16 + 4 and (items["label"] == 1).sum() == 16
    assert items["item"].is_unique


def test_the_test_list_is_not_read_upside_down(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    assert read_test_list(root / "List_of_testing_videos.txt") == {
        "Celeb-real/id0_0000.mp4": 0,
        "Celeb-synthesis/id0_id1_0000.mp4": 1,
        "YouTube-real/00000.mp4": 0,
    }
    upside_down = LISTED.replace("1 ", "x ").replace("0 ", "1 ").replace("x ", "0 ")
    (root / "List_of_testing_videos.txt").write_text(upside_down)
    with pytest.raises(ManifestError, match="labels contradict the folders"):
        module(root).manifest()


def test_no_header_is_assumed_in_the_list(tmp_path):
    """icpr2020dfdc reads the list with header=0 and loses its first video."""
    items = module(tree(tmp_path / "raw", LISTED, *PATHS)).manifest()
    assert set(items.loc[items["split"] == "test", "path"]) == {line.split()[1] for line in LISTED.splitlines()}


def test_folders_are_found_in_any_case_and_what_is_missing_is_named(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    (root / "YouTube-real").rename(root / "Youtube-real")
    assert (module(root).manifest()["split"] == "test").sum() == 3
    (root / "Celeb-synthesis" / "id0_id1_0000.mp4").unlink()
    with pytest.raises(
        ManifestError, match=r"1 of the 3 videos .* Celeb-synthesis/id0_id1_0000.mp4: the download is incomplete"
    ):
        module(root).manifest()
    (root / "List_of_testing_videos.txt").unlink()
    with pytest.raises(ManifestError, match=r"List_of_testing_videos.txt is missing\n.*download it from https"):
        module(root).manifest()
    with pytest.raises(ManifestError, match="no such folder"):
        module(tmp_path / "nowhere").manifest()


def test_a_wrong_name_or_line_is_named(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS, "Celeb-synthesis/id0_0001.mp4")
    with pytest.raises(ManifestError, match=r"Celeb-synthesis/id0_0001.mp4: expected a name like"):
        module(root).manifest()
    (root / "List_of_testing_videos.txt").write_text("label,path\n")
    with pytest.raises(ManifestError, match=r"line 1: expected `LABEL PATH` .* but got 'label,path'"):
        module(root).manifest()


def test_methods_of_the_sidecar_table(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    (root / "methods.csv").write_text("path,method\nCeleb-synthesis/id0_id1_0000.mp4,faceswap\n")
    items = module(root).manifest()
    assert items["method"].value_counts().to_dict() == {"real": 20, "celebdf": 15, "faceswap": 1}


# -- splits and leaks


def test_validation_is_carved_from_training_by_people(tmp_path):
    items = module(tree(tmp_path / "raw", LISTED, *PATHS), val_fraction=0.3).manifest()
    assert set(items["split"]) == {"train", "val", "test"}
    listed = {line.split()[1] for line in LISTED.splitlines()}
    assert not set(items.loc[items["split"] == "val", "path"]) & listed
    filmed = items.assign(filmed=[groups[0] for groups in items["groups"]])
    both = filmed[filmed["split"] != "test"].groupby("filmed")["split"].nunique()
    assert (both == 1).all(), "a filmed person is in training and validation"
    assert items.loc[items["split"] == "val", "label"].nunique() == 2


@pytest.mark.parametrize(
    "listed", [LISTED, "\n".join(f"{'01'[p.startswith('Celeb-r')]} {p}" for p in PATHS if "id6" in p or "id7" in p)]
)
def test_identity_disjoint_holds_out_both_people_of_a_swap(tmp_path, listed):
    items = module(tree(tmp_path / "raw", listed, *PATHS), protocol="identity_disjoint", val_fraction=0.2).manifest()
    assert set(items["split"]) == {"train", "val", "test"}
    check_leaks(items, disjoint_groups=True)
    # the same without the second person: pairs (a, a^1) are torn apart and the check sees it
    torn = items.assign(groups=[groups[:1] for groups in items["groups"]])
    splits = identity_disjoint(torn.assign(official_test=False), val_fraction=0.3, test_fraction=0.4)
    with pytest.raises(ManifestError, match=r"the group .* is in two splits"):
        check_leaks(items.assign(split=splits), disjoint_groups=True)


def test_one_component_is_refused():
    items = items_table([Item(f"d/x/{n}", f"{n}", 1, "x", groups=(f"p{n}", f"p{n + 1}")) for n in range(5)])
    with pytest.raises(ManifestError, match="no group of people who are connected by swaps can be held out"):
        identity_disjoint(items)
    with pytest.raises(ManifestError, match="official test list"):
        official(items)


def test_components_by_hand():
    assert components([("b", "a"), ("c",), ("d", "c"), ("e", "b")]) == {
        "a": "a",
        "b": "a",
        "e": "a",
        "c": "c",
        "d": "c",
    }


def test_leaks_are_refused_with_their_rows():
    items = items_table([Item(f"d/real/{n}", f"{n}.mp4", 0, "real", groups=(f"p{n}",)) for n in range(4)])
    items = items.assign(split=["train", "train", "val", "test"], sha256=["a", "b", "c", "d"])
    crops = pd.DataFrame({"item": items["item"], "hash": ["1", "2", "3", "4"]})
    check_leaks(items, crops, disjoint_groups=True)
    with pytest.raises(ManifestError, match=r"the same file is in two splits: d/real/0 \(train\), d/real/3 \(test\)"):
        check_leaks(items.assign(sha256=["a", "b", "c", "a"]))
    with pytest.raises(ManifestError, match=r"the same frame is in two splits: d/real/1 \(train\), d/real/2 \(val\)"):
        check_leaks(items, crops.assign(hash=["1", "2", "2", "4"]))
    with pytest.raises(ManifestError, match=r"the group p0 is in two splits"):
        check_leaks(items.assign(groups=[["p0"], ["p1"], ["p2"], ["p0"]]), disjoint_groups=True)


def test_a_manifest_refuses_doubles_and_wrong_labels():
    with pytest.raises(ManifestError, match="duplicate item names: a"):
        items_table([Item("a", "x", 0, "real"), Item("a", "y", 0, "real")])
    with pytest.raises(ManifestError, match="label and method disagree"):
        items_table([Item("a", "x", 1, "real")])


# -- sampling


def test_even_positions_by_hand():
    assert sampling.even(32, 4).tolist() == [4, 12, 20, 28]
    assert sampling.even(3, 6).tolist() == [0, 0, 1, 1, 2, 2], "a short video repeats its frames evenly"
    drawn = sampling.even(32, 4, np.random.default_rng(0))
    assert (drawn // 8 == np.arange(4)).all()


def test_consecutive_clips_lie_in_one_burst():
    frames = np.array([*range(10, 18), *range(40, 48)])
    assert frames[sampling.consecutive(frames, 4, which=0.0)].tolist() == [10, 11, 12, 13]
    assert frames[sampling.consecutive(frames, 4, which=1.0)].tolist() == [44, 45, 46, 47]
    assert frames[sampling.consecutive(frames, 3, stride=3, which=0.0)].tolist() == [10, 13, 16]
    starts = {int(frames[sampling.consecutive(frames, 4, rng=np.random.default_rng(i))][0]) for i in range(200)}
    assert starts == {10, 11, 12, 13, 14, 40, 41, 42, 43, 44}
    assert len(sampling.consecutive(frames, 20)) == 20


def test_order_comes_from_seed_and_epoch_alone():
    sampler = samplers.CountedSampler(10, 3, lambda rng: rng.permutation(10))
    first = [index for _, index in sampler]
    assert sorted(first) == list(range(10))
    sampler.set_epoch(1)
    second = [index for _, index in sampler]
    again = samplers.CountedSampler(10, 3, lambda rng: rng.permutation(10))
    again.set_epoch(1)
    assert first != second and [index for _, index in again] == second
    assert [epoch for epoch, _ in sampler] == [1] * 10


def test_processes_share_the_samples():
    parts = [list(samplers.CountedSampler(7, 0, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [4, 4]
    assert {index for part in parts for _, index in part} == set(range(7))


def test_balance_draws_both_classes_alike():
    label = np.array([0] * 3 + [1] * 9)
    order = sampling.balanced_order(label, np.random.default_rng(0))
    assert len(order) == 12 and label[order].sum() == 6
    assert len(set(order[label[order] == 1])) == 6, "the larger class without repetition"
    assert {int(i) for i in order[label[order] == 0]} == {0, 1, 2}


# -- the store, with a recipe that needs no video


@dataclass
class Painted:
    """A recipe whose crops say which file and frame they are; `bad` in a name has no face."""

    frames: int = 8
    key: str = "painted"
    masks: bool = False
    option: ClassVar[str] = "painted"

    def describe(self):
        return {
            "frames": self.frames,
            "finder": "none",
            "align": False,
            "margin": 0.0,
            "crop_size": 16,
            "decoder": "none",
        }

    def words(self, image_size):
        return f"painted, seen at {image_size} px"

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        if "bad" in path.name:
            raise ValueError("no face found")
        value = sum(path.name.encode()) % 200
        pixels = np.stack([np.full((3, 16, 16), value + frame, np.uint8) for frame in range(self.frames)])
        pixels[:, 0, 0, :16] = np.frombuffer(path.read_bytes()[-16:].rjust(16), np.uint8)
        blocks = np.random.default_rng(list(path.as_posix()[-40:].encode())).integers(0, 256, (4, 4), np.uint8)
        pixels[:, 1] = np.kron(blocks, np.ones((4, 4), np.uint8))  # so that no file looks like another
        zeros = np.zeros(self.frames)
        return Crops(
            track=zeros.astype(np.int64),
            frame=np.arange(self.frames),
            time=np.arange(self.frames) / 25,
            box=np.zeros((self.frames, 4), np.float32),
            landmarks=np.zeros((self.frames, 5, 2), np.float32),
            prob=np.ones(self.frames, np.float32),
            pixels=pixels,
            statistics={"width": 16.0, "codec": "none"},
        )


def painted(root: Path, **changes) -> DataOf:
    options = {"recipe": Painted(), "val_fraction": 0.3, "frames_per_video": 4, "image_size": 16, "batch_size": 6}
    return DataOf(CelebDF("celebdf_v2", root), root.parent / "prepared", **{**options, **changes})


@pytest.fixture
def prepared(tmp_path):
    data = painted(tree(tmp_path / "raw", LISTED, *PATHS))
    prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0)
    return data


def test_a_store_gives_back_what_was_put_in(prepared):
    store = prepared.store
    assert len(store.items) == 36 and len(store.crops) == 36 * 8
    for item, path in (
        ("celebdf_v2/celeb/id3_0001", "Celeb-real/id3_0001.mp4"),
        ("celebdf_v2/youtube/00002", "YouTube-real/00002.mp4"),
    ):
        rows, pixels = store.of_item(item, [2, 5])
        assert rows["frame"].tolist() == [2, 5]
        np.testing.assert_array_equal(pixels, Painted()(prepared.root / path).pixels[[2, 5]])
    assert not (store.folder / "parts").exists()


@pytest.mark.slow
def test_the_order_of_preparation_leaves_no_trace(prepared, tmp_path):
    """Parts written backwards and by a second process give the same bytes."""
    items, root = prepared.manifest(), prepared.root
    prepare(
        items.iloc[::-1].reset_index(drop=True), root, tmp_path / "b", Painted(), num_workers=0
    )  # parts only matter
    again = tmp_path / "c"
    prepare(items, root, again, Painted(), num_workers=2)
    for name in ("crops-00000.npy", "items.parquet", "crops.parquet", "rejected.csv"):
        assert (again / name).read_bytes() == (prepared.folder / name).read_bytes(), name


def test_shards_are_cut_at_their_size(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.data.shards.merge.__defaults__", (8 * 3 * 16 * 16 * 5,))
    store = prepare(prepared.manifest(), prepared.root, tmp_path / "small", Painted(), num_workers=0)
    assert store.crops["shard"].nunique() == 8
    for item in store.items["item"]:
        np.testing.assert_array_equal(store.of_item(item)[1], prepared.store.of_item(item)[1])


def test_no_map_stays_open_once_enough_was_read(prepared, monkeypatch):
    """A map that stays open keeps every page that was read with the process; what was read is right all the same."""
    store, item = prepared.store, prepared.store.items["item"].iloc[3]
    expected = store.of_item(item)[1].copy()
    assert len(store._shards) == 1
    monkeypatch.setattr("unmask.data.store.MAPPED_BYTES", 2 * expected.nbytes)
    opened = []
    for _ in range(7):
        np.testing.assert_array_equal(store.of_item(item)[1], expected)
        opened.append(len(store._shards))
    assert opened == [1, 0, 1, 1, 0, 1, 1], "the first reading counts too"


def test_bad_files_are_set_aside_and_the_rest_goes_on(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    data = module(root)
    items = data.manifest()
    items.loc[[3, 9], "path"] = ["bad1.mp4", "bad2.mp4"]
    store = prepare(items, root, tmp_path / "store", Painted(), num_workers=0)
    rejected = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert rejected["rejected"].tolist() == ["no face found"] * 2 and len(store.crops) == 34 * 8
    items.loc[:5, "path"] = "bad.mp4"
    with pytest.warns(UserWarning, match=r"7 of 36 items could not be prepared"):
        prepare(items, root, tmp_path / "store2", Painted(), num_workers=0)
    items["path"] = "bad.mp4"
    with pytest.raises(StoreError, match="more than half"):
        prepare(items, root, tmp_path / "store3", Painted(), num_workers=0)


def test_another_root_or_recipe_is_refused(prepared, tmp_path):
    other = tree(tmp_path / "other", LISTED, *PATHS)
    with pytest.raises(StoreError, match="start over with rerun=true"):
        prepare(prepared.manifest(), other, prepared.folder, Painted(), num_workers=0)
    with pytest.raises(StoreError, match="made with a different recipe"):
        _ = painted(prepared.root, recipe=Painted(frames=9)).store
    with pytest.raises(
        StoreError,
        match=r"unmask prepare data=celebdf_v2 data.root=.* data/recipe=faces data.recipe.frames=2 "
        "data.recipe.crop_size=32",
    ):
        _ = module(other).store


# -- batches


def test_batches_hold_the_contract(prepared):
    prepared.setup("fit")
    batch = next(iter(prepared.train_dataloader()))
    assert batch["x"].shape == (6, 3, 16, 16) and batch["x"].dtype == torch.uint8
    table = prepared.samples["train"].table
    assert batch["y"].tolist() == table["label"].iloc[batch["index"].tolist()].tolist()
    labels = torch.cat([b["y"] for b in prepared.train_dataloader()])
    assert abs(labels.float().mean() - 0.5) < 0.02
    splits = prepared.items.set_index("item")["split"]
    for split, samples in prepared.samples.items():
        assert (splits[samples.table["item"].unique()] == split).all()


def test_training_draws_anew_each_epoch_and_evaluation_never(prepared):
    prepared.setup("fit")
    train, val = prepared.samples["train"], prepared.samples["val"]
    wanted = list(range(len(train)))
    first, second = (train.__getitems__([(epoch, i) for i in wanted])["x"] for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, train.__getitems__([(0, i) for i in wanted])["x"])
    a, b = (val.__getitems__([(epoch, i) for i in range(len(val))])["x"] for epoch in (0, 1))
    assert torch.equal(a, b)
    assert val.table.groupby("item")["frame"].apply(list).iloc[0] == [1, 3, 5, 7], "evenly spaced, not the first"


def test_clips_and_short_videos(prepared):
    store, items = prepared.store, prepared.store.items
    clips = CropDataset(store, items, Sampling(frames_per_video=2, frames=3, consecutive=True))
    batch = clips.__getitems__([(0, 0), (0, 1)])
    assert batch["x"].shape == (2, 3, 3, 16, 16)
    steps = batch["x"][:, :, 0, 8, 8].int().diff(dim=1)
    assert (steps == 1).all()
    longer = CropDataset(store, items, Sampling(frames_per_video=1, frames=16))
    assert longer.__getitems__([(0, 0)])["x"][0, :, 0, 8, 8].int().diff().tolist() == [0, 1] * 7 + [0]
    few = CropDataset(store, items, Sampling(frames_per_video=32))
    assert len(few) == 36 * 8, "a short video gives each frame once"


def test_predictions_count_a_repeated_sample_once_and_keep_the_unscored(prepared):
    prepared.setup("fit")
    samples = prepared.samples["test"].table
    unscored = samples["item"].iloc[-1]  # no batch held it
    (kept,) = np.nonzero((samples["item"] != unscored).to_numpy())
    index = torch.tensor([*kept, kept[0], kept[1]])
    table = prepared.predictions("test", index, torch.arange(len(index), dtype=torch.float32))
    assert len(table) == len(kept) + 1 and set(table["item"]) == set(samples["item"])
    assert table.loc[table["logit"].isna(), "item"].tolist() == [unscored]
    assert table["logit"].iloc[:3].tolist() == [0, 1, 2]
    assert set(table.columns) == {"item", "track", "frame", "time", "label", "method", "dataset", "split", "logit"}


def test_a_split_of_one_class_is_an_error_with_its_counts(prepared):
    with pytest.raises(
        ManifestError, match=r"the val split contains 0 real and 0 fake items .* data.split.val_fraction"
    ):
        painted(prepared.root, val_fraction=0.0).setup("fit")


def test_pixels_become_floats_and_samples_are_augmented_one_by_one():
    x = torch.randint(0, 256, (4, 3, 3, 8, 8), dtype=torch.uint8)
    x[:, 1:] = x[:, :1]  # all frames of a clip alike
    same = to_float(x, 8)
    assert torch.equal(same, x.float() / 255)
    assert to_float(x, 4).shape == (4, 3, 3, 4, 4)
    augment = Augmentation(device=[v2.RandomHorizontalFlip(0.5), v2.ColorJitter(brightness=0.5)])
    out, none = augment.on_device(same, None, [1, 2, 3, 4])
    assert none is None
    assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2]), "one draw for a clip"
    ratios = out.flatten(1).mean(1) / same.flatten(1).mean(1)
    assert len({round(float(r), 4) for r in ratios}) > 1, "a draw for each sample"
    assert torch.equal(out, augment.on_device(same, None, [1, 2, 3, 4])[0])
    before = torch.random.get_rng_state()
    augment.on_device(same, None, [5, 6, 7, 8])
    assert torch.equal(before, torch.random.get_rng_state()), "the run's own randomness is left alone"


def test_a_mask_moves_with_its_picture_and_keeps_its_colours():
    """A picture that is its own mask: after flips and turns the two still agree; colour changes leave the mask."""
    mask = torch.zeros(6, 1, 16, 16)
    mask[:, :, 2:7, 3:12] = 1
    augment = Augmentation(device=[v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)])
    x, moved = augment.on_device(mask.expand(-1, 3, -1, -1).clone(), mask, list(range(6)))
    assert torch.equal(x[:, :1], moved) and not torch.equal(moved, mask)
    dark, same = Augmentation(device=[v2.ColorJitter(brightness=(0.4, 0.5))]).on_device(x, moved, list(range(6)))
    assert torch.equal(same, moved) and float(dark.max()) < 0.6


def test_codecs_are_imitated_on_uint8_one_draw_a_sample():
    x = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    x[:, 1] = x[:, 0]
    augment = Augmentation(worker=[v2.JPEG([30, 90]), Resample(0.3)])
    out = augment.on_worker(x, [1, 2, 3])
    assert out.dtype == torch.uint8 and out.shape == x.shape and not torch.equal(out, x)
    assert torch.equal(out[:, 0], out[:, 1]), "one draw for a clip"
    assert torch.equal(out, augment.on_worker(x, [1, 2, 3]))
    with pytest.raises(ValueError, match="smallest=0"):
        Resample(0)


# -- the audit


def table_of(rng, shift: float) -> pd.DataFrame:
    label = np.arange(200) % 2
    return pd.DataFrame(
        {
            "item": [f"d/{'x' if y else 'real'}/{n}" for n, y in enumerate(label)],
            "label": label,
            "method": np.where(label, "x", "real"),
            "groups": [[f"p{n // 4}"] for n in range(200)],
            "rejected": None,
            "statistic.bytes": rng.normal(1000, 100, 200) + shift * label * 100,
            "statistic.width": 256.0,
            "statistic.codec": "h264",
        }
    )


@pytest.mark.slow
def test_the_audit_sees_a_shortcut_and_none_where_there_is_none():
    honest = audit(table_of(np.random.default_rng(0), 0.0))
    assert (
        honest["passed"] and honest["low"] < 0.5 < honest["high"] and honest["features"] == ["bytes", "codec", "width"]
    )
    leaking = audit(table_of(np.random.default_rng(0), 2.0))
    assert not leaking["passed"] and leaking["low"] > 0.8 and leaking["methods"]["x"]["auroc"] > 0.85
    noted = table_of(np.random.default_rng(0), 0.0).assign(untouched_faces=np.arange(200) % 2, region="x")
    assert audit(noted) == honest, "only what is called a statistic is a feature"
    few = audit(table_of(np.random.default_rng(0), 2.0).iloc[:20])
    assert few["auroc"] is None and few["passed"] is None and "not run" in few["note"]
    bare = audit(table_of(np.random.default_rng(0), 2.0)[["item", "label", "method", "groups", "rejected"]])
    assert bare["auroc"] is None and bare["features"] == [] and "rerun=true" in bare["note"]


@pytest.mark.slow
@pytest.mark.parametrize("marked", [False, True])
def test_the_audit_reads_our_own_watermark(tmp_path, marked):
    """Pictures that differ in nothing but the mark that this project's generators put in."""
    rng, rows = np.random.default_rng(3), []
    for number in range(60):
        coarse = cv2.resize(rng.uniform(40, 215, (8, 8, 3)).astype(np.float32), (96, 96), interpolation=cv2.INTER_CUBIC)
        picture = (coarse + rng.normal(0, 6, coarse.shape)).clip(0, 255).astype(np.uint8)
        fake = number % 2
        if fake and marked:
            picture = watermark.embed(picture, watermark.PAYLOAD)
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        about = {"item": f"{number}", "label": fake, "method": "x" if fake else "real", "groups": [f"{number}"]}
        rows.append(about | {"rejected": None} | measured(WholePictures(crop_size=96)(path)))
    found = audit(pd.DataFrame(rows))
    assert "watermark" in found["features"] and found["passed"] is not marked
    assert (found["auroc"] > 0.95) is marked


def test_the_audit_is_not_run_where_one_group_holds_all_fakes():
    """Everybody swapped with the next: one component of people, and four who never were."""
    linked = [("real", 0, [f"p{n}"]) for n in range(20)] + [
        ("swap", 1, [f"p{n}", f"p{(n + 1) % 20}"]) for n in range(20)
    ]
    rows = linked + [("real", 0, [f"other{n}"]) for n in range(4)]
    items = pd.DataFrame(
        {"item": f"i{at}", "method": method, "label": label, "groups": groups, "rejected": None, "statistic.bytes": at}
        for at, (method, label, groups) in enumerate(rows)
    )
    found = audit(items)
    assert found["auroc"] is None and found["passed"] is None and found["note"].startswith("not run")


def test_the_audits_resamples_are_scored_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    score, label = rng.integers(0, 20, 150) / 20, rng.integers(0, 2, 150)  # many ties
    weight = rng.integers(0, 4, (6, 150))
    expected = [roc_auc_score(label, score, sample_weight=row) for row in weight]
    np.testing.assert_allclose(weighted_auroc(score, label, weight), expected, atol=1e-12)
