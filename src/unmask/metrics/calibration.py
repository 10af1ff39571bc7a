"""Is a score of 0.8 right eight times in ten? Shapes as in `ranking`: `[N]`, `[N]`, weight None or `[..., N]`."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def mean(value: ArrayLike, weight: ArrayLike | None, rows: ArrayLike | None = None) -> Array:
    """Weighted mean of `value` `[N]`, over the rows of a mask if one is given; NaN where no weight is."""
    value = np.asarray(value, dtype=np.float64)
    weight = np.ones_like(value) if weight is None else np.asarray(weight, dtype=np.float64)
    mask = np.ones_like(value) if rows is None else np.asarray(rows, dtype=np.float64)
    return ratio(weight @ (value * mask), weight @ mask)


def ratio(part: ArrayLike, whole: ArrayLike) -> Array:
    """Divide, with NaN for 0 / 0: what was not measured is not 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0))


def brier(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Mean squared error of the probability (Brier, 1950)."""
    return mean((np.asarray(prob, dtype=np.float64) - np.asarray(label)) ** 2, weight)


def log_loss(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None) -> Array:
    """Mean negative log-likelihood in nats, of logits: exact where their probability rounds to 0 or 1."""
    score = np.asarray(score, dtype=np.float64)
    return mean(np.logaddexp(0, np.where(np.asarray(label) == 1, -score, score)), weight)


def _bins(prob: Array, bins: int) -> NDArray[np.int64]:
    """Number the equal-width bins `[a, b)`; the last one holds 1 as well."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), prob, side="right") - 1, 0, bins - 1)


def ece(prob: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, bins: int = 15) -> Array:
    """Expected calibration error of the probability of being fake.

    The gap between mean probability and share of fakes, averaged over equal-width bins of the probability by their
    weight (Guo et al. 2017, arXiv 1706.04599). Binary reliability: bins run over P(fake) in [0, 1], not over the
    confidence of the more likely class; that is torchmetrics' `BinaryCalibrationError(norm="l1")`.
    """
    prob, label = np.asarray(prob, dtype=np.float64), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(prob) if weight is None else np.asarray(weight, dtype=np.float64)
    inside = np.eye(bins)[_bins(prob, bins)]  # [N, bins]
    gap = np.abs(weight @ (inside * (prob - label)[:, None]))  # [..., bins]
    return ratio(gap.sum(axis=-1), weight.sum(axis=-1))


def reliability(prob: ArrayLike, label: ArrayLike, bins: int = 15, weight: ArrayLike | None = None) -> pd.DataFrame:
    """Tabulate a reliability diagram.

    Returns:
        One row per bin: its edges `low, high`, mean probability `prob`, share of fakes `fake`, and `weight`. An empty
        bin has no means: NaN.
    """
    prob, label = np.asarray(prob, dtype=np.float64), np.asarray(label, dtype=np.float64)
    weight = np.ones_like(prob) if weight is None else np.asarray(weight, dtype=np.float64)
    inside = np.eye(bins)[_bins(prob, bins)]
    total, edges = weight @ inside, np.linspace(0, 1, bins + 1)
    columns = {"prob": ratio((weight * prob) @ inside, total), "fake": ratio((weight * label) @ inside, total)}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **columns, "weight": total})
