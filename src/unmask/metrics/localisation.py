"""Figures of merit of a localiser, from a histogram of each picture's pixels.

A picture is kept as two histograms of its pixels' logits, of those left alone and of those that were manipulated: a few
hundred numbers whatever its size, so that a test set of any length fits into memory. F1 and IoU are exact, since the
threshold lies on the edge of a bin; in the AUC, pixels of one bin (an eighth of a logit) count as tied.

Only pictures in which something was manipulated have these figures: an untouched one has no region to be found. Where
there is none, a figure is NaN.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import ranking
from unmask.metrics.calibration import ratio

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

BINS, REACH = 256, 16.0  # bins of logits from -REACH to REACH; what lies beyond is in the outermost


def histograms(logit: ArrayLike, mask: ArrayLike) -> Counts:
    """Count the pixels of pictures.

    Args:
        logit: `[B, H, W]`, positive means manipulated.
        mask: `[B, H, W]`, true where a pixel was manipulated.

    Returns:
        `[B, 2, BINS]`: the pixels that were left alone, then those that were manipulated.

    Raises:
        ValueError: If a logit is NaN, or the shapes differ.
    """
    logit, mask = np.asarray(logit, dtype=np.float64), np.asarray(mask, dtype=bool)
    if logit.shape != mask.shape:
        raise ValueError(f"logit {list(logit.shape)} and mask {list(mask.shape)} must have one shape")
    if np.isnan(logit).any():
        raise ValueError("a pixel's logit is NaN")
    number = len(logit)
    place = np.clip(np.floor((logit + REACH) * (BINS / (2 * REACH))), 0, BINS - 1).astype(np.int64)
    row = 2 * np.arange(number)[:, None] + mask.reshape(number, -1)
    counts = np.bincount((row * BINS + place.reshape(number, -1)).ravel(), minlength=number * 2 * BINS)
    return counts.reshape(number, 2, BINS).astype(np.int64)


def auroc(counts: Counts) -> float:
    """Chance that a manipulated pixel scores above one left alone, over the pixels of all pictures `[B, 2, BINS]`."""
    score, label = np.tile(np.arange(BINS), 2), np.repeat([0, 1], BINS)
    return float(ranking.auroc(score, label, counts.sum(0).ravel()))


def f1(counts: Counts) -> Array:
    """Harmonic mean of precision and recall of each picture's pixels `[B]`, called at a probability of 0.5."""
    hit, alarm, missed = _called(counts)
    return ratio(2 * hit, 2 * hit + alarm + missed)


def iou(counts: Counts) -> Array:
    """Intersection over union of called and true region in each picture `[B]`, called at a probability of 0.5."""
    hit, alarm, missed = _called(counts)
    return ratio(hit, hit + alarm + missed)


def figures(counts: Counts) -> dict[str, float]:
    """Name the figures of the manipulated ones of pictures `[B, 2, BINS]`: AUC of all their pixels, mean F1 and IoU."""
    touched = counts[counts[:, 1].sum(1) > 0]
    if not len(touched):
        return dict.fromkeys(("pixel_auroc", "pixel_f1", "iou"), float("nan"))
    return {"pixel_auroc": auroc(touched), "pixel_f1": float(f1(touched).mean()), "iou": float(iou(touched).mean())}


def _called(counts: Counts) -> tuple[Array, Array, Array]:
    """Pixels rightly called manipulated, wrongly called so, and missed, each `[B]`; a logit of 0 is called."""
    high, low = counts[:, :, BINS // 2 :].sum(2), counts[:, :, : BINS // 2].sum(2)
    hit, alarm, missed = (part.astype(np.float64) for part in (high[:, 1], high[:, 0], low[:, 1]))
    return hit, alarm, missed
