"""Paste a face into a frame at the place of its crop, with matched colours and a soft border."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Array

Pixels = NDArray[np.uint8]
BLENDS, COLOURS = ("feather", "poisson"), ("reinhard", "none")
MOST_CONTRAST = 2.0  # maximum factor for a colour's standard deviation; a greater factor would amplify noise
EDGE = 0.06  # share of a crop's side over which a mask fades out, so that the crop's border is never visible


class Pasted(NamedTuple):
    """A frame with a pasted face, and the blending weight [H, W] in [0, 1]; a weight of 0 leaves a pixel unchanged."""

    frame: Pixels
    alpha: Array


def paste(
    frame: Pixels, picture: Array, mask: Array, matrix: Array, blend: str = "feather", feather: float = 0.06
) -> Pasted:
    """Return a frame with a face pasted into it.

    Args:
        frame: uint8 [H, W, 3].
        picture: the face [S, S, 3] in [0, 255].
        mask: where the face is in the picture, [S, S] in [0, 1].
        matrix: affine matrix [2, 3] from frame px to picture px.
        blend: `feather` mixes picture and frame by the softened mask. `poisson` first adapts the picture's colours to
            the surrounding frame and keeps its gradients (doi 10.1145/882262.882269), then mixes by the same mask.
        feather: width of the soft border inside the mask, as a share of the picture's side.

    Raises:
        ValueError: `blend` is unknown.
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
    weight[weight < 1 / 255] = 0  # too small to change a pixel value
    around = frame[inside]
    if blend == "poisson":
        face = _poisson(face, around, weight)
    mixed = around + weight[..., None] * (face - around.astype(np.float32))
    out = frame.copy()
    out[inside] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    alpha[inside] = weight
    return Pasted(out, alpha)


def soften(mask: Array, feather: float) -> Array:
    """Return a mask [S, S] in [0, 1] that fades out inside its own border and towards the picture's border."""
    side = len(mask)
    width = max(1, round(feather * side))
    hard = (mask > 0.5).astype(np.uint8)
    soft: Array = hard.astype(np.float32)
    if feather:  # erode by two standard deviations of the blur, because the blur widens the mask again
        shrunk = cv2.erode(soft, np.ones((2 * width + 1, 2 * width + 1)))
        soft = np.asarray(cv2.GaussianBlur(shrunk, (0, 0), width / 2), np.float32)
    away = np.minimum(np.arange(side), np.arange(side)[::-1]) / max(EDGE * side, 1)
    ramp = np.clip(away, 0, 1).astype(np.float32)
    return np.asarray(soft * np.minimum(ramp[:, None], ramp[None]), np.float32)


def unwarp(picture: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """Invert `media.align.warp`: map a crop back to its place in a frame.

    Outside the picture the result is 0. If the picture shrinks to half its size or less, it is first reduced by area
    averaging, because bilinear sampling would skip pixels.

    Args:
        picture: [S, S] or [S, S, 3].
        matrix: affine matrix [2, 3] from frame px to picture px.
        size: (width, height) of the result.
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
    """Adapt an affine matrix [2, 3] to a picture rescaled by `ratio`; pixel centres lie at half coordinates."""
    scaled = np.float32(ratio) * matrix
    scaled[:, 2] += np.float32(ratio / 2 - 0.5)
    return np.asarray(scaled, np.float32)


def match_colours(picture: Array, target: Array, mask: Array, how: str = "reinhard") -> Array:
    """Match the colours of a face to those of another face.

    Args:
        picture: [S, S, 3] in [0, 255].
        target: the face with the wanted colours, same shape.
        mask: the region of both pictures in which colours are measured, [S, S] in [0, 1].
        how: `reinhard` matches mean and standard deviation of each CIE Lab channel (doi 10.1109/38.946629); `none`
            changes nothing.

    Raises:
        ValueError: `how` is unknown.
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
    """Return the part of a frame that a pasted picture may cover, as a box: left, top, right, bottom."""
    corners = np.array([[-1, -1], [side, -1], [-1, side], [side, side]], np.float64)
    back = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2].astype(np.float64)).T
    low, high = np.floor(back.min(0)).astype(int), np.ceil(back.max(0)).astype(int) + 1
    left, top = (max(int(value), 0) for value in low)
    return left, top, min(int(high[0]), shape[1]), min(int(high[1]), shape[0])


def _poisson(face: Array, around: Pixels, weight: Array) -> Array:
    """Adapt a face's colours to its surroundings and keep its gradients; return a face of less than 3 px unchanged."""
    region = np.asarray(255 * (weight > 0.5), np.uint8)  # the region's border lies on the face, not beside it
    columns, lines = np.flatnonzero(region.any(0)), np.flatnonzero(region.any(1))
    if len(columns) < 3 or len(lines) < 3:
        return face
    # OpenCV needs a margin around the region, and places the centre of its bounding box at the given point.
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
