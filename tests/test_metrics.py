"""Metrics against scikit-learn, torchmetrics, SciPy and hand counts; never against themselves."""

import time

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics as sk
import torch
from scipy.optimize import brentq
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    BinaryEER,
)

from unmask.metrics import bootstrap, calibration, decisions, detection, ranking


def table(*rows, **columns):
    """Build predictions from (item, label, method, logit) with defaults for the rest."""
    frame = pd.DataFrame(rows, columns=["item", "label", "method", "logit"])
    frame["frame"] = frame.groupby("item").cumcount()
    return frame.assign(track=0, time=frame["frame"] / 25, dataset="toy", split="test").assign(**columns)


def logit(prob):
    return float(np.log(prob / (1 - prob)))


def logits(probs):
    return np.log(probs / (1 - probs))


def random_predictions(videos=60, frames=8, methods=("swap", "synth"), seed=0, unscored=0):
    """Correlated frame scores of a mediocre detector; every other video is fake."""
    rng, rows = np.random.default_rng(seed), []
    for video in range(videos):
        label = video % 2
        method = methods[video // 2 % len(methods)] if label else "real"
        item = f"toy/{method}/{video:03d}"
        if video < unscored:
            rows.append((item, label, method, np.nan))
            continue
        shift = rng.normal(1.2 * label - 0.6, 1.0)
        rows += [(item, label, method, value) for value in rng.normal(shift, 0.8, frames)]
    return table(*rows)


@pytest.fixture(params=["distinct", "tied"])
def case(request):
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 400)
    score = np.clip(0.5 + 0.15 * label + rng.normal(0, 0.2, 400), 0.001, 0.999)
    if request.param == "tied":
        score = np.round(score, 1).clip(0.1, 0.9)
    return score, label, rng.integers(0, 4, 400).astype(float)


def sklearn_eer(label, score, weight=None):
    """Walk along scikit-learn's curve, by its length in both directions, to where misses equal false alarms."""
    fpr, tpr, _ = sk.roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    way = fpr + tpr
    point = brentq(lambda x: 1 - np.interp(x, way, tpr) - np.interp(x, way, fpr), 0, 2, xtol=1e-14)
    return np.interp(point, way, fpr)


REFERENCES = {
    "auroc": lambda y, p, w, t: sk.roc_auc_score(y, p, sample_weight=w),
    "ap": lambda y, p, w, t: sk.average_precision_score(y, p, sample_weight=w),
    "accuracy": lambda y, p, w, t: sk.accuracy_score(y, p > t, sample_weight=w),
    "balanced_accuracy": lambda y, p, w, t: sk.balanced_accuracy_score(y, p > t, sample_weight=w),
    "precision": lambda y, p, w, t: sk.precision_score(y, p > t, sample_weight=w),
    "recall": lambda y, p, w, t: sk.recall_score(y, p > t, sample_weight=w),
    "f1": lambda y, p, w, t: sk.f1_score(y, p > t, sample_weight=w),
    "brier": lambda y, p, w, t: sk.brier_score_loss(y, p, sample_weight=w),
    "log_loss": lambda y, p, w, t: sk.log_loss(y, p, sample_weight=w),
}


@pytest.mark.parametrize("metric", REFERENCES)
@pytest.mark.parametrize("weighted", [False, True])
def test_metric_equals_scikit_learn(case, metric, weighted):
    score, label, weight = case
    weight = weight if weighted else None
    ours = detection.evaluate(logits(score), label, weight, threshold=logit(0.55))[metric]
    assert ours == pytest.approx(REFERENCES[metric](label, score, weight, 0.55), abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_eer_equals_the_crossing_of_scikit_learns_curve(case, weighted):
    score, label, weight = case
    weight = weight if weighted else None
    assert ranking.eer(score, label, weight) == pytest.approx(sklearn_eer(label, score, weight), abs=1e-9)


def test_eer_of_a_tie_is_interpolated():
    # ROC: up to (0, 1/2), then a tie of one fake and two reals slants to (1, 1): 1/2 + x/2 = 1 - x at 1/3
    assert ranking.eer([0.9, 0.5, 0.5, 0.5], [1, 1, 0, 0]) == pytest.approx(1 / 3, abs=1e-12)


def test_eer_at_the_ends():
    assert ranking.eer([0.5, 0.5, 0.5], [1, 0, 1]) == pytest.approx(0.5)  # one tie: the diagonal
    assert ranking.eer([0.9, 0.8, 0.1], [1, 1, 0]) == 0
    assert ranking.eer([0.1, 0.2, 0.9], [1, 1, 0]) == 1


def test_integer_weights_are_repetitions(case):
    score, label, weight = case
    times = weight.astype(int)
    weighted = detection.evaluate(score, label, weight, 0.5)
    repeated = detection.evaluate(np.repeat(score, times), np.repeat(label, times), None, 0.5)
    for metric in detection.METRICS:
        assert weighted[metric] == pytest.approx(float(repeated[metric]), abs=1e-9), metric


def test_rows_of_weights_are_computed_one_by_one(case):
    score, label, weight = case
    weights = np.stack([weight, np.ones_like(weight), weight[::-1]])
    together = detection.evaluate(score, label, weights, 0.5)
    for row, alone in enumerate(weights):
        for metric, value in detection.evaluate(score, label, alone, 0.5).items():
            assert together[metric][row] == pytest.approx(float(value), abs=1e-12), metric


def test_torchmetrics_agrees(case):
    score, label, _ = case
    p, y = torch.tensor(score, dtype=torch.float64), torch.tensor(label)
    assert ranking.auroc(score, label) == pytest.approx(BinaryAUROC()(p, y).item(), abs=1e-6)
    assert ranking.average_precision(score, label) == pytest.approx(BinaryAveragePrecision()(p, y).item(), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_shown_while_training_are_torchmetrics(seed):
    """At both levels, on random tables of which some items were not scored; the mean per video is pandas' own."""
    data = random_predictions(videos=40, seed=seed, unscored=seed)
    found = detection.quick(data)
    scored = data.dropna(subset=["logit"])
    prob = 1 / (1 + np.exp(-scored["logit"]))
    videos = scored.assign(prob=prob).groupby("item").agg({"prob": "mean", "label": "first"})
    for level, p, y in (("frame", prob, scored["label"]), ("video", videos["prob"], videos["label"])):
        given = torch.tensor(p.to_numpy()), torch.tensor(y.to_numpy())
        for name, metric in (("auroc", BinaryAUROC()), ("ap", BinaryAveragePrecision()), ("acc", BinaryAccuracy())):
            assert found[f"{level}_{name}"] == pytest.approx(metric(*given).item(), abs=1e-6), (level, name)
        # torchmetrics takes the point of the ROC curve with the closest rates; ours is interpolated between two points.
        step = 1 / min((y == 0).sum(), (y == 1).sum())
        assert found[f"{level}_eer"] == pytest.approx(BinaryEER()(*given).item(), abs=step), level


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_equals_torchmetrics(bins):
    rng = np.random.default_rng(5)
    prob, label = rng.uniform(size=500), rng.integers(0, 2, 500)
    reference = BinaryCalibrationError(n_bins=bins, norm="l1")(torch.tensor(prob), torch.tensor(label)).item()
    assert calibration.ece(prob, label, bins=bins) == pytest.approx(reference, abs=1e-6)
    weight = rng.integers(0, 3, 500)
    rows = np.repeat(np.arange(500), weight)
    metric = BinaryCalibrationError(n_bins=bins, norm="l1")
    reference = metric(torch.tensor(prob[rows]), torch.tensor(label[rows])).item()
    assert calibration.ece(prob, label, weight, bins) == pytest.approx(reference, abs=1e-6)


def test_ece_by_hand_with_certainty_in_the_last_bin():
    # bins of 1/2: (0.2, real), (0.4, fake) -> |0.6 - 1| ; (0.9, fake), (1.0, real) -> |1.9 - 1| ; over 4 rows
    assert calibration.ece([0.2, 0.4, 0.9, 1.0], [0, 1, 1, 0], bins=2) == pytest.approx((0.4 + 0.9) / 4, abs=1e-12)
    assert calibration.ece([1.0, 0.0], [1, 0]) == 0


def test_reliability_table_by_hand():
    rows = calibration.reliability([0.1, 0.3, 0.9], [0, 1, 1], bins=3)
    assert rows["weight"].tolist() == [2, 0, 1]
    assert rows["prob"].tolist() == pytest.approx([0.2, np.nan, 0.9], nan_ok=True)
    assert rows["fake"].tolist() == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)


def test_curves_equal_scikit_learn(case):
    score, label, weight = case
    weight = weight + 1  # scikit-learn leaves out rows of no weight
    fpr, tpr, cut = ranking.roc_curve(score, label, weight)
    reference = sk.roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    for ours, theirs in zip((fpr, tpr, cut), reference, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    recall, precision, cut = ranking.pr_curve(score, label)
    reference = sk.precision_recall_curve(label, score)
    np.testing.assert_allclose(precision, reference[0][:-1][::-1], atol=1e-9)
    np.testing.assert_allclose(recall, reference[1][:-1][::-1], atol=1e-9)
    np.testing.assert_allclose(cut, reference[2][::-1], atol=1e-9)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_ranking(label):
    predictions = table(("a", label, "m", 0.3), ("b", label, "m", -0.2))
    figures = detection.quick(predictions)
    for level in ("frame", "video"):
        assert all(np.isnan(figures[f"{level}_{metric}"]) for metric in ("auroc", "ap", "eer"))
        assert figures[f"{level}_acc"] == 0.5
    rows = detection.summary(predictions, {"frame": 0.5, "video": 0.5}, resamples=20).set_index(["level", "metric"])
    rows = rows[rows["method"] == "all"]
    assert rows.loc[("video", "auroc"), ["value", "low", "high"]].isna().all()
    assert np.isnan(rows.loc[("video", "balanced_accuracy"), "value"])


def test_nothing_scored_and_nothing_at_all():
    for predictions in (table(("a", 0, "real", np.nan), ("b", 1, "m", np.nan)), table()):
        assert all(np.isnan(value) for value in detection.quick(predictions).values())
        assert detection.threshold(predictions) == {"frame": 0.0, "video": 0.0}
        assert detection.summary(predictions, {"frame": 0.5, "video": 0.5}, 10)["value"].isna().all()


def test_a_nan_score_is_refused():
    with pytest.raises(ValueError, match="coverage"):
        ranking.auroc([0.1, np.nan], [0, 1])


def test_probability_does_not_overflow():
    probs = detection.probability([-1e4, 0.0, 1e4, np.nan])
    assert probs.tolist() == pytest.approx([0.0, 0.5, 1.0, np.nan], nan_ok=True)
    assert detection.probability(np.float32(1.7)) == pytest.approx(1 / (1 + np.exp(-np.float32(1.7).astype(float))))


def test_three_videos_by_hand():
    predictions = table(
        ("r", 0, "real", logit(0.2)),
        ("r", 0, "real", logit(0.6)),
        ("f", 1, "swap", logit(0.3)),
        ("f", 1, "swap", logit(0.9)),
        ("g", 1, "swap", logit(0.35)),
    )
    videos = detection.videos(predictions).set_index("item")
    assert videos["prob"].to_dict() == pytest.approx({"r": 0.4, "f": 0.6, "g": 0.35})
    assert videos["num"].to_dict() == {"r": 2, "f": 2, "g": 1}
    figures = detection.quick(predictions)
    # frames: fakes .3 .9 .35 against reals .2 .6: of 6 pairs .3>.2, .9>.2, .9>.6, .35>.2
    assert figures["frame_auroc"] == pytest.approx(4 / 6)
    assert figures["frame_acc"] == pytest.approx(2 / 5)
    assert figures["video_auroc"] == pytest.approx(1 / 2)
    assert figures["video_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["video_acc"] == pytest.approx(2 / 3)


def test_one_forged_face_makes_a_fake():
    rows = [("v", 1, "swap", logit(prob)) for prob in (0.1, 0.3, 0.9, 0.7)]
    predictions = table(*rows, track=[0, 0, 1, 1])
    assert detection.videos(predictions)["prob"].tolist() == pytest.approx([0.8])


def test_the_same_clip_under_four_methods_is_four_videos():
    """Grouping by the clip's folder fuses them: the defect of peers that made a video AUC of 1.0 out of a real 0.5."""
    methods = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]
    rows = [(f"ff/{method}/000_003", 1, method, value) for method, value in zip(methods, (3, 3, -3, -3), strict=True)]
    rows += [("ff/real/000", 0, "real", 0.0), ("ff/real/003", 0, "real", 0.0)]
    predictions = table(*rows)
    assert len(detection.videos(predictions)) == 6
    assert detection.quick(predictions)["video_auroc"] == pytest.approx(0.5)


def test_an_item_with_two_labels_is_refused():
    with pytest.raises(ValueError, match="'a'"):
        detection.videos(table(("a", 0, "real", 0.1), ("a", 1, "swap", 0.1)))


def test_threshold_is_the_middle_of_the_best_cut():
    probs = [(0, 0.1), (0, 0.2), (1, 0.5), (0, 0.6), (1, 0.8), (1, 0.9)]
    predictions = table(*[(f"v{i}", label, "m", logit(p)) for i, (label, p) in enumerate(probs)])
    # above .2: recall 1, specificity 2/3; above .6: recall 2/3, specificity 1: equal, and .2 to .5 is the wider gap:
    # in logits from -1.386 to 0, a probability of 1/3 in the middle; from .6 to .8 it is 0.405 to 1.386
    assert detection.threshold(predictions)["video"] == pytest.approx(np.log(0.2 / 0.8) / 2)
    assert detection.probability(detection.threshold(predictions)["video"]) == pytest.approx(1 / 3)


def test_threshold_maximises_balanced_accuracy():
    predictions = random_predictions(seed=8)
    for level, cut in detection.threshold(predictions).items():
        rows = detection.levels(predictions)[level]
        label, score = rows["label"].to_numpy(), rows["score"].to_numpy()
        tried = [sk.balanced_accuracy_score(label, score > t) for t in np.r_[-99, score]]
        assert sk.balanced_accuracy_score(label, score > cut) == pytest.approx(max(tried))


def test_threshold_between_neighbouring_floats_still_separates():
    low = 0.5
    predictions = pd.DataFrame({"score": [low, np.nextafter(low, 1)], "label": [0, 1]})
    cut = detection._cut(predictions["score"].to_numpy(), predictions["label"].to_numpy())
    assert (predictions["score"] > cut).tolist() == [False, True]


def test_quick_ignores_the_order_of_rows():
    predictions = random_predictions(seed=2)
    shuffled = predictions.sample(frac=1, random_state=0)
    assert detection.quick(shuffled) == pytest.approx(detection.quick(predictions), abs=1e-12)
    cut = {"frame": 0.4, "video": 0.6}
    pd.testing.assert_frame_equal(detection.summary(shuffled, cut, 50), detection.summary(predictions, cut, 50))


def test_unscored_items_lower_coverage_and_nothing_else():
    predictions = random_predictions(unscored=6)
    cut = {"frame": 0.5, "video": 0.5}
    rows = detection.summary(predictions, cut, resamples=20)
    without = detection.summary(predictions.dropna(subset=["logit"]), cut, resamples=20)
    np.testing.assert_array_equal(rows["value"], without["value"])
    everything = rows[rows["method"] == "all"]
    assert everything["coverage"].unique().tolist() == [0.9]
    assert everything[["real", "fake"]].drop_duplicates().to_numpy().tolist() == [[27, 27]]
    swap = rows[rows["method"] == "swap"]  # 30 reals and 15 swaps, of which items 0, 2, 4 and 1, 5 were not scored
    assert swap["coverage"].unique() == pytest.approx([40 / 45])
    assert detection.videos(predictions)["prob"].isna().sum() == 6


def test_summary_equals_scikit_learn_per_method():
    predictions, cut = random_predictions(seed=1), {"frame": 0.45, "video": 0.55}
    rows = detection.summary(predictions, {level: logit(value) for level, value in cut.items()}, resamples=10)
    for (level, method), group in rows.groupby(["level", "method"]):
        data = predictions.assign(prob=1 / (1 + np.exp(-predictions["logit"])))
        if level == "video":
            data = data.groupby("item", as_index=False).agg({"prob": "mean", "label": "first", "method": "first"})
        data = data if method == "all" else data[data["method"].isin(["real", method])]
        values = group.set_index("metric")["value"]
        for metric, reference in REFERENCES.items():
            expected = reference(data["label"], data["prob"], None, cut[level])
            assert values[metric] == pytest.approx(expected, abs=1e-9), (level, method, metric)


def test_resamples_keep_both_classes():
    label = np.r_[np.zeros(50), np.ones(3)]
    times = bootstrap.resample(label, 500, seed=1)
    assert (times[:, :50].sum(axis=1) == 50).all() and (times[:, 50:].sum(axis=1) == 3).all()
    assert times[:, :50].var() == pytest.approx(1 - 1 / 50, abs=0.05)


def test_interval_agrees_with_hanley_mcneil_and_scipy():
    predictions = random_predictions(videos=200, frames=1, seed=11)
    row = detection.summary(predictions, {"frame": 0.5, "video": 0.5}, 2000).query(
        "level == 'video' and method == 'all'"
    )
    row = row.set_index("metric").loc["auroc"]
    a, n = row["value"], 100
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / n**2)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.15)
    scores = [predictions.loc[predictions["label"] == label, "logit"].to_numpy() for label in (1, 0)]

    def area(fake, real):
        return scipy.stats.mannwhitneyu(fake, real).statistic / n**2

    reference = scipy.stats.bootstrap(scores, area, vectorized=False, n_resamples=1000, method="BCa", rng=0)
    assert row["low"] == pytest.approx(reference.confidence_interval.low, abs=0.01)
    assert row["high"] == pytest.approx(reference.confidence_interval.high, abs=0.01)


@pytest.mark.parametrize("shift", [0.2, 1.0, 2.5])
def test_the_accelerated_interval_is_scipys_for_the_same_resamples(shift):
    rng = np.random.default_rng(3)
    fake, real = rng.normal(shift, 1, 23), rng.normal(0, 1, 31)
    score, label = np.r_[real, fake], np.r_[np.zeros(31), np.ones(23)]

    def area(fake, real, axis):
        higher = fake[..., :, None] > real[..., None, :]
        return higher.mean((-2, -1))

    first = scipy.stats.bootstrap((fake, real), area, n_resamples=800, vectorized=True, method="percentile", rng=1)
    same = {"n_resamples": 0, "bootstrap_result": first}
    theirs = scipy.stats.bootstrap((fake, real), area, vectorized=True, method="BCa", **same)
    left_out = bootstrap.left_out(score, label, np.arange(54))
    assert left_out[3] == pytest.approx(ranking.auroc(np.delete(score, 3), np.delete(label, 3)))
    ours = bootstrap.accelerated(first.bootstrap_distribution, float(ranking.auroc(score, label)), left_out, label)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-9)


def test_an_interval_without_bias_or_spread_is_that_of_the_percentiles():
    moved = np.linspace(0.8, 0.9, 101)
    label = np.r_[np.zeros(5), np.ones(5)]
    middle = bootstrap.accelerated(moved, moved[50], np.full(10, 0.85), label)
    assert middle == pytest.approx(bootstrap.interval(moved))
    assert bootstrap.accelerated(moved, 0.95, [], label) == bootstrap.interval(moved), "no resampled value is above"
    assert bootstrap.accelerated(np.ones(9), 1.0, np.ones(10), label) == (1.0, 1.0)
    assert np.isnan(bootstrap.accelerated([], 0.5, [], label)).all()


def test_the_accelerated_interval_is_that_of_percentiles_where_its_formula_has_a_pole():
    moved, label = np.linspace(0, 1, 400_001), np.repeat([0, 1], 5000)
    left_out = np.full(10_000, 0.9)
    left_out[-1] = 0.8  # one item decides, which gives the largest possible acceleration, 1/6
    assert bootstrap.accelerated(moved, 1 - 4e-6, left_out, label) == bootstrap.interval(moved)
    assert bootstrap.accelerated(moved, 0.9, left_out, label) != bootstrap.interval(moved)
    many = bootstrap.left_out(np.zeros(1001), np.arange(1001) % 2, np.arange(1001))
    assert len(many) == 0


def test_frame_intervals_resample_videos():
    """Frames of a video repeat each other: twenty copies of each carry no more evidence than one."""
    once = random_predictions(videos=40, frames=1, seed=6)
    often = pd.concat([once.assign(frame=frame) for frame in range(20)], ignore_index=True)
    cut = {"frame": 0.5, "video": 0.5}
    narrow, wide = (
        detection.summary(data, cut, 200).query("level == 'frame' and metric == 'auroc' and method == 'all'")
        for data in (often, once)
    )
    assert narrow[["low", "high"]].to_numpy() == pytest.approx(wide[["low", "high"]].to_numpy(), abs=1e-9)


@pytest.mark.parametrize("fakes", [1, 9, 10])
def test_fewer_than_ten_videos_of_a_class_give_no_interval(fakes):
    rows = [(f"r{n}", 0, "real", -float(n)) for n in range(12)] + [(f"f{n}", 1, "swap", n - 3.5) for n in range(fakes)]
    figures = detection.summary(table(*rows), {"frame": 0.5, "video": 0.5}, 50).query("metric == 'auroc'")
    assert figures["value"].notna().all()
    assert figures[["low", "high"]].notna().to_numpy().all() == figures[["low", "high"]].notna().to_numpy().any()
    assert figures["low"].notna().all() == (fakes >= 10) and (figures["fake"] == fakes).all()
    compared = bootstrap.paired(table(*rows), table(*rows).assign(track=0, logit=0.0), resamples=50)
    assert compared.difference > 0 and (compared.real, compared.fake) == (12, fakes)
    assert np.isnan([compared.low, compared.high, compared.p]).all() == (fakes < 10)


def test_a_thousand_resamples_of_twenty_thousand_frames_take_seconds():
    predictions = random_predictions(videos=1000, frames=20, methods=("a", "b"))
    start = time.process_time()
    detection.summary(predictions, {"frame": 0.5, "video": 0.5}, resamples=1000)
    assert time.process_time() - start < 15


def test_paired_comparison():
    better, worse = random_predictions(seed=20), random_predictions(seed=20)
    noise = np.random.default_rng(0).normal(0, 3, worse["item"].nunique())
    worse["logit"] = noise[worse["item"].factorize()[0]]
    result = bootstrap.paired(better, worse, resamples=500)
    videos = [
        data.assign(prob=1 / (1 + np.exp(-data["logit"]))).groupby("item").agg({"label": "first", "prob": "mean"})
        for data in (better, worse)
    ]
    expected = [sk.roc_auc_score(data["label"], data["prob"]) for data in videos]
    assert (result.a, result.b) == pytest.approx(tuple(expected))
    assert result.low > 0 and result.p < 0.05 and (result.real, result.fake) == (30, 30)
    same = bootstrap.paired(better, better, resamples=100)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_paired_comparison_uses_common_items_only():
    a = random_predictions(seed=20, unscored=4)
    b = random_predictions(seed=20)
    assert bootstrap.paired(a, b, resamples=10).real == 28
    with pytest.raises(ValueError, match="no scored item in common"):
        bootstrap.paired(a, b.assign(item="other/" + b["item"]))
    with pytest.raises(ValueError, match="the two prediction tables have different labels"):
        bootstrap.paired(a, b.assign(label=1 - b["label"]))


def test_specificity_is_the_recall_of_reals(case):
    score, label, weight = case
    expected = sk.recall_score(label, score > 0.5, pos_label=0, sample_weight=weight)
    assert decisions.specificity(score, label, weight, 0.5) == pytest.approx(expected)


def test_precision_of_no_call_is_not_zero():
    assert np.isnan(decisions.precision([-0.1, -0.2], [0, 1]))
    assert decisions.recall([-0.1, -0.2], [0, 1]) == 0
