"""Metrics at a threshold: a row is classified as fake if its score is above the threshold.

Scores are logits, so the default threshold of 0 is a probability of 0.5. As in `ranking`, `score` and `label` are
`[N]`, and `weight` is None or `[..., N]`. A rate with a zero denominator is NaN, never 0.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics.calibration import mean, ratio

Array = NDArray[np.float64]


def _called(score: ArrayLike, threshold: float) -> Array:
    return (np.asarray(score, dtype=np.float64) > threshold).astype(np.float64)


def accuracy(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the share of correct decisions."""
    return mean(_called(score, threshold) == np.asarray(label), weight)


def recall(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the share of fakes that are classified as fake."""
    return mean(_called(score, threshold), weight, np.asarray(label) == 1)


def specificity(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the share of reals that are classified as real."""
    return mean(1 - _called(score, threshold), weight, np.asarray(label) == 0)


def balanced_accuracy(
    score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0
) -> Array:
    """Compute the mean of recall and specificity; NaN if a class is missing."""
    return (recall(score, label, weight, threshold) + specificity(score, label, weight, threshold)) / 2


def precision(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the share of fakes among the rows that are classified as fake; NaN if there are no such rows."""
    return mean(np.asarray(label) == 1, weight, _called(score, threshold))


def f1(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the harmonic mean of precision and recall."""
    called, label = _called(score, threshold), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(label) if weight is None else np.asarray(weight, dtype=np.float64)
    return ratio(2 * (weight @ (called * label)), weight @ (called + label))
