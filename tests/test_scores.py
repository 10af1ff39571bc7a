"""Scores, thresholds and what can be said where a class or items are missing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics as sk

from test_metrics import logit, random_predictions, table
from unmask.metrics import bootstrap, detection, learning, rates
from unmask.reporting import examples
from unmask.runs.errors import RunError
from unmask.runs.run import Run


def pictures(logits, labels) -> pd.DataFrame:
    """One row a picture."""
    return table(*[(f"v{n}", label, "m", x) for n, (x, label) in enumerate(zip(logits, labels, strict=True))])


# -- ranks are taken on logits


def test_two_large_logits_are_ranked():
    predictions = pictures([98.0950, 98.4612], [0, 1])
    figures = detection.quick(predictions)
    assert figures["frame_auroc"] == figures["video_auroc"] == 1.0
    cut = detection.threshold(predictions)
    assert 98.0950 < cut["video"] < 98.4612 and 98.0950 < cut["frame"] < 98.4612
    rows = detection.summary(predictions, cut).set_index(["level", "method", "metric"])["value"]
    assert rows["video", "all", "accuracy"] == rows["video", "all", "auroc"] == 1.0
    assert examples.errors(predictions, cut["video"]) == ([], 0)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_scale_of_logits_changes_no_rank(frames):
    rng = np.random.default_rng(0)
    label = np.arange(1000) % 2
    x = rng.normal(1.5 * label)
    expected = sk.roc_auc_score(label, x)
    for scale in (1, 20, 100, 1000):
        one = pictures(x * scale, label)
        predictions = pd.concat([one.assign(frame=number) for number in range(frames)])
        figures = detection.quick(predictions)
        assert figures["frame_auroc"] == pytest.approx(expected, abs=1e-12)
        assert figures["video_auroc"] == pytest.approx(expected, abs=1e-12)
        assert detection.threshold(predictions)["video"] == pytest.approx(
            scale * detection.threshold(one)["video"] / scale
        )
        assert bootstrap.paired(predictions, one, resamples=20).difference == 0


def tracks(*logits) -> np.ndarray:
    """Scores of videos of one track each."""
    rows = [(f"v{n:02d}", 0, "real", x) for n, values in enumerate(logits) for x in values]
    return detection.videos(table(*rows))["score"].to_numpy()


def test_what_ties_on_paper_ties_to_the_bit():
    rng = np.random.default_rng(1)
    for scale in (0.1, 3.0, 40.0, 900.0):
        values = rng.normal(0, scale, 7)
        same = tracks(values, values[::-1], np.sort(values), np.tile(values, 3), np.repeat(values, 5))
        assert len(set(same.tolist())) == 1, scale
        assert tracks(-values)[0] == pytest.approx(-same[0], rel=1e-12, abs=1e-15)
        constant = tracks(values[:1], np.repeat(values[0], 9))
        assert constant.tolist() == [values[0]] * 2, "equal logits give that very logit"
    assert tracks([-5.0, 5.0], [0.0], [-300.0, 0.0, 300.0]).tolist() == [0.0] * 3


def test_a_videos_score_is_the_logit_of_its_mean_probability():
    probs = np.array([0.1, 0.7, 0.95])
    assert tracks(np.log(probs / (1 - probs)))[0] == pytest.approx(logit(probs.mean()), abs=1e-14)
    # Mean p = (1 + 0) / 2 to any digit; mean 1 - p = (e^-100 + e^-200) / 2, and mean p = 1.
    assert tracks([-1e4, 1e4])[0] == 0
    assert tracks([100.0, 200.0])[0] == pytest.approx(100 + np.log(2), abs=1e-13)
    assert tracks([-100.0, -200.0])[0] == pytest.approx(-100 - np.log(2), abs=1e-13)


# -- thresholds


def test_probability_and_logit_are_inverse():
    x = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(detection.logit(detection.probability(x)), x, rtol=1e-3, atol=1e-12)
    ends = detection.logit([0.0, 1.0])
    assert np.isfinite(ends).all() and ends[0] < -1e300 and ends[1] > 1e300


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
def test_a_threshold_that_is_no_number_is_refused(value):
    with pytest.raises(
        ValueError, match=rf"the frame threshold is {value}; expected a finite logit.* train the run again"
    ):
        detection.summary(random_predictions(), {"video": 0.0, "frame": value}, 5)


def run_with(folder, kind="detector", **metrics) -> Run:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text("name: x\n")
    (folder / "metrics.json").write_text(json.dumps({"kind": kind, **metrics}))
    return Run(folder)


def test_runs_of_old_have_thresholds_as_probabilities_only(tmp_path):
    old = run_with(tmp_path / "old", thresholds={"frame": 0.25, "video": 1.0})
    assert old.thresholds == {"frame": 0.25, "video": 1.0}
    assert old.score_thresholds["frame"] == pytest.approx(np.log(1 / 3))
    assert old.score_thresholds["video"] > 1e300, "nothing was above a probability of 1"
    new = run_with(tmp_path / "new", thresholds={"frame": 1.0}, score_thresholds={"frame": 98.3})
    assert new.score_thresholds == {"frame": 98.3}
    broken = run_with(tmp_path / "broken", thresholds={"frame": None}, score_thresholds={"frame": None})
    with pytest.raises(ValueError, match=r"the frame threshold in metrics\.json is nan; expected a finite number"):
        _ = broken.score_thresholds
    with pytest.raises(RunError, match="has no scores"):
        _ = run_with(tmp_path / "generator", "generator", monitor="val/psnr").score_thresholds


# -- logits that are no numbers


def test_logits_that_are_not_finite_are_refused_with_their_rows():
    predictions = random_predictions(videos=12, unscored=2)
    predictions.loc[predictions["logit"].isna(), "frame"] = -1  # rejected before they reached the network
    detection.require_finite(predictions)
    item, frame = predictions.loc[7, ["item", "frame"]]
    for value in (np.nan, np.inf, -np.inf):
        broken = predictions.copy()
        broken.loc[7, "logit"] = value
        words = re.escape(f"1 of {len(predictions)} logits are not finite ({item}, track 0, frame {frame}: {value})")
        with pytest.raises(ValueError, match=words):
            detection.require_finite(broken)
        if np.isinf(value):
            for figure in (detection.quick, detection.videos, detection.threshold):
                with pytest.raises(ValueError, match=words):
                    figure(broken)


# -- one class alone


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (137, 4000)])
def test_the_interval_of_a_share_is_scipys(hits, total):
    expected = scipy.stats.binomtest(hits, total).proportion_ci(0.95, "exact")
    assert rates.clopper_pearson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="3 of 2 items"):
        rates.clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="0 of 0 items"):
        rates.clopper_pearson(0, 0)


def test_rates_of_each_class_at_a_threshold():
    scored = detection.videos(pictures([-1.0, 0.5, 2.0, 0.4, 3.0], [0, 0, 0, 1, 1]))
    fpr, tpr = rates.rates(scored, 0.5)
    assert (fpr.name, fpr.called, fpr.total) == ("FPR", 1, 3) and (tpr.name, tpr.called, tpr.total) == ("TPR", 1, 2)
    assert fpr.value == pytest.approx(1 / 3) and fpr.low < 1 / 3 < fpr.high
    assert [rate.name for rate in rates.rates(scored[scored["label"] == 0], 0.5)] == ["FPR"]
    assert rates.rates(scored.iloc[:0], 0.5) == []


# -- a training that did not learn


def test_a_training_that_did_not_learn_is_named():
    rng = np.random.default_rng(3)
    label = np.arange(60) % 2
    guessed, learnt = pictures(rng.normal(size=60), label), pictures(rng.normal(2.0 * label), label)
    for monitor in ("val/video_auroc", "val/frame_auroc"):
        assert learning.did_not_learn(learnt, monitor, 3) is None
        words = learning.did_not_learn(guessed, monitor, 3)
        assert words and f"{monitor} is {sk.roc_auc_score(label, guessed['logit']):.2f} on 30 real and 30 fake" in words
        assert "not significantly better than chance" in words and "first" not in words
    assert learning.did_not_learn(learnt.assign(logit=-learnt["logit"]), "val/video_auroc", 3), "below guessing"
    for monitor in ("val/iou", "val/psnr"):
        assert f"the best epoch by {monitor} is the first one" in str(learning.did_not_learn(None, monitor, 0))
        assert learning.did_not_learn(None, monitor, 2) is None and learning.did_not_learn(None, monitor, None) is None


@pytest.mark.parametrize("monitor", ["val/video_auroc", "val/loss", "val/video_acc"])
def test_whether_a_detector_learned_is_decided_by_its_auc(monitor):
    """Whatever it monitors; with pretrained weights or much data, the first epoch can be the best one."""
    label = np.arange(60) % 2
    noise = np.random.default_rng(3).normal(size=60)
    learnt, guessed = pictures(noise + 3 * label, label), pictures(noise, label)
    assert learning.did_not_learn(learnt, monitor, 0) is None and learning.did_not_learn(learnt, monitor, 3) is None
    first, later = (str(learning.did_not_learn(guessed, monitor, epoch)) for epoch in (0, 3))
    assert f"the best epoch by {monitor} is the first one, and val/video_auroc is" in first
    assert "first" not in later and "val/video_auroc is" in later and "not significantly better than chance" in later


def test_few_validation_items_prove_nothing():
    assert "too few" in str(
        learning.did_not_learn(pictures([1, 2, 3, -1, -2, -3], [1, 1, 1, 0, 0, 0]), "val/video_auroc", 2)
    )
    assert "0 real and 2 fake" in str(learning.did_not_learn(pictures([1, 2], [1, 1]), "val/video_auroc", 2))
    eight = pictures([1, 2, 3, 4, -1, -2, -3, -4], [1] * 4 + [0] * 4)
    assert learning.did_not_learn(eight, "val/video_auroc", 2) is None, "1 in 70 by chance"
    frames = pd.concat([eight.assign(frame=frame) for frame in range(50)])
    assert learning.did_not_learn(frames.assign(logit=-frames["logit"]), "val/frame_auroc", 2)
