"""DeLong's method: the variance of an AUC without resampling, and a test of two AUCs on the same items.

The method is by DeLong, DeLong and Clarke-Pearson (1988, doi 10.2307/2531595). It is computed from midranks, as
proposed by Sun and Xu (2014, doi 10.1109/LSP.2014.2337313).

`score` and `label` are `[N]`, one row per independent item, such as a video; label 1 is fake. Frames of one video are
not independent: aggregate them to items first. A fake and a real with equal scores count as 1/2, as in `ranking.auroc`.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
NORMAL = NormalDist()


class Area(NamedTuple):
    """An AUC with its variance and its confidence interval `low, high`; NaN where undefined (see `auroc`)."""

    value: float
    variance: float
    low: float
    high: float


class Difference(NamedTuple):
    """The difference `a - b` of two AUCs with its confidence interval and its two-sided p-value (see `paired`)."""

    value: float
    low: float
    high: float
    p: float


class Parts(NamedTuple):
    """The structural components of an AUC. The mean of either array is the AUC.

    Attributes:
        fake: `[F]`, for each fake, the share of the reals with a lower score; ties count as 1/2.
        real: `[R]`, for each real, the share of the fakes with a higher score; ties count as 1/2.
    """

    fake: Array
    real: Array


def midranks(values: Array) -> Array:
    """Return the ranks of values `[N]`, from 1; equal values share the mean of their ranks."""
    _, place, number = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(number)
    return np.asarray((last - 0.5 * (number - 1))[place])


def components(score: ArrayLike, label: ArrayLike) -> Parts:
    """Compute the structural components of the AUC in O(N log N).

    Raises:
        ValueError: If a score is NaN or infinite.
    """
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label)
    if not np.isfinite(score).all():
        raise ValueError(
            f"score {score[~np.isfinite(score)][0]}: expected finite scores; drop items that could not be scored"
        )
    rank, fakes, reals = midranks(score), label == 1, label == 0
    # For each item, the number of items of the other class with a lower score; ties count as 1/2.
    fake, real = (rank[rows] - midranks(score[rows]) for rows in (fakes, reals))
    return Parts(fake / max(len(real), 1), 1 - real / max(len(fake), 1))


def auroc(score: ArrayLike, label: ArrayLike, confidence: float = 0.95) -> Area:
    """Compute the AUC, its variance, and a confidence interval on the logit scale.

    The interval is symmetric around logit(AUC), so it stays within [0, 1] and extends further towards 0.5. This suits
    the skewed distribution of a high AUC. `benchmarks/intervals.py` measures how often the interval contains the true
    AUC. For an AUC of 0 or 1, the variance is 0 and the interval is NaN, because its width cannot be estimated. With
    fewer than two items of a class, the variance and the interval are NaN.
    """
    parts = components(score, label)
    nothing = float("nan")
    value = float(parts.fake.mean()) if min(map(len, parts)) else nothing
    variance = _variance(parts)
    if math.isnan(variance) or not 0 < value < 1:
        return Area(value, variance, nothing, nothing)
    middle = math.log(value / (1 - value))
    reach = _quantile(confidence) * math.sqrt(variance) / (value * (1 - value))  # d logit(x) / dx = 1 / (x (1 - x))
    low, high = (1 / (1 + math.exp(-edge)) for edge in (middle - reach, middle + reach))
    return Area(value, variance, low, high)


def paired(first: ArrayLike, second: ArrayLike, label: ArrayLike, confidence: float = 0.95) -> Difference:
    """Compare the AUCs of two detectors on the same items, from the scores `[N]` of each and the labels `[N]`.

    The test statistic is the difference divided by its standard error, and p is computed from the normal distribution.
    If both detectors order every pair of a fake and a real in the same way, p is 1. If the variance is 0 although the
    AUCs differ, or if a class has fewer than two items, the interval and p are NaN.
    """
    a, b = components(first, label), components(second, label)
    moved = Parts(a.fake - b.fake, a.real - b.real)
    nothing = float("nan")
    value = float(a.fake.mean() - b.fake.mean()) if min(map(len, a)) else nothing
    variance = _variance(moved)
    if math.isnan(variance) or (variance == 0 and value != 0):
        return Difference(value, nothing, nothing, nothing)
    error = math.sqrt(variance)
    reach = _quantile(confidence) * error
    p = math.erfc(abs(value) / error / math.sqrt(2)) if error else 1.0
    return Difference(value, value - reach, value + reach, p)


def _variance(parts: Parts) -> float:
    """Return the variance of the mean of the components; NaN with fewer than two items of a class."""
    if min(map(len, parts)) < 2:
        return float("nan")
    return float(sum(np.var(part, ddof=1) / len(part) for part in parts))


def _quantile(confidence: float) -> float:
    return NORMAL.inv_cdf((1 + confidence) / 2)
