"""Faces of named people: who is in which file, what is held out, whose face a sample is, and where in it."""

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import compose, unmask
from datamodules import DataOf, from_config
from unmask.data.blend import fit
from unmask.data.manifest import ManifestError, check_leaks
from unmask.datasets.people import (
    People,
    PeopleSampling,
    PeopleSplit,
    identity_balanced_order,
    landmarks,
    outline,
    split_per_identity,
)
from unmask.media.align import TEMPLATE
from unmask.media.recipe import FaceCrops


def reader(root, **options):
    people = options.pop("people", {"A": "A/**", "B": "B/**"})
    parts = {"split": PeopleSplit, "sampling": PeopleSampling, "people": people, **options}
    return DataOf(People("ours", root, people), root / "prepared", FaceCrops(align=True), **parts)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_items_are_named_by_person_and_path(tmp_path):
    touch(tmp_path, "A/film.mp4", "A/more/film.mov", "B/x.jpg", "B/x.png", "B/.hidden.mp4", "B/notes.txt")
    found = {item.item: (item.path, item.groups, item.label, item.method) for item in reader(tmp_path).find_items()}
    assert found == {
        "ours/real/A/A/film": ("A/film.mp4", ("ours/A",), 0, "real"),
        "ours/real/A/A/more/film": ("A/more/film.mov", ("ours/A",), 0, "real"),
        "ours/real/B/B/x.jpg": ("B/x.jpg", ("ours/B",), 0, "real"),
        "ours/real/B/B/x.png": ("B/x.png", ("ours/B",), 0, "real"),
    }


def test_patterns_choose_files_too_and_three_people_may_be_named(tmp_path):
    touch(tmp_path, "all/id0_1.mp4", "all/id1_1.mp4", "all/id1_2.mp4", "c/d/e.mp4")
    data = reader(tmp_path, people={"A": "all/id0_*", "B": "all/id1_*.mp4", "C": "c"})
    assert [item.path for item in data.find_items()] == ["all/id0_1.mp4", "all/id1_1.mp4", "all/id1_2.mp4", "c/d/e.mp4"]
    command = data.prepared.command()
    assert "'data.people.A=all/id0_*'" in command and "+data.people.C=c" in command and "data.name=ours" in command


def test_what_cannot_be_is_named(tmp_path):
    touch(tmp_path, "A/film.mp4")
    with pytest.raises(ManifestError, match=r"data\.people\.B=B/\*\*: no video"):
        reader(tmp_path).find_items()
    with pytest.raises(ManifestError, match=r"A/film\.mp4 belongs to both A and B"):
        reader(tmp_path, people={"A": "A/**", "B": "*/film.mp4"}).find_items()
    with pytest.raises(ValueError, match="expected at least two people"):
        reader(tmp_path, people={"A": "A/**"})
    with pytest.raises(ValueError, match=r"data\.split\.protocol=official"):
        reader(tmp_path, protocol="official")
    with pytest.raises(ValueError, match=r"data\.people\.Anna B: expected a name of letters"):
        reader(tmp_path, people={"Anna B": "A/**", "B": "B/**"})


def tables(**people):
    """Items and crops of people: name -> number of frames of each of their files."""
    rows = [(f"n/real/{who}/{at}", who, count) for who, counts in people.items() for at, count in enumerate(counts)]
    items = pd.DataFrame(
        {"item": [r[0] for r in rows], "groups": [[f"n/{r[1]}"] for r in rows], "label": 0, "split": None,
         "rejected": None, "sha256": [str(at) for at in range(len(rows))]}
    )  # fmt: skip
    crops = pd.DataFrame(
        [{"item": r[0], "track": 0, "frame": f, "hash": f"{r[0]}{f}"} for r in rows for f in range(r[2])]
    )
    return items, crops


def splits(items, crops):
    return crops.assign(split=crops["item"].map(items.set_index("item")["split"]))


def test_of_a_single_video_the_end_is_held_out():
    items, crops = split_per_identity(*tables(A=[20], B=[10]), val_fraction=0.1, test_fraction=0.1, seed=0)
    found = splits(items, crops)
    frames = {(i.split("#")[0][-3], s): rows["frame"].tolist() for (i, s), rows in found.groupby(["item", "split"])}
    assert frames == {
        ("A", "train"): list(range(16)), ("A", "val"): [16, 17], ("A", "test"): [18, 19],
        ("B", "train"): list(range(8)), ("B", "val"): [8], ("B", "test"): [9],
    }  # fmt: skip
    assert set(items["item"]) == set(crops["item"])
    check_leaks(items, crops)


def test_of_several_files_whole_ones_are_held_out_by_seed():
    given = tables(A=[10] * 6, B=[1] * 12)
    found = splits(*split_per_identity(*given, val_fraction=0.15, test_fraction=0.15, seed=0))
    whole = found.assign(file=found["item"].str.split("#").str[0], held=found["split"] != "train")
    assert (whole.groupby("file")["held"].nunique() == 1).all()
    held = {who: rows["held"].sum() for who, rows in whole.groupby(whole["file"].str[7])}
    assert held == {"A": 20, "B": 4}
    assert {"val", "test"} == set(whole.loc[whole["held"], "split"])
    other = splits(*split_per_identity(*given, val_fraction=0.15, test_fraction=0.15, seed=1))
    assert found["split"].tolist() != other["split"].tolist()


def test_somebody_with_too_little_is_named():
    with pytest.raises(ManifestError, match="n/B has 2 usable faces"):
        split_per_identity(*tables(A=[9], B=[1, 1]), val_fraction=0.1, test_fraction=0.1, seed=0)
    items, _ = split_per_identity(*tables(A=[9], B=[1, 1, 1]), val_fraction=0.1, test_fraction=0.1, seed=0)
    assert sorted(items[items["item"].str.contains("/B/")]["split"]) == ["test", "train", "val"]


def test_everybody_comes_as_often():
    who = np.array([0] * 90 + [1] * 10)
    order = identity_balanced_order(who, np.random.default_rng(0))
    assert len(order) == 100 and (who[order] == 1).sum() == 50
    assert np.array_equal(np.unique(order[who[order] == 1]), np.arange(90, 100))


@pytest.fixture(scope="module")
def data(people_place):
    """The prepared demo people, with whole clips held out."""
    place, here = people_place
    cfg = compose("train", ["experiment=faceswap/smoke", *here, f"paths.prepared={place}/outputs/prepared"])
    data = from_config(cfg)
    data.setup("fit")
    return data


def test_batches_hold_whose_face_it_is_and_where(data):
    samples = data.samples["train"]
    batch = samples.__getitems__([(0, at) for at in range(len(samples))])
    persons = samples.table["item"].str.split("/").str[2].to_numpy()
    assert (
        np.array_equal(batch["identity"].numpy(), (persons == "B").astype(int))
        and batch["identity"].dtype == torch.int64
    )
    mask = batch["mask"]
    assert mask.shape == (len(samples), 1, *batch["x"].shape[2:]) and mask.dtype == torch.uint8
    assert 0.15 < float((mask > 127).float().mean()) < 0.5
    side = mask.shape[-1]
    assert (mask[:, 0, side // 2, side // 2] == 255).all() and (mask[:, 0, 0] == 0).all()


def test_the_mask_lies_on_the_face():
    """Of a face that sits on the template, in a crop without margin, the outline is that of the mean face."""
    drawn = fit(outline(), TEMPLATE * 100, 100)
    assert drawn[50, 50] == 1 and drawn[46, 16] > 0.5 and drawn[46, 10] == 0  # at the eyes 0.365 to either side
    assert drawn[15, 50] == 0 and drawn[28, 50] == 1 and drawn[99, 50] == 1  # from above the brows, 0.28, to the jaw


def test_landmarks_are_told_in_the_crop(data):
    store = data.members[0][0].store
    found = landmarks(store.crops, data.recipe)
    margin, size = data.recipe.margin, data.recipe.crop_size
    expected = ((TEMPLATE - 0.5) / (1 + margin) + 0.5) * size
    assert np.abs(np.median(found, axis=0) - expected).max() < 0.06 * size
    bare = store.crops.assign(landmarks=[np.full(10, np.nan)] * len(store.crops))
    with pytest.raises(ManifestError, match="have no landmarks"):
        landmarks(bare, data.recipe)


def test_splits_share_no_frame_and_everybody_is_in_each(data):
    seen = {}
    for split, samples in data.samples.items():
        seen[split] = set(samples.store.crops.iloc[samples._row]["hash"])
        assert set(samples.identity.tolist()) == {0, 1}
    assert not (seen["train"] & seen["val"] or seen["train"] & seen["test"] or seen["val"] & seen["test"])
    words = data.protocol_words("val")
    assert "random_groups (for each person" in words["Split"] and "aligned by landmarks" in words["Crop"]


def test_the_check_says_what_is_there(people_place):
    place, here = people_place
    done = unmask("prepare", *here, "check=true", cwd=place)
    assert "6 real and 0 fake videos" in done.stdout


def test_the_same_frame_in_two_splits_is_still_refused():
    items, crops = split_per_identity(*tables(A=[20], B=[10]), val_fraction=0.1, test_fraction=0.1, seed=0)
    crops.loc[crops.index[0], "hash"] = crops["hash"].iloc[19]
    with pytest.raises(ManifestError, match="the same frame"):
        check_leaks(items, crops)
