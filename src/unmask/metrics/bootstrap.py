"""Uncertainty of metrics: bootstrap over items, and paired comparison of detectors on the same items."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import aggregate, delong, ranking
from unmask.metrics.multiple import holm

Array = NDArray[np.float64]
CELLS = 500_000  # number of (resample, row) pairs processed at once: 4 MB per array
FEWEST = 10  # minimum number of scored items per class for an interval; resamples of fewer items are unreliable
MOST = 1000  # maximum number of items that are left out in turn: with more items, the acceleration hardly matters
NORMAL = NormalDist()


def resample(label: ArrayLike, resamples: int, seed: int) -> Array:
    """Draw how often each item occurs in each bootstrap resample.

    Each class is resampled separately, so that every resample has the same number of reals and of fakes as the data.

    Args:
        label: Labels `[V]`, one per item.
        resamples: Number of resamples.
        seed: Random seed; equal seeds and equal labels give equal resamples.

    Returns:
        Number of times that each item occurs in each resample `[resamples, V]`; each row sums to V.
    """
    classes, rng = np.asarray(label), np.random.default_rng(seed)
    times = np.zeros((resamples, len(classes)))
    for value in (0, 1):
        (rows,) = np.nonzero(classes == value)
        if len(rows):
            times[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    return times


def resample_groups(groups: int, resamples: int, seed: int) -> Array:
    """Draw how often each group of items, such as the recordings of a speaker, occurs in each bootstrap resample.

    All items of a group occur together. Because groups are not divided by class, the numbers of reals and of fakes
    differ between resamples; a resample can lack a class.

    Args:
        groups: Number of groups.
        resamples: Number of resamples.
        seed: Random seed; equal seeds give equal resamples.

    Returns:
        Number of times that each group occurs in each resample `[resamples, groups]`; each row sums to `groups`.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)


def interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the percentile interval of resampled values `[R]` without the NaN values; NaN if no value remains."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def accelerated(
    moved: ArrayLike, value: float, left_out: ArrayLike, label: ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Compute the bias-corrected and accelerated interval (BCa; Efron 1987, doi 10.2307/2289144) of a metric.

    Percentiles of resampled AUCs are too narrow if the AUC is high (`benchmarks/intervals.py`). This interval corrects
    their bias and their skewness. It is the percentile interval if all or no resampled values are below `value`, or if
    the acceleration is too large for the formula.

    Args:
        moved: Resampled values `[R]`, each class resampled separately.
        value: The metric of the data.
        left_out: The metric without each item in turn `[V]`; empty for no acceleration.
        label: The label of each item `[V]`.
        confidence: Probability that an interval contains the true value.
    """
    known = np.asarray(moved, dtype=np.float64)
    known = known[~np.isnan(known)]
    below = (np.sum(known < value) + 0.5 * np.sum(known == value)) / max(len(known), 1)
    if not 0 < below < 1:
        return interval(known, confidence)
    bias, skew = NORMAL.inv_cdf(float(below)), _acceleration(np.asarray(left_out, np.float64), np.asarray(label))
    reach = NORMAL.inv_cdf((1 + confidence) / 2)
    if any(skew * (bias + z) >= 1 for z in (-reach, reach)):
        return interval(known, confidence)
    shifted = [bias + (bias + z) / (1 - skew * (bias + z)) for z in (-reach, reach)]
    low, high = np.quantile(known, [NORMAL.cdf(z) for z in shifted])
    return float(low), float(high)


def _acceleration(left_out: Array, label: NDArray[np.int64]) -> float:
    """Return the acceleration for two independent samples, from the metric without each item; 0 if it is undefined."""
    if not len(left_out) or not np.isfinite(left_out).all():
        return 0.0
    parts = [left_out[label == kind] for kind in (0, 1)]
    pulls = [(len(part) - 1) / len(part) * (part.mean() - part) for part in parts]
    spread = sum(float(np.sum(pull**2)) for pull in pulls)
    return sum(float(np.sum(pull**3)) for pull in pulls) / (6 * spread**1.5) if spread else 0.0


def left_out(score: ArrayLike, label: ArrayLike, item: ArrayLike) -> Array:
    """Compute the AUC without each item in turn `[V]`; empty for more than `MOST` items.

    Args:
        score: Scores `[N]`.
        label: Labels `[N]`.
        item: Index of each score's item `[N]`, from 0 to V - 1.
    """
    item = np.asarray(item, np.int64)
    count = int(item.max()) + 1 if len(item) else 0
    if count > MOST:
        return np.empty(0)
    step = max(1, CELLS // max(len(item), 1))
    parts = [
        ranking.auroc(score, label, (item != np.arange(start, min(start + step, count))[:, None]).astype(np.float64))
        for start in range(0, count, step)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def of_auroc(score: ArrayLike, label: ArrayLike, resamples: int, seed: int) -> tuple[float, float]:
    """Compute the interval of the AUC of independent items, given their scores `[V]` and labels `[V]`."""
    score, label = np.asarray(score, np.float64), np.asarray(label)
    moved = ranking.auroc(score, label, resample(label, resamples, seed))
    return accelerated(moved, float(ranking.auroc(score, label)), left_out(score, label, np.arange(len(score))), label)


@dataclass(frozen=True)
class Comparison:
    """The difference `a - b` between the video AUROCs `a` and `b` of two detectors, on videos that both of them scored.

    `low`, `high` and `p` are computed by bootstrap, and `p_delong` by the test of DeLong (see `delong.paired`). They
    are NaN if a class has fewer than `FEWEST` videos.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    real: int
    fake: int
    p_delong: float


class Pair(NamedTuple):
    """The comparison of one pair of detectors; its p-values are corrected for the number of pairs (see `pairwise`).

    Attributes:
        a: Name of the first detector.
        b: Name of the second detector.
        found: Result of the comparison; None if the two detectors share no scored item, or if a shared item has
            different labels.
        p: Corrected p-value of the bootstrap.
        p_delong: Corrected p-value of DeLong's test.
    """

    a: str
    b: str
    found: Comparison | None
    p: float
    p_delong: float


def paired(
    predictions_a: pd.DataFrame,
    predictions_b: pd.DataFrame,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two detectors on the same videos, given their prediction tables (see `paired_items`)."""
    a, b = (aggregate.videos(table).dropna(subset=["score"]) for table in (predictions_a, predictions_b))
    return paired_items(a, b, resamples, seed)


def paired_items(a: pd.DataFrame, b: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare two detectors on the same videos, with the same resamples for both.

    `p` is two-sided: twice the share of resamples with a difference <= 0, or with a difference >= 0, whichever is
    smaller. One resample is added to each count, so that `p` is never 0.

    Args:
        a: One row per scored video of the first detector, with `item, label, score` (see `aggregate.videos`).
        b: The same for the second detector.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If the two tables share no scored item, or if a shared item has different labels.
    """
    both = a.merge(b, on="item", suffixes=("_a", "_b"), validate="one_to_one").sort_values("item")
    if both.empty:
        raise ValueError("the two prediction tables have no scored item in common; score both runs on the same data")
    if (both["label_a"] != both["label_b"]).any():
        raise ValueError("the two prediction tables have different labels; score both runs with the same manifest")
    label = both["label_a"].to_numpy()
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    first, second = both["score_a"].to_numpy(), both["score_b"].to_numpy()
    value_a, value_b = float(ranking.auroc(first, label)), float(ranking.auroc(second, label))
    if min(real, fake) < FEWEST:
        nothing = float("nan")
        return Comparison(value_a, value_b, value_a - value_b, nothing, nothing, nothing, real, fake, nothing)
    times = resample(label, resamples, seed)
    moved = ranking.auroc(first, label, times) - ranking.auroc(second, label, times)
    low, high = interval(moved)
    tail = min(np.sum(moved <= 0), np.sum(moved >= 0)) + 1
    p = min(1.0, 2 * float(tail) / (resamples + 1))
    p_delong = delong.paired(first, second, label).p
    return Comparison(value_a, value_b, value_a - value_b, low, high, p, real, fake, p_delong)


def pairwise(tables: Mapping[str, pd.DataFrame], resamples: int = 1000, seed: int = 0) -> list[Pair]:
    """Compare every pair of detectors, and correct the p-values for the number of pairs (see `multiple.holm`).

    Args:
        tables: One row per scored video of each detector, by name, with `item, label, score`.
        resamples: Number of bootstrap resamples. A bootstrap p-value is at least 2 / (resamples + 1); if T pairs are
            compared, a corrected value is at least T times this bound, or 1. DeLong's p-value has no such bound.
        seed: Seed of the bootstrap.

    Returns:
        The pairs, in the order of `tables`.
    """
    pairs = list(combinations(tables, 2))
    found = [_compared(tables[a], tables[b], resamples, seed) for a, b in pairs]
    p = holm([float("nan") if one is None else one.p for one in found]).tolist()
    p_delong = holm([float("nan") if one is None else one.p_delong for one in found]).tolist()
    return [Pair(a, b, *rest) for (a, b), *rest in zip(pairs, found, p, p_delong, strict=True)]


def _compared(a: pd.DataFrame, b: pd.DataFrame, resamples: int, seed: int) -> Comparison | None:
    try:
        return paired_items(a, b, resamples, seed)
    except ValueError:
        return None
