"""Forgeries of the demo. They repaint only a face's texture; light, camera noise and codec are as in real videos."""

from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.demo.paint import TEXTURE, Image, Random, U, V, floats, soft
from unmask.demo.people import Person, Pose
from unmask.demo.scenes import Scene


class Forgery(Protocol):
    """Turn the bare face `[TEXTURE, TEXTURE, 3]` of one pose into a forged face."""

    def __call__(self, texture: Image, pose: Pose) -> Image:
        """Forge one frame."""


class FaceSwap:
    """Replace the inner face with that of another person, at low resolution and with imperfectly matched colours."""

    def __init__(self, donor: Person, rng: Random, difficulty: float) -> None:
        plain = 1 - difficulty
        self.donor, self.side = donor, int(TEXTURE / (1.6 + 1.9 * plain * rng.uniform(0.7, 1.2)))
        self.mask = _inner(0.22 + 0.5 * difficulty, *rng.uniform(-0.04, 0.04, 2))
        self.match = np.float32(1 - (0.08 + 0.22 * plain) * rng.uniform(0.6, 1.2))
        self.tint = 1 + rng.normal(0, 0.015 + 0.035 * plain, 3).astype(np.float32)

    def __call__(self, texture: Image, pose: Pose) -> Image:
        """Blend the donor's face, in the same pose, into the texture."""
        swap = _shrink_and_grow(self.donor.texture(pose), self.side)
        theirs, ours = (floats(cv2.mean(cv2.multiply(face, self.mask))[:3]) for face in (swap, texture))
        return _paste(texture, swap * ((1 + (ours / theirs - 1) * self.match) * self.tint), self.mask)


class Resynthesis:
    """Redraw the person's own face as a decoder would: at half the resolution, with the grid of uneven up-sampling.

    The grid repeats every 4 px of the texture, as it would after two transposed convolutions with stride 2 (arXiv
    2003.01826 shows such grids in images from real generators).
    """

    def __init__(self, rng: Random, difficulty: float) -> None:
        strength = (0.012 + 0.05 * (1 - difficulty)) * rng.uniform(0.8, 1.2)
        cell = rng.normal(0, 1, (4, 4, 1))
        cell = (cell - cell.mean()) / cell.std()
        self.grid = (1 + strength * np.tile(cell, (TEXTURE // 4, TEXTURE // 4, 1))).astype(np.float32)
        self.mask = _inner(0.5)

    def __call__(self, texture: Image, pose: Pose) -> Image:
        """Redraw the inner face as a decoder would."""
        return _paste(texture, _shrink_and_grow(texture, TEXTURE // 2) * self.grid, self.mask)


class Slide:
    """Shift the person's own inner face and change its brightness, both by small random amounts.

    The amounts are drawn once per video or, for a temporal forgery (`flicker`), once per frame. All videos are treated
    in this way, real or fake. A single frame of a temporal forgery therefore has exactly the distribution of a real
    frame, and only changes between frames reveal the forgery. If real videos were not resampled, a single forged frame
    would be recognisable by its missing grain.

    Attributes:
        shift: Shift to the right and down `[frames, 2]`, in px of the texture (about 0.7 x 1 px in the frame).
        gain: Factor by which brightness is multiplied `[frames]`.
    """

    def __init__(self, rng: Random, difficulty: float, frames: int, flicker: bool = False) -> None:
        plain, draws = 1 - difficulty, frames if flicker else 1
        self.shift = np.resize(rng.normal(0, 0.8 + 1.8 * plain, (draws, 2)).clip(-5, 5), (frames, 2))
        self.gain = np.resize(1 + rng.normal(0, 0.008 + 0.03 * plain, draws), frames).astype(np.float32)
        self.mask = _inner(0.9)

    def __call__(self, texture: Image, frame: int) -> Image:
        """Shift and brighten the inner face by the values of this frame."""
        move = floats([[1, 0, self.shift[frame, 0]], [0, 1, self.shift[frame, 1]]])
        moved = cv2.warpAffine(texture, move, (TEXTURE, TEXTURE), borderMode=cv2.BORDER_REPLICATE)
        return _paste(texture, moved * self.gain[frame], self.mask)


def film(who: Person, scene: Scene, slide: Slide, forgery: Forgery | None, rng: Random) -> Iterator[NDArray[np.uint8]]:
    """Yield frames `[SIZE, SIZE, 3]` of a person in a scene; `forgery`, if given, changes the face in each frame."""
    for number, pose in enumerate(scene.poses):
        texture = slide(who.texture(pose), number)
        yield scene.shoot(who, pose, texture if forgery is None else forgery(texture, pose), rng)


def _inner(edge: float, right: float = 0.0, down: float = 0.0) -> Image:
    """Return a mask `[TEXTURE, TEXTURE, 3]`: 1 in an ellipse around eyes, nose and mouth, feathered over `edge`."""
    ellipse = soft(1 - ((U - right) / 0.72) ** 2 - ((V - 0.12 - down) / 0.70) ** 2, edge)
    return np.dstack([ellipse] * 3)


def _paste(texture: Image, other: Image, mask: Image) -> Image:
    return floats(cv2.add(texture, cv2.multiply(cv2.subtract(other, texture), mask)))


def _shrink_and_grow(texture: Image, side: int) -> Image:
    small = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA)
    return floats(cv2.resize(small, (TEXTURE, TEXTURE), interpolation=cv2.INTER_LINEAR))
