"""Self-blended images (arXiv 2204.08376): forgeries made from one photograph, to train a detector on real data only.

A photograph and a slightly changed copy of it are blended with a face-shaped mask. Like nearly every swapped face, the
result has a border between regions of different image statistics. Differences from the paper:

- The paper computes masks from 68 to 81 landmarks of each face; here, a mean face is fitted to five landmarks.
- Ranges are given as fractions of the picture's or the face's size, not in px.
- Hue and saturation change visibly; the authors' code changes them by at most 0.3 on scales of 180 and 255.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # [S, S, 3] in [0, 1]
Points = NDArray[np.float32]
Change = Callable[[Image], Image]

# Eyes, nose and mouth corners of the mean face: ArcFace's five points, as in media/align.py.
FIVE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
) / np.float32(112)


def _mirrored(*right: tuple[float, float]) -> Points:
    """Mirror the right half of an outline; points are (distance from the midline, y) in units of the mean face."""
    half = np.array(right, np.float32)
    return np.concatenate([half * (1, 1), half * (-1, 1)]).astype(np.float32) + np.array([0.5, 0], np.float32)


# Outlines around the five points, drawn by hand with the proportions of a frontal face: relative to the distance
# between the eyes, the distance from eyes to chin is 1.9, and the width at the eyes is 2.3.
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

UNIT, FROM = 128, np.array([-0.25, -0.25], np.float32)  # px per unit of the mean face; origin of the canvas
CANVAS = round(1.5 * UNIT)  # side of the canvas for masks, with a margin around the outline
GRID = 6  # knots per side of the elastic deformation
_FIT = np.linalg.pinv(np.concatenate([FIVE, np.ones((5, 1))], axis=1))  # [3, 5]


class Range(NamedTuple):
    """An interval from which a number is drawn."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a number uniformly."""
        return float(rng.uniform(self.low, self.high))


class SelfBlend:
    """Make a real and a self-blended picture from one photograph, or from each frame of a video with one shared draw.

    First, one of two copies of the photograph is chosen at random, and its colours and sharpness are changed. Then one
    copy (the source) is blended into the other (the target), which is also the real picture. Because the changed copy
    may be the real picture, the change alone does not reveal a fake. Outside the mask, both pictures are equal.

    Args:
        parts: `whole`, or some of `eyes`, `nose`, `mouth`; each draw uses at least one. `[]` disables blending.
        forehead: probability that a whole-face mask covers the forehead; otherwise, the mask ends at the brows.
        rgb: maximum shift of each channel, relative to full scale.
        hsv: maximum shift of hue (as a share of the circle), and maximum relative changes of saturation and value.
        brightness: maximum shift of brightness, relative to full scale.
        contrast: maximum relative change of contrast.
        downscale: range of the scale factor by which the changed copy is downscaled and upscaled again, to blur it.
        sharpen: range of the strength of an unsharp mask; with probability 0.5, it is applied instead of the blur.
        shift: maximum horizontal and vertical shift of the source, as shares of the side.
        scale: minimum scale factor of the source; the maximum is its inverse.
        elastic: standard deviation of the displacement of the mask's outline, as a share of the face's size.
        soften: range of the kernel widths for eroding and blurring the mask, as shares of the face's size.
        ratios: possible weights of the source inside the mask; one of these is drawn.

    Raises:
        ValueError: a part is unknown.
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
            rng: source of randomness.

        Returns:
            The real and the blended frames, uint8 of the same shape, and the mask [1, S, S] or [T, 1, S, S] in [0, 1].
            The mask is not yet multiplied by the drawn ratio.
        """
        change, move, shape = self._change(rng), self._move(rng), self.shape(rng)
        ratio = np.float32(self.ratios[rng.integers(len(self.ratios))])
        into = bool(rng.integers(2))  # whether the target is changed instead of the source
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
        """Return a random soft mask of the mean face, [CANVAS, CANVAS] in [0, 1]."""
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
        # Sigma is far wider than the kernel, as in the authors' code, so the border falls off almost linearly.
        soft = cv2.GaussianBlur(eroded if eroded.any() else bent, (outer, outer), outer)
        return np.asarray(soft / soft.max(), np.float32)

    def _outlines(self, rng: np.random.Generator) -> list[Points]:
        drawn = [part for part in self.parts if rng.integers(2)] or [self.parts[rng.integers(len(self.parts))]]
        high = rng.random() < self.forehead
        return [np.concatenate([PARTS[part], FOREHEAD]) if part == "whole" and high else PARTS[part] for part in drawn]

    def _change(self, rng: np.random.Generator) -> Change:
        """Return a function that changes the colours and the sharpness of a picture; its parameters are drawn once."""
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
        """Return a function that shifts and scales the source; shift and scale are drawn once."""
        right, down = rng.uniform(-1, 1, 2) * self.shift
        scale = rng.uniform(self.scale, 1 / self.scale)

        def move(image: Image) -> Image:
            side = len(image)
            stay = (1 - scale) / 2  # keeps the centre fixed
            matrix = np.array([[scale, 0, side * (stay + right)], [0, scale, side * (stay + down)]])
            return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.float32)

        return move


def fit(shape: Image, landmarks: Points, size: int) -> Image:
    """Warp a mask of the mean face to a face with landmarks [5, 2], by a least-squares affine fit -> [size, size]."""
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
