"""Measure how sharp a picture is and how visible JPEG blocks are in it, without a reference picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 8  # px: side of the blocks of JPEG and of most video codecs


def sharpness(picture: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of a picture [H, W, 3] in grey; blur lowers it, and noise raises it.

    The measure is that of Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".
    """
    return float(cv2.Laplacian(_grey(picture), cv2.CV_32F).var())


def blockiness(picture: NDArray[np.uint8]) -> float:
    """Return the ratio of the steps between blocks of 8 px to the steps inside them; 1 if no blocks are visible.

    A step is the mean absolute difference of neighbouring columns. The steps are averaged for each of the 8 possible
    positions of the block grid, and the largest mean is divided by the mean of the other 7. The result is the mean of
    this ratio for columns and for rows. Photographs have a blockiness of 1.0 to 1.5 at JPEG quality 75 or more, and of
    about 4 at quality 5. The blocks are found only if the picture was not resized after the compression. A picture
    with fewer than 16 rows or columns has a blockiness of 1.
    """
    grey = _grey(picture).astype(np.float32)
    if min(grey.shape) < 2 * BLOCK:
        return 1.0
    return float(np.mean([_step(grey), _step(grey.T)]))


def _step(grey: NDArray[np.float32]) -> float:
    steps = np.abs(np.diff(grey, axis=1)).mean(0)
    steps = steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(0)
    others = (steps.sum() - steps.max()) / (BLOCK - 1)
    return float(steps.max() / others) if others > 0.05 else 1.0  # a flat picture has no blocks


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), np.uint8)
