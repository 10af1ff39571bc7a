"""Aggregations of a video's frames and error rates of groups, against hand counts, NumPy and SciPy."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from unmask.metrics import aggregate
from unmask.metrics.groups import by_group, largest_gap


def predictions(videos, tracks=None):
    """Build a prediction table from the probabilities of each video's frames; fakes are named f..."""
    rows = [
        {"item": item, "track": (tracks or {}).get(item, [0] * len(probs))[frame], "frame": frame, "time": frame / 25,
         "label": int(item[0] == "f"), "method": "swap" if item[0] == "f" else "real", "dataset": "toy",
         "split": "val", "logit": float(np.log(prob / (1 - prob)))}
        for item, probs in videos.items()
        for frame, prob in enumerate(probs)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def aggregated(probs, name, tracks=None):
    table = predictions({"f": probs}, tracks and {"f": tracks})
    return aggregate.videos(table.sample(frac=1, random_state=0), name)["prob"].item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 31])
def test_aggregations_equal_numpy(seed, frames):
    probs = np.random.default_rng(seed).uniform(0.01, 0.99, frames)
    assert aggregated(probs, "mean") == pytest.approx(probs.mean())
    assert aggregated(probs, "median") == pytest.approx(np.median(probs))
    assert aggregated(probs, "max") == pytest.approx(probs.max())
    assert aggregated(probs, "top-k") == pytest.approx(np.sort(probs)[-5:].mean())


@pytest.mark.parametrize(
    ("probs", "kept"),
    [
        ([0.9] * 12 + [0.5] * 17, 0.9),  # 12 of 29 are above 29 // 2.5 = 11, and above 11
        ([0.9] * 12 + [0.5] * 18, None),  # 12 of 30 are not above 30 // 2.5 = 12
        ([0.9] * 11, None),  # 11 are not more than 11
        ([0.9] * 12, 0.9),
        ([0.1] * 10 + [0.5], 0.1),  # 10 of 11 are more than 90 %
        ([0.1] * 9 + [0.5], None),  # 9 of 10 are not
        ([0.3] * 20, None),
    ],
)
def test_confident_frames_count_alone_if_there_are_enough(probs, kept):
    assert aggregated(probs, "confident") == pytest.approx(np.mean(probs) if kept is None else kept)


@pytest.mark.parametrize("name", aggregate.AGGREGATIONS)
def test_a_video_has_the_score_of_its_highest_track(name):
    low, high = [0.1] * 6, [0.6, 0.7, 0.7, 0.7, 0.7, 0.8]
    both = aggregated(low + high, name, tracks=[0] * 6 + [1] * 6)
    assert both == pytest.approx(aggregated(high, name)) and both > 0.5


def test_the_default_is_the_mean_to_the_bit_and_items_without_a_score_are_kept():
    rng = np.random.default_rng(0)
    table = predictions({f"{'rf'[at % 2]}{at}": rng.uniform(size=9) for at in range(20)})
    pd.testing.assert_frame_equal(aggregate.videos(table), aggregate.videos(table, "mean"), check_exact=True)
    table.loc[table["item"] == "r0", "logit"] = np.nan
    for name in aggregate.AGGREGATIONS:
        videos = aggregate.videos(table, name).set_index("item")
        assert videos.loc["r0", ["score", "prob"]].isna().all() and videos.loc["r0", "num"] == 0
        assert (videos["num"].drop("r0") == 9).all(), "all scored rows are counted, not only those that are kept"
        assert len(aggregate.videos(table[table["item"] == "r0"], name)) == 1


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(ValueError, match="aggregation 'vote': expected one of mean, median, max, top-k, confident"):
        aggregate.videos(predictions({"f": [0.5]}), "vote")


def test_the_aggregation_with_the_highest_validation_auc_is_chosen():
    flash = {"f1": [0.2] * 9 + [0.9], "f2": [0.3] * 9 + [0.8], "r1": [0.5] * 10, "r2": [0.6] * 10}
    assert aggregate.choose(predictions(flash)) == "max"  # a fake shows in one frame
    glitch = {"f1": [0.6] * 10, "f2": [0.7] * 10, "r1": [0.5] * 6 + [0.99] * 4, "r2": [0.4] * 6 + [0.98] * 4}
    assert aggregate.choose(predictions(glitch)) == "median"  # a real has outliers
    assert aggregate.choose(predictions({"f1": [0.9], "r1": [0.1]})) == "mean"  # all are perfect
    assert aggregate.choose(predictions({"f1": [0.9]})) == "mean"  # no reals


def scored(rows):
    return pd.DataFrame(rows, columns=["item", "label", "score"])


def test_rates_of_groups_by_hand():
    table = scored([("a", 0, 1.0), ("b", 0, -1.0), ("c", 0, -2.0), ("d", 1, 3.0), ("e", 1, -3.0), ("f", 0, 0.5)])
    groups = pd.Series({"a": "x", "b": "x", "c": "y", "d": "x", "e": "y", "z": "not scored"})
    x, y, unknown = by_group(table, groups, threshold=0.0)
    assert [x.name, y.name, unknown.name] == ["x", "y", "unknown"]
    assert x.fpr[:3] == (0, 1, 2) and x.tpr[:3] == (1, 1, 1) and y.fpr[:3] == (0, 0, 1) and y.tpr[:3] == (1, 0, 1)
    assert unknown.fpr[:3] == (0, 1, 1) and unknown.tpr is None
    interval = scipy.stats.binomtest(1, 2).proportion_ci(0.95, method="exact")
    assert (x.fpr.low, x.fpr.high) == pytest.approx((interval.low, interval.high))
    assert largest_gap([x, y, unknown], 0, fewest=1) == (0.5, "y", "x")
    assert largest_gap([x, y, unknown], 1, fewest=1) == (1.0, "y", "x")


def test_a_gap_needs_two_groups_of_ten_items():
    rows = [
        (f"{name}{at}", 0, 1.0 if at < called else -1.0) for name, called in (("p", 4), ("q", 1)) for at in range(10)
    ]
    rows += [(f"s{at}", 0, 1.0) for at in range(9)]  # the worst group, but of nine items only
    table = scored(rows)
    groups = table.set_index("item").index.to_series().str[0]
    gap = largest_gap(by_group(table, groups, 0.0), 0)
    assert gap == (pytest.approx(0.3), "q", "p")
    assert largest_gap(by_group(table, groups[groups != "p"], 0.0), 0) is None, "the items of p are unknown"
    assert largest_gap(by_group(table, groups, 0.0), 1) is None, "there are no fakes"


def test_groups_may_be_numbers_and_must_be_unique():
    table = scored([("a", 0, 1.0), ("b", 1, 1.0)])
    assert [one.name for one in by_group(table, pd.Series({"a": 1, "b": -1}), 0.0)] == ["-1", "1"]
    with pytest.raises(ValueError, match="'a' occurs twice"):
        by_group(table, pd.Series(["x", "y"], index=["a", "a"]), 0.0)
