"""Metrics of a localiser, computed from a summary of each image's pixels.

An image's pixels form two classes, pristine and manipulated. For each class, `PIECES` quantiles of the logits are
stored: 8 kB per image of any size. The AUC over the pixels of all images is computed from these quantiles. It is exact
if no image has more than `PIECES` pixels of a class. Otherwise its error is at most 1 / `PIECES`, at any scale of the
logits, because the quantiles shift the cumulative distribution of each class by at most 0.5 / `PIECES`. F1 and IoU
are exact, because they are computed from counts.

These metrics are computed only from manipulated images, because a pristine image has no region to find. They are NaN if
there are no manipulated images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import ranking
from unmask.metrics.calibration import ratio

Array = NDArray[np.float64]

PIECES = 1024  # number of equal pieces into which the sorted logits of each class of an image's pixels are divided


class Pixels(NamedTuple):
    """A summary of the pixels of B images; index 0 of axis 1 is for pristine pixels, index 1 for manipulated pixels.

    Attributes:
        total: `[B, 2]`, number of pixels.
        called: `[B, 2]`, number of pixels that are classified as manipulated, because their logit is 0 or more.
        quantile: `[B, 2, PIECES]`, the median logit of each of `PIECES` equal pieces of the sorted logits; NaN for
            empty pieces.
    """

    total: NDArray[np.int64]
    called: NDArray[np.int64]
    quantile: NDArray[np.floating]


def summarise(logit: ArrayLike, mask: ArrayLike) -> Pixels:
    """Summarise the pixels of images.

    Args:
        logit: `[B, H, W]`, positive means manipulated. Quantiles are float32 for float32 logits, else float64.
        mask: `[B, H, W]`, true for manipulated pixels.

    Raises:
        ValueError: If a logit is not finite, or if the shapes of `logit` and `mask` differ.
    """
    logit, mask = np.asarray(logit), np.asarray(mask, dtype=bool)
    if logit.shape != mask.shape:
        raise ValueError(f"logit {list(logit.shape)} and mask {list(mask.shape)} must have the same shape")
    if not np.isfinite(logit).all():
        value = logit[~np.isfinite(logit)][0]
        raise ValueError(f"a pixel's logit is {value}; expected a finite number. Check the network's weights")
    logit = logit if logit.dtype == np.float32 else logit.astype(np.float64)
    quantile = np.full((len(logit), 2, PIECES), np.nan, logit.dtype)
    for number, (values, touched) in enumerate(zip(logit, mask, strict=True)):
        for kind in (0, 1):
            pixels = np.sort(values[touched == kind])
            edge = _edges(len(pixels))
            filled = np.diff(edge) > 0
            quantile[number, kind, filled] = pixels[(edge[:-1] + edge[1:] - 1)[filled] // 2]
    sides = np.stack([~mask, mask], axis=1)
    total, called = (part.sum((2, 3), dtype=np.int64) for part in (sides, sides & (logit >= 0)[:, None]))
    return Pixels(total, called, quantile)


def _edges(number: ArrayLike) -> NDArray[np.int64]:
    """Return the ranks at which pieces begin and end: numbers of pixels `[...]` -> ranks `[..., PIECES + 1]`."""
    return np.arange(PIECES + 1) * np.asarray(number, dtype=np.int64)[..., None] // PIECES


def auroc(pixels: Pixels) -> float:
    """Compute the AUC of manipulated against pristine pixels, with the pixels of all images pooled."""
    weight, label = np.diff(_edges(pixels.total)), np.zeros(pixels.quantile.shape)
    label[:, 1] = 1
    filled = weight > 0
    return float(ranking.auroc(pixels.quantile[filled], label[filled], weight[filled]))


def f1(pixels: Pixels) -> Array:
    """Compute the F1 of each image's pixels `[B]`; the threshold is a probability of 0.5."""
    tp, fp, fn = _called(pixels)
    return ratio(2 * tp, 2 * tp + fp + fn)


def iou(pixels: Pixels) -> Array:
    """Compute the intersection over union (IoU) of the predicted and true region of each image `[B]`; threshold 0.5."""
    tp, fp, fn = _called(pixels)
    return ratio(tp, tp + fp + fn)


FIGURES = ("pixel_auroc", "pixel_f1", "iou")


def figures(pixels: Pixels) -> dict[str, float]:
    """Compute the metrics of manipulated images: AUC over their pooled pixels, mean F1 and mean IoU over images."""
    touched = pixels.total[:, 1] > 0
    if not touched.any():
        return dict.fromkeys(FIGURES, float("nan"))
    pixels = Pixels(pixels.total[touched], pixels.called[touched], pixels.quantile[touched])
    return {"pixel_auroc": auroc(pixels), "pixel_f1": float(f1(pixels).mean()), "iou": float(iou(pixels).mean())}


def _called(pixels: Pixels) -> tuple[Array, Array, Array]:
    """Count true positives, false positives and false negatives, each `[B]`; a logit of 0 counts as manipulated."""
    tp, fp, fn = pixels.called[:, 1], pixels.called[:, 0], pixels.total[:, 1] - pixels.called[:, 1]
    return tp.astype(np.float64), fp.astype(np.float64), fn.astype(np.float64)
