"""The five masks of the DeepfakeArt study (arXiv:2306.01272): four diagonal halves and random patches.

Each function takes a size (height, width) in px and a random generator and returns a mask uint8 [H, W]: 255 where the
image is to be inpainted, 0 elsewhere. Pixels on a diagonal belong to the upper half, so that each pixel is in exactly
one of two opposite halves.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Size = tuple[int, int]

PATCHES = (0.4, 0.48)  # patches are added until they cover a fraction that is drawn from this range
SMALLEST, LARGEST = 8, 3  # a patch's sides are 1/8 to 1/3 of the image's, so that patches never cover more than 0.6


def upper_right(size: Size, rng: np.random.Generator) -> Mask:
    """Mask the half above the main diagonal."""
    right, down = _grid(size)
    return _white(right >= down)


def upper_left(size: Size, rng: np.random.Generator) -> Mask:
    """Mask the half above the antidiagonal."""
    right, down = _grid(size)
    return _white(right + down <= 2 * size[0] * size[1])


def lower_right(size: Size, rng: np.random.Generator) -> Mask:
    """Mask the half below the antidiagonal."""
    right, down = _grid(size)
    return _white(right + down > 2 * size[0] * size[1])


def lower_left(size: Size, rng: np.random.Generator) -> Mask:
    """Mask the half below the main diagonal."""
    right, down = _grid(size)
    return _white(right < down)


def random_patches(size: Size, rng: np.random.Generator) -> Mask:
    """Mask randomly placed, possibly overlapping rectangles that together cover 40 to 60 % of the image.

    Raises:
        ValueError: a side is shorter than 8 px.
    """
    if min(size) < SMALLEST:
        raise ValueError(f"random_patches: expected sides of at least {SMALLEST} px, got {size[0]}x{size[1]} px")
    mask, enough = np.zeros(size, np.uint8), rng.uniform(*PATCHES)
    while (mask > 0).mean() < enough:
        height, width = (int(rng.integers(max(side // SMALLEST, 1), side // LARGEST, endpoint=True)) for side in size)
        top, left = (int(rng.integers(0, side - long + 1)) for side, long in zip(size, (height, width), strict=True))
        mask[top : top + height, left : left + width] = 255
    return mask


MASKS: dict[str, Callable[[Size, np.random.Generator], Mask]] = {
    mask.__name__: mask for mask in (upper_right, upper_left, lower_right, lower_left, random_patches)
}


def _grid(size: Size) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return integer coordinates of pixel centres, x [1, W] and y [H, 1], scaled so that each side has length 2 H W."""
    height, width = size
    right, down = (2 * np.arange(width) + 1) * height, (2 * np.arange(height) + 1) * width
    return right[None], down[:, None]


def _white(where: NDArray[np.bool_]) -> Mask:
    return np.where(where, 255, 0).astype(np.uint8)
