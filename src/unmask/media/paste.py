"""Put a picture of a face back where its crop was cut: colours brought to those around it, borders made soft."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Array

Pixels = NDArray[np.uint8]
BLENDS, COLOURS = ("feather", "poisson"), ("reinhard", "none")
MOST_CONTRAST = 2.0  # a colour's spread is never changed by more than this factor: a flat region would amplify noise
EDGE = 0.06  # share of a crop's side within which a mask fades out, so that no crop's border is ever seen


class Pasted(NamedTuple):
    """A frame with a face put in, and how much of it [H, W] in [0, 1]: where that is 0 the frame is as it was."""

    frame: Pixels
    alpha: Array


def paste(
    frame: Pixels, picture: Array, mask: Array, matrix: Array, blend: str = "feather", feather: float = 0.06
) -> Pasted:
    """Put a picture into a frame.

    Args:
        frame: uint8 [H, W, 3].
        picture: of the face [S, S, 3] in [0, 255].
        mask: where in the picture the face is [S, S] in [0, 1].
        matrix: the map [2, 3] from the frame to the picture, px.
        blend: `feather` mixes by the softened mask; `poisson` takes over the picture's gradients and the colours of
            the frame around it (doi 10.1145/882262.882269), softened likewise.
        feather: width of the soft border, share of the picture's side; it lies inside of the mask.

    Raises:
        ValueError: there is no such blending.
    """
    if blend not in BLENDS:
        raise ValueError(f"blend={blend}: expected {' or '.join(BLENDS)}")
    soft = soften(mask, feather)
    left, top, right, bottom = _reach(matrix, len(picture), frame.shape)
    alpha = np.zeros(frame.shape[:2], np.float32)
    if right <= left or bottom <= top:
        return Pasted(frame, alpha)
    inside = (slice(top, bottom), slice(left, right))
    local = matrix.astype(np.float32).copy()
    local[:, 2] += local[:, :2] @ np.array([left, top], np.float32)
    face = unwarp(picture, local, (right - left, bottom - top))
    weight = np.clip(unwarp(soft, local, (right - left, bottom - top)), 0, 1)
    weight[weight < 1 / 255] = 0  # what would change nothing changes nothing
    around = frame[inside]
    if blend == "poisson":
        face = _poisson(face, around, weight)
    mixed = around + weight[..., None] * (face - around.astype(np.float32))
    out = frame.copy()
    out[inside] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    alpha[inside] = weight
    return Pasted(out, alpha)


def soften(mask: Array, feather: float) -> Array:
    """A mask [S, S] in [0, 1] whose border falls off inside of it, and which ends before the picture does."""
    side = len(mask)
    width = max(1, round(feather * side))
    hard = (mask > 0.5).astype(np.uint8)
    soft: Array = hard.astype(np.float32)
    if feather:  # shrunk by two deviations of what then widens it again
        shrunk = cv2.erode(soft, np.ones((2 * width + 1, 2 * width + 1)))
        soft = np.asarray(cv2.GaussianBlur(shrunk, (0, 0), width / 2), np.float32)
    away = np.minimum(np.arange(side), np.arange(side)[::-1]) / max(EDGE * side, 1)
    ramp = np.clip(away, 0, 1).astype(np.float32)
    return np.asarray(soft * np.minimum(ramp[:, None], ramp[None]), np.float32)


def unwarp(picture: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """What `media.align.warp` cut, back in its place: each pixel of a frame of `size` (width, height) looks it up.

    Beyond the picture it is 0. A picture that gets smaller is averaged down first, as bilinear sampling skips pixels.

    Args:
        picture: [S, S] or [S, S, 3].
        matrix: the map [2, 3] from the frame to the picture.
        size: of the result.
    """
    matrix = np.asarray(matrix, np.float32).copy()
    shrink = int(np.hypot(*matrix[:, 0]))
    if shrink > 1:
        side = max(len(picture) // shrink, 1)
        matrix = rescale(matrix, side / len(picture))
        picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(np.asarray(picture, np.float32), matrix, size, flags=flags), np.float32)


def rescale(matrix: Array, ratio: float) -> Array:
    """The map [2, 3] into a picture whose side is `ratio` times as long; pixel centres lie at half coordinates."""
    scaled = np.float32(ratio) * matrix
    scaled[:, 2] += np.float32(ratio / 2 - 0.5)
    return np.asarray(scaled, np.float32)


def match_colours(picture: Array, target: Array, mask: Array, how: str = "reinhard") -> Array:
    """Give a face the colours of another.

    Args:
        picture: [S, S, 3] in [0, 255].
        target: whose colours it is to have, of the same shape.
        mask: what of both counts [S, S] in [0, 1].
        how: `reinhard` gives each channel of CIE Lab the target's mean and spread (doi 10.1109/38.946629); `none`.

    Raises:
        ValueError: there is no such way.
    """
    if how not in COLOURS:
        raise ValueError(f"colour={how}: expected {' or '.join(COLOURS)}")
    inside = mask > 0.5
    if how == "none" or inside.sum() < 2:
        return picture
    lab, wanted = (cv2.cvtColor(np.asarray(x / 255, np.float32), cv2.COLOR_RGB2Lab) for x in (picture, target))
    mean, spread = lab[inside].mean(0), lab[inside].std(0)
    factor = wanted[inside].std(0) / np.maximum(spread, 1e-3)
    moved = (lab - mean) * np.clip(factor, 1 / MOST_CONTRAST, MOST_CONTRAST) + wanted[inside].mean(0)
    rgb = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB)
    return np.asarray(255 * np.clip(rgb, 0, 1), np.float32)


def _reach(matrix: Array, side: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of a frame that a picture may touch: left, top, right, bottom."""
    corners = np.array([[-1, -1], [side, -1], [-1, side], [side, side]], np.float64)
    back = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2].astype(np.float64)).T
    low, high = np.floor(back.min(0)).astype(int), np.ceil(back.max(0)).astype(int) + 1
    left, top = (max(int(value), 0) for value in low)
    return left, top, min(int(high[0]), shape[1]), min(int(high[1]), shape[0])


def _poisson(face: Array, around: Pixels, weight: Array) -> Array:
    """The face with its gradients and the border of what is around; it stays as it is where the mask holds nothing."""
    region = np.asarray(255 * (weight > 0.5), np.uint8)  # its border lies on the face, not on what is beside it
    columns, lines = np.flatnonzero(region.any(0)), np.flatnonzero(region.any(1))
    if len(columns) < 3 or len(lines) < 3:
        return face
    # OpenCV wants room around the region, and puts the middle of its box where it is told.
    source, target, hole = (
        cv2.copyMakeBorder(x, 2, 2, 2, 2, border)
        for x, border in (
            (np.clip(np.rint(face), 0, 255).astype(np.uint8), cv2.BORDER_REPLICATE),
            (np.ascontiguousarray(around), cv2.BORDER_REPLICATE),
            (region, cv2.BORDER_CONSTANT),
        )
    )
    centre = (
        int(columns[0] + 2 + (columns[-1] - columns[0] + 1) // 2), int(lines[0] + 2 + (lines[-1] - lines[0] + 1) // 2)
    )  # fmt: skip
    cloned = cv2.seamlessClone(source, target, hole, centre, cv2.NORMAL_CLONE)
    return np.asarray(cloned[2:-2, 2:-2], np.float32)
