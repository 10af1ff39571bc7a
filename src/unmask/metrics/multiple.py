"""Correction of p-values for several tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def holm(p: ArrayLike) -> Array:
    """Correct p-values `[T]` with the step-down procedure of Holm (1979, Scandinavian Journal of Statistics 6, 65-70).

    If corrected p-values of at most 0.05 are called significant, the probability of one or more false positives is at
    most 5 %, even if the tests depend on each other. The k-th smallest of T p-values is multiplied by T - k + 1. The
    products are limited to 1, and raised where necessary to keep the order. NaN stays NaN and is not counted in T.

    Raises:
        ValueError: If a p-value is not between 0 and 1.
    """
    given = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(given))
    if np.any((given[known] < 0) | (given[known] > 1)):
        raise ValueError(f"p-values {given.tolist()}: expected numbers between 0 and 1, or NaN for a test without one")
    order = known[np.argsort(given[known], kind="stable")]
    corrected = np.full(given.shape, np.nan)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected
