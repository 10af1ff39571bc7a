"""Metrics of how well probabilities are calibrated.

In all functions, `prob`, `score` and `label` are `[N]`, and `weight` is None or `[..., N]`.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def mean(value: ArrayLike, weight: ArrayLike | None, rows: ArrayLike | None = None) -> Array:
    """Compute the weighted mean of `value` `[N]` over the rows in the mask `rows`; None means all rows.

    The result is NaN if the total weight is 0.
    """
    value = np.asarray(value, dtype=np.float64)
    weight = np.ones_like(value) if weight is None else np.asarray(weight, dtype=np.float64)
    mask = np.ones_like(value) if rows is None else np.asarray(rows, dtype=np.float64)
    return ratio(weight @ (value * mask), weight @ mask)


def ratio(part: ArrayLike, whole: ArrayLike) -> Array:
    """Divide element by element; the result is NaN (not 0) where the denominator is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0))


def brier(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Compute the Brier score, the mean squared error of the probability (Brier, 1950)."""
    return mean((np.asarray(prob, dtype=np.float64) - np.asarray(label)) ** 2, weight)


def log_loss(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Compute the mean negative log-likelihood in nats from logits, exact even if probabilities round to 0 or 1."""
    score = np.asarray(score, dtype=np.float64)
    return mean(np.logaddexp(0, np.where(np.asarray(label) == 1, -score, score)), weight)


def _bins(prob: Array, bins: int) -> NDArray[np.int64]:
    """Return the index of each probability's bin; bins `[a, b)` have equal width, and the last bin includes 1."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), prob, side="right") - 1, 0, bins - 1)


def ece(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, bins: int = 15) -> Array:
    """Compute the expected calibration error of the probability of being fake.

    In each of `bins` equal-width bins of P(fake), the error is the absolute difference between the mean probability and
    the share of fakes; the result is the weighted mean over bins (Guo et al. 2017, arXiv 1706.04599). Like
    torchmetrics' `BinaryCalibrationError` with `norm="l1"`, this bins P(fake) in [0, 1], not the confidence of the
    predicted class.
    """
    prob, label = np.asarray(prob, dtype=np.float64), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(prob) if weight is None else np.asarray(weight, dtype=np.float64)
    inside = np.eye(bins)[_bins(prob, bins)]  # [N, bins]
    gap = np.abs(weight @ (inside * (prob - label)[:, None]))  # [..., bins]
    return ratio(gap.sum(axis=-1), weight.sum(axis=-1))


def reliability(prob: ArrayLike, label: ArrayLike, bins: int = 15, weight: ArrayLike | None = None) -> pd.DataFrame:
    """Compute the table of a reliability diagram.

    Returns:
        One row per bin: its edges `low, high`, its mean probability `prob`, its share of fakes `fake` and its `weight`.
        In an empty bin, `prob` and `fake` are NaN.
    """
    prob, label = np.asarray(prob, dtype=np.float64), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(prob) if weight is None else np.asarray(weight, dtype=np.float64)
    inside = np.eye(bins)[_bins(prob, bins)]
    total, edges = weight @ inside, np.linspace(0, 1, bins + 1)
    columns = {"prob": ratio((weight * prob) @ inside, total), "fake": ratio((weight * label) @ inside, total)}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **columns, "weight": total})
