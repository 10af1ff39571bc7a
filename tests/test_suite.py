"""Robustness suites: what is scored, what a killed suite keeps, and what a report says about it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import unmask
from test_evaluation import divided, prepared, trained
from unmask.evaluation.loading import data_of
from unmask.evaluation.suite import Detection, Suite, run_suite
from unmask.media.kinds import MediaError
from unmask.metrics.robustness import CLEAN, mean_auroc, robustness, worst
from unmask.reporting.gather import suites
from unmask.reporting.robustness import remark
from unmask.runs.identity import run_id
from unmask.runs.predictions import read_predictions, robustness_path
from unmask.runs.run import Run


class Darker:
    """Change files and crops: subtract a number of grey levels."""

    levels = (0, 100)
    pictures, videos = True, False

    def __init__(self, refused: str = "none") -> None:
        self.refused, self.calls = refused, 0

    def words(self, level: int) -> str:
        return f"minus {self.levels[level - 1]}"

    def crops(self, x, level, seed):
        self.calls += 1
        return np.clip(x.astype(int) - self.levels[level - 1], 0, 255).astype(np.uint8)

    def file(self, path, level, folder):
        self.calls += 1
        if self.refused in path.name:
            raise MediaError("no face found")
        pixels = np.asarray(Image.open(path)).astype(int) - self.levels[level - 1]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "changed.png")
        return folder / "changed.png"


def predictions(real, fake) -> pd.DataFrame:
    """Return a prediction table of images with these logits."""
    logit = np.array([*real, *fake], float)
    label = np.array([0] * len(real) + [1] * len(fake))
    names = [f"i{number:03d}" for number in range(len(logit))]
    methods = np.where(label, "swap", "real")
    fixed = {"track": 0, "frame": 0, "time": 0.0, "dataset": "d", "split": "test"}
    return pd.DataFrame({"item": names, "label": label, "method": methods, "logit": logit, **fixed})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    place = tmp_path_factory.mktemp("suite")
    prepared(place, divided(place / "data", train=12, val=12, test=24))
    return trained(place, "run")[0]


@pytest.fixture
def detection(run) -> Detection:
    data = data_of(run, prepared=str(run.folder.parents[1] / "prepared"))
    data.setup("test")
    return Detection(run.network(), False, data, run.checkpoint)


def scores(out: Path, suite: str, name: str, level: int) -> pd.Series:
    table = read_predictions(robustness_path(out, suite, name, level))
    return table.set_index("item")["logit"].sort_index()


def test_the_clean_step_gives_the_scores_of_the_evaluation(run, detection, tmp_path):
    steps = list(run_suite(Suite("s", {"darker": Darker()}), detection, "test", tmp_path, 0))
    assert steps == [(CLEAN, 0), ("darker", 1), ("darker", 2)]
    tested = run.predictions("test").set_index("item")["logit"].sort_index()
    clean = scores(tmp_path, "s", CLEAN, 0)
    assert len(clean) == 48 and np.allclose(clean, tested, atol=1e-5)
    assert np.allclose(scores(tmp_path, "s", "darker", 1), clean, atol=1e-5)  # through files: minus nothing
    assert not np.allclose(scores(tmp_path, "s", "darker", 2), clean, atol=1e-2)


def test_files_and_crops_give_the_same_scores_where_the_crop_is_the_picture(detection, tmp_path):
    for name, files in (("files", True), ("crops", False)):
        list(run_suite(Suite(name, {"darker": Darker()}, files=files), detection, "test", tmp_path, 0))
    pair = [scores(tmp_path, name, "darker", 2) for name in ("files", "crops")]
    assert np.allclose(*pair, atol=1e-5)
    said = [
        read_predictions(robustness_path(tmp_path, name, "darker", 2)).attrs["protocol"]["Applied to"]
        for name in ("files", "crops")
    ]
    assert said == ["files", "stored crops"]


def test_files_in_worker_processes_give_the_same_scores(run, detection, tmp_path):
    from unmask.perturb.pictures import Jpeg

    suite = {"jpeg": Jpeg(levels=[{"quality": 40, "subsampling": "4:2:0"}])}
    for name, workers in (("apart", 1), ("here", 0)):
        list(run_suite(Suite(name, suite, most=8), detection, "test", tmp_path, workers))
    apart, here = scores(tmp_path, "apart", "jpeg", 1), scores(tmp_path, "here", "jpeg", 1)
    assert len(apart) == 8 and np.allclose(apart, here, atol=1e-5)


def test_what_cannot_be_scored_lowers_the_coverage(run, detection, tmp_path):
    list(run_suite(Suite("s", {"darker": Darker(refused="real_1")}), detection, "test", tmp_path, 0))
    table = read_predictions(robustness_path(tmp_path, "s", "darker", 1))
    lost = table[table["logit"].isna()]
    assert len(table) == 48 and len(lost) == 11  # real_1, and real_10 to real_19
    assert all("real_1" in item for item in lost["item"])
    steps = {step: read_predictions(robustness_path(tmp_path, "s", *step)) for step in ((CLEAN, 0), ("darker", 1))}
    _, dark = robustness(steps, 0.0, resamples=50)
    assert dark.coverage == pytest.approx(37 / 48) and dark.fpr.total == 13
    assert dark.change == pytest.approx(0, abs=1e-9)


def test_nothing_scored_is_a_table_without_scores(detection, tmp_path):
    list(run_suite(Suite("s", {"darker": Darker(refused="_")}), detection, "test", tmp_path, 0))
    table = read_predictions(robustness_path(tmp_path, "s", "darker", 2))
    assert len(table) == 48 and table["logit"].isna().all()


def test_a_killed_suite_resumes(detection, tmp_path):
    begun = Darker()
    steps = run_suite(Suite("s", {"darker": begun}), detection, "test", tmp_path, 0)
    assert [next(steps), next(steps)] == [(CLEAN, 0), ("darker", 1)]
    steps.close()
    again = Darker()
    assert len(list(run_suite(Suite("s", {"darker": again}), detection, "test", tmp_path, 0))) == 3
    assert again.calls == 48  # one step, not two
    damaged = robustness_path(tmp_path, "s", "darker", 1)
    damaged.write_bytes(damaged.read_bytes()[:-40])
    mended = Darker()
    list(run_suite(Suite("s", {"darker": mended}), detection, "test", tmp_path, 0))
    assert mended.calls == 48 and len(read_predictions(damaged)) == 48
    other = Darker()
    list(run_suite(Suite("s", {"darker": other}, most=10), detection, "test", tmp_path, 0))
    assert other.calls == 20 and len(read_predictions(damaged)) == 10  # other items: every step again


def test_a_perturbation_that_does_not_apply_is_left_out(detection, tmp_path, capsys):
    root = detection.data.members[0][0].raw
    hidden = root.with_name("hidden")
    root.rename(hidden)
    try:
        list(run_suite(Suite("s", {"darker": Darker()}), detection, "test", tmp_path, 0))
        protocol = read_predictions(robustness_path(tmp_path, "s", "darker", 1)).attrs["protocol"]
        assert protocol["Applied to"] == "stored crops"
        with pytest.raises(ValueError, match=r"none of its perturbations applies \(only: the raw files are missing"):
            list(run_suite(Suite("t", {"only": VideosOnly()}), detection, "test", tmp_path, 0))
    finally:
        hidden.rename(root)
    both = Suite("t", {"only": VideosOnly(), "darker": Darker()})
    steps = list(run_suite(both, detection, "test", tmp_path, 0))
    assert steps == [(CLEAN, 0), ("darker", 1), ("darker", 2)]
    assert "perturbation only is skipped: it does not change files of this kind" in capsys.readouterr().out


class VideosOnly:
    """A perturbation of video files alone."""

    levels = (1,)
    pictures, videos = False, True

    def words(self, level: int) -> str:
        return "nothing"

    def file(self, path, level, folder):
        return path


def test_the_sample_is_balanced_and_seeded():
    items = pd.DataFrame({"item": [f"i{n}" for n in range(100)], "label": [0] * 90 + [1] * 10})
    suite = Suite("s", {"darker": Darker()}, most=40)
    drawn = suite.sample(items)
    assert drawn["label"].tolist().count(1) == 10 and len(drawn) == 40 and drawn["item"].is_unique
    assert drawn.equals(suite.sample(items)) and drawn.index.is_monotonic_increasing
    assert not drawn.equals(Suite("s", {"darker": Darker()}, most=40, seed=1).sample(items))
    even = Suite("s", {"darker": Darker()}, most=10).sample(items)
    assert even["label"].sum() == 5
    assert Suite("s", {"darker": Darker()}).sample(items) is items
    for wrong in ({"most": 1}, {"perturbations": {}}):
        with pytest.raises(ValueError, match=r"suite\.(most|perturbations)"):
            Suite(**({"name": "s", "perturbations": {"darker": Darker()}} | wrong))


def test_the_figures_of_a_suite_by_hand():
    """Four reals and four fakes; after handling, two fakes score below all reals: 8 of 16 pairs are in order."""
    real, fake = [-4.0, -3.0, -2.0, -1.0], [1.0, 2.0, 3.0, 4.0]
    clean = predictions(real, fake)
    after = predictions(real, [-6.0, -5.0, 3.0, 4.0])
    first, second = robustness({(CLEAN, 0): clean, ("jpeg", 1): after}, threshold=0.5, resamples=10)
    assert (first.auroc, second.auroc, second.change) == (1.0, 0.5, -0.5)
    assert (first.tpr.value, second.tpr.value, second.fpr.value) == (1.0, 0.5, 0.0)
    assert np.isnan(second.low) and not second.falls  # eight items are too few for an interval
    assert mean_auroc([first, second]) == 0.5 and worst([first, second]) is None


def test_a_significant_fall_is_a_remark():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 1, 60), rng.normal(3, 1, 60)
    clean, after = predictions(real, fake), predictions(real, rng.normal(0, 1, 60))
    after.attrs["protocol"] = {"Perturbation": "JPEG 95, 4:2:0"}
    found = robustness({(CLEAN, 0): clean, ("same", 1): clean, ("jpeg", 1): after}, 0.0, resamples=200)
    assert worst(found).name == "jpeg" and found[1].change == 0
    said = remark("quick", found, "image")
    assert (
        "not robust to such changes of the images" in said and "the perturbation 'JPEG 95, 4:2:0' (suite quick)" in said
    )
    assert f"from {found[0].auroc:.3f} to {found[2].auroc:.3f}" in said
    assert remark("quick", found[:2], "image") is None


@pytest.mark.slow
def test_a_training_shows_the_quick_suite(tmp_path):
    """From the command line: the table, the page, the resumed evaluation and the switch."""
    prepared(tmp_path, divided(tmp_path / "data", train=12, val=12, test=12))
    run, printed = trained(tmp_path, "shown", "report=true", "handling.most=20")
    page = (run.folder / "report.html").read_text()
    for words in ("JPEG quality 95, 4:2:0", "JPEG quality 75, 4:2:0", "WebP quality 75"):
        assert words in printed and words in page
    assert "robustness suite quick: scored 6 steps and the clean items in" in printed and "Robustness" in page
    found = suites(run, 10)["quick"]
    assert len(found) == 7 and found[0].name == CLEAN and found[0].fpr.total + found[0].tpr.total == 20
    printed = unmask(
        "evaluate", f"run={run.folder}", "suite=quick", "suite.most=20", "trainer=cpu", cwd=tmp_path
    ).stdout
    assert f"mean AUC over the 6 steps: {mean_auroc(found):.3f}" in printed
    without, printed = trained(tmp_path, "without", "report=true", "handling=false")
    assert "JPEG" not in printed and not (without.folder / "robustness").exists()
    assert run_id({"handling": False}, "") == run_id({"handling": {"name": "quick"}}, "")  # it changes no result
