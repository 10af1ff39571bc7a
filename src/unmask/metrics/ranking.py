"""Ranking metrics: how well scores rank fakes above reals, independent of a threshold.

In all functions, `score` is `[N]` (logits; higher means more likely fake), `label` is `[N]` (1 is fake), and `weight`
is None or `[..., N]`. A result has the leading dimensions of `weight`, so that one call computes a metric on a thousand
bootstrap resamples. Rows with equal scores form one step of a curve. If a class is missing, metrics are NaN, never 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Counts(NamedTuple):
    """Cumulative weights at each distinct score, from the highest score to the lowest.

    Attributes:
        score: `[K]`, decreasing; rows whose score is at least this value are classified as fake.
        fake: `[..., K]`, total weight of fakes that are classified as fake.
        real: `[..., K]`, total weight of reals that are classified as fake.
    """

    score: Array
    fake: Array
    real: Array


def counts(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Counts:
    """Count the rows that are classified as fake at each threshold; all curves are computed from these counts.

    Raises:
        ValueError: If a score is NaN or infinite. Items without a score cannot be ranked; drop them and report the
            coverage.
    """
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise ValueError(
            f"{len(bad)} score(s) are not finite, such as {score[bad[0]]} in row {bad[0]}; drop items that could not "
            "be scored, and report the coverage"
        )
    order = np.argsort(-score, kind="stable")
    score, label = score[order], label[order]
    # unlike indexing, np.take returns contiguous rows, over which sums are faster
    weight = np.ones_like(score) if weight is None else np.take(np.asarray(weight, dtype=np.float64), order, axis=-1)
    last = np.flatnonzero(np.diff(score, append=np.nan) != 0)  # the last row of each group of equal scores
    fake, total = np.cumsum(weight * label, axis=-1), np.cumsum(weight, axis=-1)
    fake, total = (fake, total) if len(last) == len(score) else (fake[..., last], total[..., last])
    return Counts(score[last], fake, total - fake)


def totals(table: Counts) -> tuple[Array, Array]:
    """Return the total weights of fakes and of reals, each `[..., 1]`; both are NaN if a class is missing."""
    if table.fake.shape[-1] == 0:
        nothing = np.full((*table.fake.shape[:-1], 1), np.nan)
        return nothing, nothing
    fake, real = table.fake[..., -1:], table.real[..., -1:]
    missing = (fake <= 0) | (real <= 0)
    return np.where(missing, np.nan, fake), np.where(missing, np.nan, real)


def increments(values: Array) -> Array:
    """Return the differences between consecutive `values` `[..., K]`; the first value is compared with 0."""
    found = values.copy()
    found[..., 1:] -= values[..., :-1]
    return found


def share(part: Array, whole: Array) -> Array:
    """Divide cumulative weights element by element; the result is 0 where both are 0."""
    return np.asarray(part / np.maximum(whole, np.finfo(np.float64).tiny))


def area(table: Counts) -> Array:
    """Compute the area under the ROC curve with trapezoids, so that a fake and a real with equal scores count 1/2."""
    fake, real = totals(table)
    middle = table.fake - 0.5 * increments(table.fake)
    total = np.sum(increments(table.real) * middle, axis=-1)
    return np.asarray(total / (fake * real)[..., 0])


def precision_sum(table: Counts) -> Array:
    """Compute the average precision: the sum of precision x increase in recall over the steps of the curve."""
    fake, _ = totals(table)
    precision = share(table.fake, table.fake + table.real)
    total = np.sum(increments(table.fake) * precision, axis=-1)
    return np.asarray(total / fake[..., 0])


def equal_error_rate(table: Counts) -> Array:
    """Compute the EER, the rate at which FPR equals FNR; points of the ROC curve are interpolated linearly."""
    fake, real = totals(table)
    if table.fake.shape[-1] == 0:
        return fake[..., 0]
    fpr, gap = table.real / real, table.real / real + table.fake / fake - 1.0  # gap rises from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    first = after == 0  # the curve starts at an FPR of 0 and an FNR of 1
    fpr0 = np.where(first, 0.0, np.take_along_axis(fpr, before, -1))
    gap0 = np.where(first, -1.0, np.take_along_axis(gap, before, -1))
    fpr1, gap1 = np.take_along_axis(fpr, after, -1), np.take_along_axis(gap, after, -1)
    return np.asarray(fpr0 - gap0 * (fpr1 - fpr0) / (gap1 - gap0))[..., 0]


def auroc(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Compute the area under the ROC curve: the probability that a random fake scores above a random real."""
    return area(counts(score, label, weight))


def average_precision(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Compute the average precision with fake as the positive class."""
    return precision_sum(counts(score, label, weight))


def eer(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Compute the equal error rate on the linearly interpolated ROC curve."""
    return equal_error_rate(counts(score, label, weight))


def roc_curve(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> tuple[Array, Array, Array]:
    """Compute the points of the ROC curve.

    Returns:
        FPR (share of reals classified as fake), TPR (share of fakes classified as fake) and thresholds, each `[K + 1]`.
        The first point is (0, 0) at an infinite threshold.
    """
    table = counts(score, label, weight)
    fake, real = totals(table)
    tpr, fpr = np.insert(table.fake / fake, 0, 0.0), np.insert(table.real / real, 0, 0.0)
    return fpr, tpr, np.insert(table.score, 0, np.inf)


def pr_curve(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> tuple[Array, Array, Array]:
    """Compute recall, precision and thresholds, each `[K]`, from the highest to the lowest threshold."""
    table = counts(score, label, weight)
    fake, _ = totals(table)
    called = table.fake + table.real
    precision = np.divide(table.fake, called, out=np.full_like(called, np.nan), where=called > 0)
    return table.fake / fake, precision, table.score
