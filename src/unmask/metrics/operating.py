"""Metrics at one operating point of the ROC curve (TPR at an FPR, FPR at a TPR), and the partial AUC.

Curves are `ranking.Counts`, so that scores are sorted only once for all metrics. The TPR at an FPR of x is the highest
TPR of all thresholds whose FPR is at most x, without interpolation, so a detector can be operated at this threshold.
Biometrics and torchmetrics' `BinarySensitivityAtSpecificity` use this convention. The FPR at a TPR is analogous. The
partial AUC is the area under the linearly interpolated curve, like the AUC. Rows with equal scores form one step.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics.ranking import Counts, counts, increments, share, totals

Array = NDArray[np.float64]
SLACK = 1e-9  # relative tolerance of a limit, so that 7 of 140 reals are within an FPR of 0.05 despite rounding


def highest_tpr(table: Counts, fpr: float) -> Array:
    """Compute the highest TPR of all thresholds whose FPR is at most `fpr`.

    The result is 0 if no threshold has an FPR this low, and NaN if a class is missing. With fewer than 1 / `fpr` reals,
    it is the share of fakes that score above every real.
    """
    fake, real = totals(table)
    within = np.count_nonzero(table.real <= fpr * real * (1 + SLACK), axis=-1)[..., None]
    return _rate(table.fake, within - 1, fake)


def lowest_fpr(table: Counts, tpr: float) -> Array:
    """Compute the lowest FPR of all thresholds whose TPR is at least `tpr`; NaN if a class is missing."""
    fake, real = totals(table)
    below = np.count_nonzero(table.fake < tpr * fake * (1 - SLACK), axis=-1)[..., None]
    return _rate(table.real, below, real)


def _rate(called: Array, at: NDArray[np.int64], total: Array) -> Array:
    """Return the share of a class that is classified as fake at a position of the curve.

    Args:
        called: cumulative weight of the class along the curve `[..., K]`.
        at: positions `[..., 1]`; at -1, before the first step, the share is 0.
        total: total weight of the class `[..., 1]`.
    """
    if called.shape[-1] == 0:
        return np.asarray(total[..., 0])
    at = np.minimum(at, called.shape[-1] - 1)
    found = np.where(at < 0, 0.0, np.take_along_axis(called, np.maximum(at, 0), -1))
    return np.asarray(found / total)[..., 0]


def partial_area(table: Counts, fpr: float) -> Array:
    """Compute the area under the ROC curve up to an FPR, standardised so that chance level is 0.5 and perfect is 1.

    The curve is cut at the limit by linear interpolation, and the area is mapped to [0, 1] as by McClish (1989, doi
    10.1177/0272989X8900900307): for the area A up to a limit f, it is (1 + (A - f² / 2) / (f - f² / 2)) / 2. The
    result is below 0.5 for a curve below the diagonal. For a limit of 1, it is the AUC.
    """
    fake, real = totals(table)
    if table.fake.shape[-1] == 0:
        return np.asarray(fake[..., 0])
    limit = np.nan_to_num(fpr * real)
    end = 1 + int(np.max(np.count_nonzero(table.real < limit, axis=-1)))  # later steps add nothing on any resample
    above, right = table.fake[..., :end], table.real[..., :end]
    width, rise = increments(right), increments(above)
    inside = np.clip(limit - (right - width), 0.0, width)  # width of each step below the limit
    height = above - rise + 0.5 * rise * share(inside, width)
    area = np.sum(inside * height, axis=-1) / (fake * real)[..., 0]
    least, most = fpr * fpr / 2, fpr
    return np.asarray(0.5 * (1 + (area - least) / (most - least)))


def tpr_at_fpr(score: ArrayLike, label: ArrayLike, fpr: float, weight: ArrayLike | None = None) -> Array:
    """Compute the highest TPR of all thresholds whose FPR is at most `fpr`, from scores (see `ranking`)."""
    return highest_tpr(counts(score, label, weight), fpr)


def fpr_at_tpr(score: ArrayLike, label: ArrayLike, tpr: float, weight: ArrayLike | None = None) -> Array:
    """Compute the lowest FPR of all thresholds whose TPR is at least `tpr`, from scores (see `ranking`)."""
    return lowest_fpr(counts(score, label, weight), tpr)


def pauc(score: ArrayLike, label: ArrayLike, fpr: float = 0.1, weight: ArrayLike | None = None) -> Array:
    """Compute the standardised partial AUC up to an FPR (see `partial_area`), from scores (see `ranking`)."""
    return partial_area(counts(score, label, weight), fpr)
