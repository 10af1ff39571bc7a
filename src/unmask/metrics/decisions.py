"""Metrics at a threshold: a row is called fake when its probability is above it.

Shapes as in `ranking`: `prob` `[N]`, `label` `[N]`, weight None or `[..., N]`. A rate over nothing is NaN, never 0.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics.calibration import mean, ratio

Array = NDArray[np.float64]


def _called(prob: ArrayLike, threshold: float) -> Array:
    return (np.asarray(prob, dtype=np.float64) > threshold).astype(np.float64)


def accuracy(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5) -> Array:
    """Share of right calls."""
    return mean(_called(prob, threshold) == np.asarray(label), weight)


def recall(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5) -> Array:
    """Share of the fakes that are called fake."""
    return mean(_called(prob, threshold), weight, np.asarray(label) == 1)


def specificity(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5) -> Array:
    """Share of the reals that are called real."""
    return mean(1 - _called(prob, threshold), weight, np.asarray(label) == 0)


def balanced_accuracy(
    prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5
) -> Array:
    """Mean of recall and specificity; NaN when a class is missing."""
    return (recall(prob, label, weight, threshold) + specificity(prob, label, weight, threshold)) / 2


def precision(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5) -> Array:
    """Share of fakes among what is called fake; NaN when nothing is."""
    return mean(np.asarray(label) == 1, weight, _called(prob, threshold))


def f1(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.5) -> Array:
    """Harmonic mean of precision and recall."""
    called, label = _called(prob, threshold), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(label) if weight is None else np.asarray(weight, dtype=np.float64)
    return ratio(2 * (weight @ (called * label)), weight @ (called + label))
