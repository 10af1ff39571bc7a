"""Drawing primitives of the demo: antialiased shapes, hair strands and layers, on float32 images from 0 to 255."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.float32]
Grid = NDArray[np.floating]  # coordinates or coverage `[H, W]`, in any floating-point type
Random = np.random.Generator

SIZE = 256  # side of a frame, px
TEXTURE = 176  # side of the face texture, px; at the face's centre, it has about the frame's resolution
SPAN = 1.25  # the texture covers u and v from -SPAN to SPAN; the face is the part from -1 to 1

_AXIS = ((np.arange(TEXTURE, dtype=np.float32) + 0.5) / TEXTURE * 2 - 1) * SPAN
U: Image = np.tile(_AXIS, (TEXTURE, 1))  # coordinate to the right on the texture; the unit is half the face's width
V: Image = np.ascontiguousarray(U.T)  # coordinate down on the texture; the unit is half the face's height
XX: Image = np.tile(np.arange(SIZE, dtype=np.float32), (SIZE, 1))  # coordinate to the right on the frame, px
YY: Image = np.ascontiguousarray(XX.T)  # coordinate down on the frame, px


def floats(values: ArrayLike) -> Image:
    """Convert values to float32, the type of all pictures and colours in the demo."""
    return np.asarray(values, np.float32)


def soft(x: ArrayLike, edge: float) -> Image:
    """Return an antialiased step of `x`: 0 below -edge / 2, 1 above edge / 2."""
    return np.clip(np.asarray(x) / edge + 0.5, 0, 1).astype(np.float32)


def blob(u: Grid, v: Grid, x: float, y: float, sx: float, sy: float) -> Image:
    """Return a Gaussian spot of widths `sx` and `sy` that is 1 at its centre `(x, y)`."""
    return floats(np.exp(-(((u - x) / sx) ** 2) - ((v - y) / sy) ** 2))


def mix(image: Image, colour: ArrayLike, alpha: Grid) -> None:
    """Blend a colour `[3]` or an image `[H, W, 3]` into `image` in place by alpha `[H, W]`."""
    image += (floats(colour) - image) * alpha[..., None]


def shade(image: Image, amount: float | Sequence[float], where: Grid) -> None:
    """Darken an image in place by `amount` (one value, or one per channel) times `where`; negative amounts lighten."""
    image *= 1 - floats(amount) * where[..., None]


def flat(colour: ArrayLike, like: Grid) -> Image:
    """Return an image of one colour with the size of `like` `[H, W]`."""
    return np.broadcast_to(floats(colour), (*like.shape, 3)).copy()


def layer(rgb: Image, alpha: Grid) -> Image:
    """Return a layer `[H, W, 4]` with premultiplied alpha, so that it can be warped without a fringe."""
    return np.dstack([rgb * alpha[..., None], alpha]).astype(np.float32)


def lay(image: Image, over: Image, light: Image | None = None) -> Image:
    """Composite a layer `[H, W, 4]` over an image; `light` `[H, W, 3]` multiplies its colours. Faster than `mix`."""
    red, green, blue, alpha = cv2.split(over)
    rgb = cv2.merge([red, green, blue])
    if light is not None:
        rgb = cv2.multiply(rgb, light)
    hidden = cv2.multiply(image, cv2.merge([alpha, alpha, alpha]))
    return floats(cv2.add(cv2.subtract(image, hidden), rgb))


def clouds(rng: Random, cells: int, side: int, channels: int = 1) -> Image:
    """Return smooth noise `[side, side, channels]` of about unit variance, with `cells` independent values per side."""
    coarse = rng.normal(0, 1, (cells, cells, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float32).reshape(side, side, channels)


def strands(rng: Random, across: Grid, along: Grid) -> Image:
    """Return noise of about unit variance, stretched along the hair.

    `across` and `along` are coordinates across and along the strands, in the unit of `U` and `V`.
    """
    tile = rng.normal(0, 1, (64, 512)).astype(np.float32)
    tile = np.concatenate([tile[-8:], tile, tile[:8]])  # so that the blurred tile repeats without a seam
    fine, coarse = (cv2.GaussianBlur(tile, (0, 0), across_px, sigmaY=4)[8:-8] for across_px in (0.7, 3.0))
    noise = fine / fine.std() + 0.9 * coarse / coarse.std()
    x, y = (np.mod(a * k, n).astype(np.float32) for a, k, n in ((across, 46, 512), (along, 9, 64)))
    return np.asarray(cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32) * np.float32(
        0.75
    )


def curls(rng: Random, side: int) -> Image:
    """Return noise `[side, side]` of unit variance with grains of equal size, which look like curly hair."""
    noise = rng.normal(0, 1, (side, side)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.3) - cv2.GaussianBlur(noise, (0, 0), 3.2)
    return floats(grain / grain.std())
