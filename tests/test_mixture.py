"""Several data sets as one: trained on together, told apart in the predictions, and checked for leaks between them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from conftest import unmask
from datamodules import DataOf
from test_new_source import RECIPE, TRAIN, paint
from unmask.data.datamodule import DataModule
from unmask.data.dataset import Sampling
from unmask.data.loader import Loader
from unmask.data.manifest import ManifestError
from unmask.data.prepare import prepare
from unmask.data.split import Split
from unmask.data.store import StoreError
from unmask.datasets.folder import Folder
from unmask.datasets.mixture import Mixture
from unmask.media.pictures import WholePictures
from unmask.metrics.detection import per_dataset
from unmask.reporting.gather import Strips, gather
from unmask.runs.run import Run

NAMES = ("first", "second")


def arguments(place: Path, names: tuple[str, ...] = NAMES) -> list[str]:
    """The command-line arguments that choose a mixture of folders."""
    found = ["data=mixture"]
    for name in names:
        part = f"data.parts.{name}"
        found += [f"+data@{part}=folder", f"{part}.name={name}", f"{part}.root={place / name}"]
        found += [f"{part}.split.val_fraction=0.3"]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder in which two folders of pictures are prepared as one data set."""
    place = tmp_path_factory.mktemp("mixture")
    for seed, name in enumerate(NAMES):
        paint(place / name, seed, 12 + 4 * seed)
    unmask("prepare", *arguments(place), *RECIPE, "prepare.num_workers=0", cwd=place)
    return place


@pytest.fixture(scope="module")
def run(place) -> Run:
    unmask("train", *arguments(place), *TRAIN[:-1], "name=mixed", cwd=place)
    (folder,) = (place / "outputs/mixed").iterdir()
    return Run(folder)


def test_each_data_set_has_a_store_of_its_own(place):
    for name, count in zip(NAMES, (24, 32), strict=True):
        (items,) = (place / "outputs/prepared" / name).glob("*/items.parquet")
        assert len(pd.read_parquet(items)) == count
    said = unmask("prepare", *arguments(place), *RECIPE, "check=true", cwd=place).stdout
    assert "found: 12 real and 12 fake pictures" in said and "found: 16 real and 16 fake pictures" in said


def test_predictions_say_of_which_data_set_each_item_is(run):
    for split in ("val", "test"):
        table = run.predictions(split)
        assert set(table["dataset"]) == set(NAMES) and table["logit"].notna().all()
        assert (table["item"].str.partition("/")[0] == table["dataset"]).all()
    assert "first+second" in run.predictions("test").attrs["protocol"]["Data"]
    words = run.predictions("test").attrs["protocol"]["Split"]
    assert words.startswith("mixture (first: random_groups") and "second: random_groups" in words


def test_a_run_on_a_mixture_is_scored_on_one_of_its_data_sets_and_one_on_a_mixture(place, run):
    here = ["data=folder", "data.name=first", f"data.root={place / 'first'}", "data.split.val_fraction=0.3"]
    unmask("evaluate", f"run={run.folder}", *here, "trainer=cpu", cwd=place)
    alone, mixed = run.predictions("test", "first"), run.predictions("test").query("dataset == 'first'")
    np.testing.assert_array_equal(np.sort(alone["item"]), np.sort(mixed["item"]))
    logits = [table.set_index("item")["logit"].sort_index() for table in (alone, mixed)]
    pd.testing.assert_series_equal(*logits, atol=1e-5, rtol=0)
    unmask("train", *here, *TRAIN, "name=single", cwd=place)
    (single,) = (place / "outputs/single").iterdir()
    unmask("evaluate", f"run={single}", *arguments(place), "trainer=cpu", cwd=place)
    table = Run(single).predictions("test", "first+second")
    assert set(table["dataset"]) == set(NAMES)


def test_a_report_shows_crops_of_both(place, run, monkeypatch):
    monkeypatch.chdir(place)
    strips = Strips([run])
    for name in NAMES:
        (crop,) = strips(f"{name}/real/0", [0], 0)
        with Image.open(place / name / "real/0.png") as picture:
            np.testing.assert_array_equal(crop, np.asarray(picture))


def test_a_split_of_the_whole_has_no_effect_and_is_refused(place):
    given = [*arguments(place), *TRAIN, "name=refused"]  # the last of TRAIN is data.split.val_fraction
    refused = unmask("train", *given, cwd=place, expect=1).stderr
    assert "data.split.val_fraction: not used by a mixture" in refused


def mixture(place: Path, names: tuple[str, ...] = NAMES, **sampling) -> DataModule:
    parts = {name: {"source": Folder(name, place / name), "split": Split("predefined", 0.3)} for name in names}
    how = Sampling(**{"frames_per_video": 1, **sampling})
    return DataModule(Mixture(parts), WholePictures(32), None, how, Loader(32, 8), prepared=place / "outputs/prepared")


def test_batches_hold_the_pixels_of_both(place):
    data = mixture(place)
    data.setup("fit")
    samples = data.samples["train"]
    assert set(samples.table["item"].str.partition("/")[0]) == set(NAMES)
    batch = samples.__getitems__([(0, index) for index in range(len(samples))])
    for item, pixels in zip(samples.table["item"], batch["x"].numpy(), strict=True):
        name, method, number = item.split("/")
        with Image.open(place / name / method / f"{number}.png") as picture:
            np.testing.assert_array_equal(pixels, np.asarray(picture).transpose(2, 0, 1))


def test_each_data_set_comes_as_often_where_it_is_asked_for(place):
    for balance, share in (("methods", 0.5), ("classes", 12 / 28)):
        data = mixture(place, balance=balance)
        data.setup("fit")
        drawn = [data.samples["train"].table["item"].iloc[int(at)] for batch in data.train_dataloader()
                 for at in batch["index"]]  # fmt: skip
        names = pd.Series(drawn).str.partition("/")[0]
        assert (names == "first").mean() == pytest.approx(share, abs=0.06)


@pytest.fixture
def leaking(tmp_path) -> Path:
    """Two folders that share files: those of the first's training are the second's test."""
    paint(tmp_path / "whole", 7, 24)
    for name, where in (("first", "train"), ("second", "test")):
        for kind in ("real", "fake"):
            (tmp_path / name / where / kind).mkdir(parents=True)
            for number in range(8):
                shutil.copy(tmp_path / f"whole/{kind}/{number}.png", tmp_path / name / where / kind)
        for at, other in enumerate(("train", "val", "test")):
            if other != where:
                paint(tmp_path / name / other, 10 * (name == "second") + at + 20, 4)
    return tmp_path


def prepare_all(data: DataModule) -> None:
    for prepared, split in data.members:
        prepare(prepared.manifest(split), prepared.source.root, prepared.folder, data.recipe, num_workers=0)


def test_the_same_file_in_two_data_sets_is_a_leak(leaking):
    data = mixture(leaking)
    prepare_all(data)
    for name in NAMES:
        alone = DataOf(
            Folder(name, leaking / name), leaking / "outputs/prepared", WholePictures(32), protocol="predefined"
        )
        alone.setup("test")
    with pytest.raises(ManifestError, match="the same file is in two splits") as refused:
        data.setup("fit")
    assert "first/real/train/" in str(refused.value) and "second/real/test/" in str(refused.value)


def test_the_same_pixels_in_two_data_sets_are_a_leak(leaking):
    for path in (leaking / "second").rglob("*.png"):
        with Image.open(path) as picture:
            picture.save(path, compress_level=0)  # other bytes, the same picture
    data = mixture(leaking)
    prepare_all(data)
    with pytest.raises(ManifestError, match="the same frame"):
        data.setup("fit")


def test_a_leak_within_one_data_set_is_still_refused(tmp_path):
    for seed, name in enumerate(NAMES):
        for at, split in enumerate(("train", "val", "test")):
            paint(tmp_path / name / split, 10 * seed + at, 4)
    shutil.copy(tmp_path / "second/train/real/0.png", tmp_path / "second/test/real/9.png")
    data = mixture(tmp_path)
    prepare_all(data)
    with pytest.raises(ManifestError, match="the same file is in two splits"):
        data.setup("fit")


def test_what_is_missing_is_named(place, tmp_path):
    with pytest.raises(ValueError, match="a mixture needs at least two data sets"):
        mixture(place, ("first",))
    with pytest.raises(ValueError, match="several data sets are named first"):
        Mixture({key: {"source": Folder("first", place / "first"), "split": Split()} for key in "ab"})
    with pytest.raises(StoreError, match=r"unmask prepare data=folder data.name=second data.root="):
        shutil.copytree(place / "outputs/prepared/first", tmp_path / "outputs/prepared/first")
        mixture(tmp_path).setup("fit")
    with pytest.raises(ManifestError, match=r"no such folder: first: .*, second: .*; correct"):
        mixture(tmp_path).source.require_root()


def test_figures_come_per_data_set_pooled_and_as_their_mean(run):
    """Against scikit-learn on the prediction table."""
    table = run.predictions("test")
    found = run.metrics["test"]
    each = {name: roc_auc_score(rows["label"], rows["logit"]) for name, rows in table.groupby("dataset")}
    assert {name: found[f"video_auroc/{name}"] for name in NAMES} == pytest.approx(each, abs=1e-9)
    assert found["video_auroc/mean"] == pytest.approx(np.mean(list(each.values())), abs=1e-9)
    assert found["video_auroc"] == pytest.approx(roc_auc_score(table["label"], table["logit"]), abs=1e-9)
    shown = gather(run, resamples=10).network["Data sets"]
    assert "pooled" in shown and all(name in shown for name in (*NAMES, "mean"))
    assert per_dataset(table[table["dataset"] == NAMES[0]]) == {}
