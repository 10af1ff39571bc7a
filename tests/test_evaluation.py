"""An evaluation publishes its own figures or none: of the split, the data and the protocol that were asked for."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from conftest import unmask
from unmask.runs.errors import RunError
from unmask.runs.figures import write_json
from unmask.runs.predictions import predictions_path, read_predictions
from unmask.runs.run import Run
from unmask.training.evaluation import Results, evaluate
from unmask.training.module import Module

TRAIN = (
    "data=folder", "data/recipe=pictures", "data.recipe.crop_size=32", "image_size=32", "module/network=meso4",
    "trainer=cpu", "trainer.max_epochs=2", "explain=0", "augment@data.augment=none", "data.sampling.frames_per_video=1",
)  # fmt: skip


def paint(folder: Path, count: int, label: str, seed: int) -> None:
    """Pictures of noise; fakes are brighter."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, label == "fake"])
    for number in range(count):
        pixels = rng.integers(0, 156, (32, 32, 3)) + 100 * (label == "fake")
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{label}_{number}.png")


def divided(root: Path, seed: int = 0, **counts: int) -> Path:
    """A folder with so many pictures of each class in each split."""
    for at, (split, count) in enumerate(counts.items()):
        for label in ("real", "fake"):
            paint(root / split / label, count, label, 10 * seed + at)
    return root


def prepared(place: Path, root: Path, *more: str) -> None:
    unmask("prepare", *TRAIN, f"data.root={root}", "prepare.num_workers=0", *more, cwd=place)


def trained(place: Path, name: str, *more: str) -> tuple[Run, str]:
    printed = unmask("train", *TRAIN, f"name={name}", *more, cwd=place).stdout
    (folder,) = (place / "outputs" / name).iterdir()
    return Run(folder), printed


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder with a divided data set, prepared."""
    place = tmp_path_factory.mktemp("figures")
    prepared(place, divided(place / "whole", train=6, val=6, test=12))
    return place


@pytest.fixture(scope="module")
def run(place) -> Run:
    return trained(place, "run")[0]


# -- an empty or unscored test split has no figures


@pytest.mark.slow
def test_without_a_test_split_there_are_no_test_figures(tmp_path):
    prepared(tmp_path, divided(tmp_path / "data", train=6, val=6))
    run, printed = trained(tmp_path, "none")
    assert "no test metrics: the test split of folder is empty" in printed
    assert run.metrics["test"] == {} and run.metrics["val"]["video_auroc"] >= 0
    assert len(run.predictions("test")) == 0 and len(run.predictions("val")) == 12
    printed = unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=tmp_path).stdout
    assert "nothing was evaluated" in printed and "is empty" in printed and len(run.predictions("test")) == 0
    printed = unmask("report", f"run={run.folder}", cwd=tmp_path).stdout
    page = (run.folder / "report.html").read_text()
    said = "There are no test metrics: the test split is empty."
    assert "100 %" not in printed and said in " ".join(printed.split()) and said in page


def test_a_test_fraction_of_nothing_is_an_empty_split(tmp_path):
    for label in ("real", "fake"):
        paint(tmp_path / "data" / label, 12, label, 0)
    prepared(tmp_path, tmp_path / "data")
    run, printed = trained(tmp_path, "zero", "data.split.test_fraction=0", "data.split.val_fraction=0.4")
    assert "no test metrics" in printed and run.metrics["test"] == {} and len(run.predictions("test")) == 0


@pytest.mark.slow
def test_a_test_split_that_cannot_be_read_is_listed_and_not_scored(tmp_path):
    root = divided(tmp_path / "data", train=12, val=12, test=4)
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(f"no picture: {file}".encode())
    prepared(tmp_path, root)
    run, printed = trained(tmp_path, "unread")
    assert "none of the 8 items of folder's test split could be prepared" in printed
    table = run.predictions("test")
    assert len(table) == 8 and table["logit"].isna().all() and run.metrics["test"] == {}
    assert "100 %" not in unmask("report", f"run={run.folder}", cwd=tmp_path).stdout


def test_items_that_no_batch_held_lower_the_coverage(place):
    run, _ = trained(place, "limited", "+trainer.limit_test_batches=1", "data.batch_size=8")
    table = run.predictions("test")
    assert table["item"].nunique() == 24 and table["logit"].notna().sum() == 8
    printed = unmask("report", f"run={run.folder}", cwd=place).stdout
    assert "33 %" in printed and "100 %" not in printed


def test_damaged_predictions_are_written_again_by_the_command_in_the_message(place, run):
    before = {split: run.predictions(split) for split in ("val", "test")}
    for split, table in before.items():
        path = predictions_path(run.folder, split)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
        with pytest.raises(RunError, match=rf"damaged .*; unmask evaluate run=\S+ split={split} writes it again"):
            run.predictions(split)
        unmask("evaluate", f"run={run.folder}", f"split={split}", "trainer=cpu", cwd=place)
        again = run.predictions(split)
        assert again["item"].tolist() == table["item"].tolist() and np.allclose(again["logit"], table["logit"])
        assert again.attrs["protocol"] == table.attrs["protocol"]
        assert len(list(run.folder.glob(f"predictions-*{split}.parquet"))) == 1


def test_results_of_an_earlier_loop_are_never_taken():
    """A loop that runs nothing leaves nothing, whatever lay in the module before."""
    module = Module()
    module.results = Results({"video_auroc": 1.0})
    idle = SimpleNamespace(validate=lambda *_, **__: [], test=lambda *_, **__: [], callback_metrics={})
    data = SimpleNamespace(samples={"test": [0], "val": []}, empty_predictions=lambda split: pd.DataFrame())
    with pytest.raises(ValueError, match="no batch of the test split was evaluated"):
        evaluate(idle, module, data, "test")
    assert module.results is None
    assert evaluate(idle, module, data, "val").figures == {}


def test_the_best_weights_add_no_point_to_the_curves(run):
    """They are validated once more after the training; the last epoch's own figure stays in the file."""
    curve = pd.read_csv(run.folder / "metrics.csv")
    assert curve["val/video_auroc"].notna().sum() == run.metrics["epochs"] == 2


# -- what was asked for is what is scored


def test_a_root_that_contradicts_the_prepared_crops_is_refused(place, run, tmp_path):
    other = divided(tmp_path / "other", seed=7, train=6, val=6, test=12)
    before = (run.folder / "predictions-test.parquet").read_bytes()
    for verb, *arguments in (
        ("train", *TRAIN, "name=wrong"),
        ("evaluate", f"run={run.folder}", "data=folder", "trainer=cpu"),
    ):
        refused = unmask(verb, *arguments, f"data.root={other}", cwd=place, expect=1).stderr
        assert str(other) in refused and str(place / "whole") in refused and "paths.prepared=DIR" in refused
        assert "no such folder" in unmask(verb, *arguments, "data.root=/nowhere", cwd=place, expect=1).stderr
    assert (run.folder / "predictions-test.parquet").read_bytes() == before


def test_prepared_crops_are_read_without_any_root_and_from_a_moved_one(place, run, tmp_path):
    moved = shutil.copytree(place / "whole", tmp_path / "moved")
    evaluated = unmask("evaluate", f"run={run.folder}", "data=folder", f"data.root={moved}", "trainer=cpu", cwd=place)
    assert "predictions-test.parquet" in evaluated.stdout, "the same files: the run's own split"
    alone = tmp_path / "alone"
    shutil.copytree(place / "outputs/prepared", alone / "outputs/prepared")
    unmask("train", *TRAIN, "name=alone", cwd=alone)


def test_other_crops_at_another_place_keep_the_runs_own_predictions(place, run, tmp_path):
    other = divided(tmp_path / "other", seed=7, train=6, val=6, test=12)
    prepared(tmp_path, other)
    before = (run.folder / "predictions-test.parquet").read_bytes()
    given = [f"run={run.folder}", f"paths.prepared={tmp_path / 'outputs/prepared'}", "trainer=cpu"]
    printed = unmask("evaluate", *given, "data=folder", f"data.root={other}", cwd=place).stdout
    assert (run.folder / "predictions-test.parquet").read_bytes() == before
    (path,) = run.folder.glob("predictions-folder-*test.parquet")
    assert path.name in printed and set(read_predictions(path)["item"]) == set(run.predictions("test")["item"])
    assert not np.allclose(read_predictions(path)["logit"], run.predictions("test")["logit"])
    path.unlink()


def test_a_second_protocol_has_predictions_of_its_own_and_names_what_was_trained_on(place, run):
    before = (run.folder / "predictions-test.parquet").read_bytes()
    given = [
        f"run={run.folder}",
        "data=folder",
        f"data.root={place / 'whole'}",
        "data.split.protocol=random_groups",
        "trainer=cpu",
    ]
    printed = " ".join(unmask("evaluate", *given, cwd=place).stdout.split())
    assert (run.folder / "predictions-test.parquet").read_bytes() == before
    table = read_predictions(run.folder / "predictions-folder-random_groups-test.parquet")
    trained = set(table["item"]) - set(run.predictions("test")["item"]) - set(run.predictions("val")["item"])
    assert trained, "this deal puts training pictures into the test split"
    assert f"{len(trained)} of these {table['item'].nunique()} items are in the run's training split" in printed
    assert table.attrs["protocol"]["Seen in training"].startswith(f"{len(trained)} of")
    assert "Seen in training" not in run.predictions("test").attrs["protocol"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "image_size=64"),
        ("evaluate", "frames=2"),
        ("evaluate", "count=3"),
        ("evaluate", "seed=1"),
        ("evaluate", "data=folder", "data.image_size=64"),
        ("evaluate", "data=folder", "data/recipe=faces"),
        ("evaluate", "+trainer.limit_test_batches=1"),
        ("report", "overrides=[x]"),
        ("sample", "masks=[upper_left]"),
        ("swap", "check=true"),
        ("sample", "+data.root=x"),
        ("swap", "+experiment=x"),
    ],
    ids=" ".join,
)
def test_an_argument_takes_effect_or_is_refused(place, run, arguments):
    verb, *given = arguments
    refused = unmask(verb, f"run={run.folder}", *given, cwd=place, expect=1).stderr
    assert given[-1].partition("=")[0].lstrip("+").partition("_test")[0] in refused and "Traceback" not in refused


def test_training_refuses_what_has_no_effect(place):
    wrong = ["data.split.protocol=official", "data.split.test_fraction=0.3", "data.sampling.stride=2"]
    refused = unmask("train", *TRAIN, "name=wrong", f"data.root={place / 'whole'}", *wrong, cwd=place, expect=1).stderr
    assert (
        "data.split.test_fraction: data.split.protocol=official" in refused
        and "data.sampling.stride: needs clips" in refused
    )
    assert "takes no further argument" in unmask("list", "networks", "more", cwd=place, expect=1).stderr


# -- one class alone


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "label"), [("folder", "real"), ("faces", "real"), ("folder", "fake")])
def test_one_class_alone_has_a_rate_with_its_interval_and_says_what_does_not_exist(place, run, tmp_path, kind, label):
    """Against SciPy's exact interval of a share."""
    root = tmp_path / "alone"
    paint(root if kind == "faces" else root / label, 15, label, 9)
    here = [f"data={kind}", "data.name=alone", f"data.root={root}"]
    sizes = ["data/recipe=pictures", "data.recipe.crop_size=32"]
    unmask("prepare", *here, *sizes, "prepare.num_workers=0", f"paths.prepared={tmp_path}", cwd=place)
    given = [*here, "data.split.test_fraction=1", f"paths.prepared={tmp_path}", "trainer=cpu"]
    printed = unmask("evaluate", f"run={run.folder}", *given, cwd=place).stdout
    table = read_predictions(run.folder / "predictions-alone-test.parquet")
    assert len(table) == 15 and set(table["label"]) == {int(label == "fake")}
    called = int((table["logit"] > run.score_thresholds["video"]).sum())
    low, high = binomtest(called, 15).proportion_ci(method="exact")
    rate = "false positive rate (FPR)" if label == "real" else "true positive rate (TPR)"
    said = f"{called} of 15 {label} images are classified as fake: {rate} {called / 15:.3f} [{low:.3f}, {high:.3f}]"
    printed = " ".join(printed.split())  # a long sentence is wrapped
    assert said in printed
    missing = "fake" if label == "real" else "real"
    assert f"No {missing} image was scored, so these metrics are undefined: AUC" in printed
    (run.folder / "predictions-alone-test.parquet").unlink()
    train = [*TRAIN[1:], "name=alone", *here, f"paths.prepared={tmp_path}", "data.sampling.balance=none"]
    refused = unmask("train", *train, cwd=place, expect=1).stderr
    assert any(words in refused for words in ("a detector learns from both", "needs both", "no weights can be chosen"))


# -- what is no number is no result


def copied(run: Run, folder: Path) -> Run:
    return Run(shutil.copytree(run.folder, folder))


def test_weights_that_are_not_finite_give_no_figures(place, run, tmp_path):
    broken = copied(run, tmp_path / "nan")
    state = torch.load(broken.checkpoint, weights_only=True)
    state["state_dict"] = {key: value * float("nan") for key, value in state["state_dict"].items()}
    torch.save(state, broken.checkpoint)
    before = (broken.folder / "predictions-test.parquet").read_bytes()
    refused = unmask("evaluate", f"run={broken.folder}", "trainer=cpu", cwd=place, expect=1).stderr
    assert "24 of 24 logits of the test split are NaN or infinite" in refused and "folder/" in refused
    assert (broken.folder / "predictions-test.parquet").read_bytes() == before


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity"])
def test_a_threshold_that_is_not_finite_decides_nothing(place, run, tmp_path, value):
    broken = copied(run, tmp_path / "threshold")
    text = (broken.folder / "metrics.json").read_text()
    first = json.dumps(json.loads(text)["thresholds"]["video"])
    (broken.folder / "metrics.json").write_text(text.replace(f'"video": {first}', f'"video": {value}'))
    with pytest.raises(RunError, match=r"the video threshold in metrics.json is (nan|inf); expected a finite number"):
        Run(broken.folder).thresholds  # noqa: B018
    assert "expected a finite number" in unmask("report", f"run={broken.folder}", cwd=place, expect=1).stderr


def test_a_monitored_figure_that_does_not_exist_ends_the_training(place):
    """The first batch of validation holds real pictures alone."""
    few = ["name=few", "+trainer.limit_val_batches=1", "data.batch_size=4", f"data.root={place / 'whole'}"]
    refused = unmask("train", *TRAIN, *few, cwd=place, expect=1).stderr
    assert "module.monitor=val/video_auroc cannot be computed on the validation split" in refused
    assert "trainer.limit_val_batches=1 excludes the others" in refused
    assert not list((place / "outputs/few").glob("*/metrics.json"))


def test_every_json_that_a_run_and_a_store_leave_is_strict(place, run):
    found = [*run.folder.rglob("*.json"), *(place / "outputs/prepared").rglob("*.json")]
    assert {path.name for path in found} >= {"metrics.json", "audit.json", "recipe.json"}
    for path in found:
        json.loads(path.read_text(), parse_constant=lambda name, path=path: pytest.fail(f"{name} in {path.name}"))


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": 2, "e": "NaN"}})
    text = (tmp_path / "x.json").read_text()
    parsed = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert parsed == {"a": None, "b": [1.0, None], "c": {"d": 2, "e": "NaN"}}


def test_a_training_stores_the_range_of_its_validation_split(place):
    """6 real and 6 fake pictures of noise, 32 px, stored as they are; the sharpness is computed by OpenCV."""
    run, _ = trained(place, "ranged", "explain=0")
    found = run.measured
    assert found is not None and found.faces == 12
    assert found.limits["side"].low < 32 < found.limits["side"].high
    paths = [place / "whole/val" / label / f"{label}_{number}.png" for label in ("real", "fake") for number in range(6)]
    grey = [cv2.cvtColor(np.array(Image.open(path).convert("RGB")), cv2.COLOR_RGB2GRAY) for path in paths]
    sharp = [cv2.Laplacian(one, cv2.CV_64F).var() for one in grey]
    limits = found.limits["sharpness"]
    assert limits.low < min(sharp) and max(sharp) < limits.high < 2 * max(sharp)
