"""Figures of merit of a localiser, from a summary of each picture's pixels.

Of a picture's pixels, those left alone and those that were manipulated are each summarised by `PIECES` quantiles of
their logits: 8 kB a picture whatever its size. The AUC over the pixels of all pictures, computed from these quantiles,
is exact where a picture has no more than `PIECES` pixels of a class, and else off by at most 1 / `PIECES`, whatever the
scale of the logits: each class's distribution is off by at most half a piece. F1 and IoU are exact, from counts.

Only pictures in which something was manipulated have these figures: an untouched one has no region to be found. Where
there is none, a figure is NaN.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import ranking
from unmask.metrics.calibration import ratio

Array = NDArray[np.float64]

PIECES = 1024  # of equal size, into which a picture's sorted pixels of a class are cut


class Pixels(NamedTuple):
    """What is kept of the pixels of B pictures; axis 1 of each holds those left alone, then those manipulated.

    Attributes:
        total: `[B, 2]`, how many there are.
        called: `[B, 2]`, how many are called manipulated, at a logit of 0 or more.
        quantile: `[B, 2, PIECES]`, the middle logit of each piece; NaN in pieces without pixels.
    """

    total: NDArray[np.int64]
    called: NDArray[np.int64]
    quantile: NDArray[np.floating]


def summarise(logit: ArrayLike, mask: ArrayLike) -> Pixels:
    """Summarise the pixels of pictures.

    Args:
        logit: `[B, H, W]`, positive means manipulated; quantiles keep its precision.
        mask: `[B, H, W]`, true where a pixel was manipulated.

    Raises:
        ValueError: If a logit is not finite, or the shapes differ.
    """
    logit, mask = np.asarray(logit), np.asarray(mask, dtype=bool)
    if logit.shape != mask.shape:
        raise ValueError(f"logit {list(logit.shape)} and mask {list(mask.shape)} must have one shape")
    if not np.isfinite(logit).all():
        value = logit[~np.isfinite(logit)][0]
        raise ValueError(f"a pixel's logit is {value}; expected finite numbers. The network's weights are broken")
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
    """Ranks at which pieces begin and end: counts `[...]` -> `[..., PIECES + 1]`."""
    return np.arange(PIECES + 1) * np.asarray(number, dtype=np.int64)[..., None] // PIECES


def auroc(pixels: Pixels) -> float:
    """Chance that a manipulated pixel scores above one left alone, over the pixels of all pictures."""
    weight, label = np.diff(_edges(pixels.total)), np.zeros(pixels.quantile.shape)
    label[:, 1] = 1
    filled = weight > 0
    return float(ranking.auroc(pixels.quantile[filled], label[filled], weight[filled]))


def f1(pixels: Pixels) -> Array:
    """Harmonic mean of precision and recall of each picture's pixels `[B]`, called at a probability of 0.5."""
    tp, fp, fn = _called(pixels)
    return ratio(2 * tp, 2 * tp + fp + fn)


def iou(pixels: Pixels) -> Array:
    """Intersection over union of called and true region in each picture `[B]`, called at a probability of 0.5."""
    tp, fp, fn = _called(pixels)
    return ratio(tp, tp + fp + fn)


FIGURES = ("pixel_auroc", "pixel_f1", "iou")


def figures(pixels: Pixels) -> dict[str, float]:
    """Name the figures of the manipulated ones of the pictures: AUC of all their pixels, mean F1 and IoU."""
    touched = pixels.total[:, 1] > 0
    if not touched.any():
        return dict.fromkeys(FIGURES, float("nan"))
    pixels = Pixels(pixels.total[touched], pixels.called[touched], pixels.quantile[touched])
    return {"pixel_auroc": auroc(pixels), "pixel_f1": float(f1(pixels).mean()), "iou": float(iou(pixels).mean())}


def _called(pixels: Pixels) -> tuple[Array, Array, Array]:
    """Pixels rightly called manipulated, wrongly called so, and missed, each `[B]`; a logit of 0 is called."""
    tp, fp, fn = pixels.called[:, 1], pixels.called[:, 0], pixels.total[:, 1] - pixels.called[:, 1]
    return tp.astype(np.float64), fp.astype(np.float64), fn.astype(np.float64)
