"""Self-blended images (arXiv 2204.08376): forgeries made of one photograph, so that a detector trains on reals alone.

A photograph and a slightly changed copy of it are blended over a face-shaped mask: what is left to see is what nearly
every swapped face has, a border between two statistics. Deviations from the paper: it cuts its masks from 68 to 81
landmarks of the very face, here a mean face is fitted to five; ranges are shares of the picture, not px; and hue
and saturation move visibly, where the 0.3 in the authors' code is of 180 and of 255.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # [S, S, 3] in 0..1
Points = NDArray[np.float32]
Change = Callable[[Image], Image]

# Eyes, nose and mouth corners of the mean face: ArcFace's five points, as in media/align.py.
FIVE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
) / np.float32(112)


def _mirrored(*right: tuple[float, float]) -> Points:
    """Both sides of a shape that is given right of the middle line: (distance from it, down), of the same unit."""
    half = np.array(right, np.float32)
    return np.concatenate([half * (1, 1), half * (-1, 1)]).astype(np.float32) + np.array([0.5, 0], np.float32)


# Outlines around the five points, drawn by hand after the proportions of a frontal face: from the eyes to the chin it
# is 1.9 times as far as from eye to eye, and at the eyes it is 2.3 times as wide.
JAW = _mirrored(
    (0.365, 0.42), (0.362, 0.52), (0.352, 0.62), (0.335, 0.72), (0.300, 0.82), (0.245, 0.91), (0.175, 0.985),
    (0.090, 1.035), (0.0, 1.05),
)  # fmt: skip
BROWS = _mirrored((0.31, 0.33), (0.24, 0.285), (0.15, 0.28), (0.06, 0.31))
FOREHEAD = _mirrored((0.33, 0.25), (0.26, 0.13), (0.14, 0.07), (0.0, 0.05))
PARTS: dict[str, Points] = {
    "eyes": _mirrored((0.32, 0.34), (0.24, 0.29), (0.06, 0.31), (0.31, 0.52), (0.20, 0.56), (0.08, 0.54)),
    "nose": _mirrored((0.05, 0.43), (0.07, 0.55), (0.13, 0.65), (0.12, 0.71), (0.0, 0.75)),
    "mouth": _mirrored((0.19, 0.82), (0.11, 0.75), (0.0, 0.75), (0.12, 0.91), (0.0, 0.94)),
    "whole": np.concatenate([JAW, BROWS]),
}

UNIT, FROM = 128, np.array([-0.25, -0.25], np.float32)  # px of the mean face's unit; where the canvas begins
CANVAS = round(1.5 * UNIT)  # masks are drawn here, with room for what grows over the outline
GRID = 6  # knots a side of the elastic deformation
_FIT = np.linalg.pinv(np.concatenate([FIVE, np.ones((5, 1))], axis=1))  # [3, 5]


class Range(NamedTuple):
    """Two ends between which a number is drawn."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One number, all alike likely."""
        return float(rng.uniform(self.low, self.high))


class SelfBlend:
    """Make a real and a self-blended picture of one photograph, or of the frames of one video by one draw.

    Half of the time the blended-in copy is the changed one, else the photograph that it goes into; the real picture is
    the one that it goes into. So a real and its blend agree wherever the mask is 0, and both are as often changed.

    Args:
        parts: `whole`, or some of `eyes`, `nose`, `mouth`, of which a draw takes at least one; none blends nothing.
        forehead: share of whole-face masks that reach over the forehead; else they end above the brows.
        rgb: largest shift of each channel, of full scale.
        hsv: largest shift of hue (of the circle), and largest changes of saturation's and value's factor 1.
        brightness: largest shift, of full scale.
        contrast: largest change of the factor 1.
        downscale: share of the side that a copy is shrunk to and enlarged again, from and to.
        sharpen: strength of the unsharp mask that is put on instead, from and to.
        shift: how far the blended-in copy is moved sideways and up or down at most, shares of the side.
        scale: the least factor of its size; the largest is the inverse.
        elastic: typical displacement of the mask's outline, share of the face.
        soften: width of the kernels that the mask is eroded and blurred by, from and to, shares of the face.
        ratios: weights of the blended-in copy inside the mask, one is drawn.

    Raises:
        ValueError: there is no such part.
    """

    def __init__(
        self,
        parts: Sequence[str] = ("whole",),
        forehead: float = 0.75,
        rgb: float = 0.04,
        hsv: Sequence[float] = (0.01, 0.15, 0.1),
        brightness: float = 0.1,
        contrast: float = 0.1,
        downscale: Sequence[float] = (0.25, 0.5),
        sharpen: Sequence[float] = (0.2, 0.5),
        shift: Sequence[float] = (0.03, 0.015),
        scale: float = 0.95,
        elastic: float = 0.02,
        soften: Sequence[float] = (0.02, 0.12),
        ratios: Sequence[float] = (0.25, 0.5, 0.75, 1, 1, 1),
    ) -> None:
        if unknown := [part for part in parts if part not in PARTS]:
            raise ValueError(f"data.blend.parts={unknown[0]}: expected one of {', '.join(PARTS)}")
        self.parts, self.forehead, self.ratios = list(parts), forehead, list(ratios)
        self.rgb, self.hsv, self.brightness, self.contrast = rgb, np.array(hsv), brightness, contrast
        self.downscale, self.sharpen, self.soften = Range(*downscale), Range(*sharpen), Range(*soften)
        self.shift, self.scale, self.elastic = np.array(shift), scale, elastic

    def __call__(
        self, frames: NDArray[np.uint8], landmarks: Points, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Image]:
        """Blend a picture with itself.

        Args:
            frames: [3, S, S] or [T, 3, S, S].
            landmarks: eyes, nose and mouth corners in px of the picture, [5, 2] or [T, 5, 2].
            rng: makes the one draw.

        Returns:
            The real and the blended frames, uint8 of the same shape, and the mask [1, S, S] or [T, 1, S, S] in 0..1,
            before the drawn ratio weakens it.
        """
        change, move, shape = self._change(rng), self._move(rng), self.shape(rng)
        ratio = np.float32(self.ratios[rng.integers(len(self.ratios))])
        into = bool(rng.integers(2))  # which of the two is changed
        one = frames.ndim == 3
        clip, points = frames[None] if one else frames, landmarks[None] if one else landmarks
        real, fake = np.empty_like(clip), np.empty_like(clip)
        masks = np.empty((len(clip), 1, *clip.shape[2:]), np.float32)
        for at, frame in enumerate(clip):
            image = frame.transpose(1, 2, 0).astype(np.float32) / 255
            source, target = (image, change(image)) if into else (change(image), image)
            target = np.rint(target * 255)
            masks[at, 0] = fit(shape, points[at], len(image))
            weight = ratio * masks[at, 0, :, :, None]
            blended = np.rint(weight * move(source) * 255 + (1 - weight) * target)
            real[at], fake[at] = target.transpose(2, 0, 1), blended.transpose(2, 0, 1)
        return (real[0], fake[0], masks[0]) if one else (real, fake, masks)

    def shape(self, rng: np.random.Generator) -> Image:
        """Draw a soft mask of the mean face [CANVAS, CANVAS] in 0..1."""
        mask = np.zeros((CANVAS, CANVAS), np.float32)
        for outline in self._outlines(rng):
            hull = cv2.convexHull(np.rint((outline - FROM) * UNIT).astype(np.int32))
            cv2.fillConvexPoly(mask, hull, 1.0)
        knots = rng.normal(0, self.elastic * UNIT, (2, GRID, GRID)).astype(np.float32)
        right, down = (cv2.resize(knot, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC) for knot in knots)
        rows, columns = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
        bent = cv2.remap(mask, columns + right, rows + down, cv2.INTER_LINEAR)
        inner, outer = (2 * int(width * UNIT / 2) + 1 for width in rng.uniform(self.soften.low, self.soften.high, 2))
        eroded = cv2.erode(bent, np.ones((inner, inner), np.uint8))
        # Far wider than the kernel, as the authors': the border falls off almost in a straight line.
        soft = cv2.GaussianBlur(eroded if eroded.any() else bent, (outer, outer), outer)
        return np.asarray(soft / soft.max(), np.float32)

    def _outlines(self, rng: np.random.Generator) -> list[Points]:
        drawn = [part for part in self.parts if rng.integers(2)] or [self.parts[rng.integers(len(self.parts))]]
        high = rng.random() < self.forehead
        return [np.concatenate([PARTS[part], FOREHEAD]) if part == "whole" and high else PARTS[part] for part in drawn]

    def _change(self, rng: np.random.Generator) -> Change:
        """Draw what makes a copy differ: its colours, and its sharpness."""
        rgb = rng.uniform(-self.rgb, self.rgb, 3).astype(np.float32)
        hue, saturation, value = rng.uniform(-1, 1, 3) * self.hsv
        brightness, contrast = rng.uniform(-1, 1, 2) * np.array([self.brightness, self.contrast])
        sharper, strength, share = bool(rng.integers(2)), self.sharpen.draw(rng), self.downscale.draw(rng)

        def change(image: Image) -> Image:
            hsv = cv2.cvtColor(np.clip(image + rgb, 0, 1), cv2.COLOR_RGB2HSV)  # hue in degrees
            hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
            hsv[..., 1:] = np.clip(hsv[..., 1:] * (1 + saturation, 1 + value), 0, 1)
            coloured = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
            coloured = (coloured - 0.5) * np.float32(1 + contrast) + np.float32(0.5 + brightness)
            done = _sharpen(coloured, strength) if sharper else _shrink(coloured, share)
            return np.clip(done, 0, 1)

        return change

    def _move(self, rng: np.random.Generator) -> Change:
        """Draw how the blended-in copy is moved and sized."""
        right, down = rng.uniform(-1, 1, 2) * self.shift
        scale = rng.uniform(self.scale, 1 / self.scale)

        def move(image: Image) -> Image:
            side = len(image)
            stay = (1 - scale) / 2  # the middle stays where it is
            matrix = np.array([[scale, 0, side * (stay + right)], [0, scale, side * (stay + down)]])
            return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.float32)

        return move


def fit(shape: Image, landmarks: Points, size: int) -> Image:
    """Bring a mask of the mean face to a face with these five points [5, 2], by least squares -> [size, size]."""
    to_face = (_FIT @ landmarks).T  # [2, 3], from the mean face's unit to px
    from_canvas = np.concatenate([to_face[:, :2] / UNIT, to_face[:, :2] @ FROM[:, None] + to_face[:, 2:]], axis=1)
    return np.asarray(cv2.warpAffine(shape, from_canvas, (size, size)), np.float32)


def _sharpen(image: Image, strength: float) -> Image:
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.asarray(image + np.float32(2 * strength) * (image - smooth), np.float32)


def _shrink(image: Image, share: float) -> Image:
    side = len(image)
    small = max(8, round(share * side))
    down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(down, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
