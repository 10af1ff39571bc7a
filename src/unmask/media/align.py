"""Crop a face from a frame: either a square around the face's box, or a crop aligned by the face's landmarks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Array

# Positions of the eyes, nose and mouth corners of an aligned face in the unit square: the five-point template of
# ArcFace (arXiv:1801.07698), its 112 px coordinates divided by 112.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
) / np.float32(112)


def crop_matrix(box: Array, size: int, margin: float) -> Array:
    """Return the affine matrix [2, 3] that maps a square around a face's box to a crop of `size` px.

    The side of the square is 1 + `margin` times the longer side of the box.
    """
    centre = (box[:2] + box[2:]) / 2
    scale = size / (float(max(box[2] - box[0], box[3] - box[1])) * (1 + margin))
    return np.array([[scale, 0, size / 2 - scale * centre[0]], [0, scale, size / 2 - scale * centre[1]]], np.float32)


def align_matrix(landmarks: Array, size: int, margin: float) -> Array:
    """Return the similarity matrix [2, 3] that maps landmarks [5, 2] to `TEMPLATE` by least squares (Umeyama, 1991)."""
    target = ((TEMPLATE - 0.5) / (1 + margin) + 0.5) * size
    source = landmarks.astype(np.float64)
    a, b = source - source.mean(0), target - target.mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    scale = float((singular * np.diag(flip)).sum() / (a**2).sum())
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.concatenate([scale * rotation, shift[:, None]], axis=1).astype(np.float32)


def warp(frame: NDArray[np.uint8], matrix: Array, size: int) -> NDArray[np.uint8]:
    """Warp a frame [H, W, 3] by `matrix` into a crop [size, size, 3], replicating the frame's border.

    Bilinear sampling skips pixels when it shrinks a frame to less than half its size, so such a frame is first reduced
    by area averaging.
    """
    matrix = matrix.copy()
    shrink = int(1 / max(float(np.hypot(*matrix[:, 0])), 1e-6))
    if shrink > 1:
        height, width = frame.shape[:2]
        small = (max(width // shrink, 1), max(height // shrink, 1))
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        ratio = np.array([width / small[0], height / small[1]], np.float32)
        # Convert the matrix to the coordinates of the small frame; pixel centres lie at half coordinates.
        matrix[:, 2] += matrix[:, :2] @ (ratio / 2 - 0.5)
        matrix[:, :2] *= ratio
    return cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.uint8
    )
