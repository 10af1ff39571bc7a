"""Brushes for the demo paintings: strokes along a direction field, with bristles, relief and canvas.

Coarse strokes are painted first. Finer strokes follow, but only where the picture still differs from its motif
(Hertzmann, SIGGRAPH 1998). Bristles are noise that is smeared along the strokes (Cabral and Leedom, SIGGRAPH 1993).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.demo.paint import SIZE, XX, YY, Image, Random, floats

_STEPS = 6  # px: length of the bristles in each of the two directions


@dataclass(frozen=True)
class Brush:
    """A style of painting.

    Attributes:
        length: Length of the coarsest strokes, px.
        width: Width of the coarsest strokes, px.
        loose: Standard deviation of a stroke's direction, radians.
        jitter: Standard deviation of a stroke's colour, grey levels.
        bristles: Relative contrast of the bristles.
        relief: Relative contrast of the paint's relief.
        weave: Relative contrast of the canvas.
    """

    length: float
    width: float
    loose: float
    jitter: float
    bristles: float
    relief: float
    weave: float


def draw_brush(r: Random) -> Brush:
    """Return a random style of painting."""
    width = r.uniform(4, 13)
    return Brush(
        length=width * r.uniform(1.2, 4.5),
        width=width,
        loose=r.uniform(0.05, 0.5),
        jitter=r.uniform(4, 14),
        bristles=r.uniform(0.03, 0.1),
        relief=r.uniform(0.1, 0.5),
        weave=r.uniform(0, 0.035),
    )


def paint(motif: Image, flow: Image, brush: Brush, r: Random, where: Image | None = None) -> Image:
    """Paint a motif `[SIZE, SIZE, 3]` along directions `[SIZE, SIZE]` (radians); return a picture of the same shape.

    If a mask `where` `[SIZE, SIZE]` is given, strokes are laid only around pixels where the mask is 1.
    """
    wanted = None if where is None else cv2.dilate(where, np.ones((25, 25), np.uint8)) > 0
    canvas = np.clip(cv2.GaussianBlur(motif, (0, 0), 6) * r.uniform(0.85, 1), 0, 255).astype(np.uint8)
    for scale in (1.0, 0.55, 0.3):
        _lay_strokes(canvas, (motif, flow), brush, scale, wanted, r)
    noise = floats(r.normal(0, 1, (SIZE, SIZE)))
    hairs = draw_out(floats(cv2.GaussianBlur(noise, (0, 0), 0.6)), flow)
    height = hairs / hairs.std() * np.float32(brush.bristles)
    picture = floats(canvas) * (1 + height)[..., None]
    thick = cv2.GaussianBlur(cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.8) / 255
    slope = cv2.filter2D(thick + height, -1, floats([[1, 1, 0], [1, 0, -1], [0, -1, -1]]) / 3)  # lit from the left
    threads = np.sin(XX * np.float32(1.9)) * np.sin(YY * np.float32(1.9))
    return floats(picture * (1 - np.float32(brush.relief) * slope + np.float32(brush.weave) * threads)[..., None])


def draw_out(noise: Image, flow: Image) -> Image:
    """Average noise `[SIZE, SIZE]` along the directions `flow` `[SIZE, SIZE]`."""
    across, down = np.cos(flow), np.sin(flow)
    total = np.zeros_like(noise)
    for step in range(-_STEPS, _STEPS + 1, 2):
        x, y = XX + np.float32(step) * across, YY + np.float32(step) * down
        total += cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return floats(total / (_STEPS + 1))


def _lay_strokes(
    canvas: NDArray[np.uint8],
    painted: tuple[Image, Image],
    brush: Brush,
    scale: float,
    wanted: NDArray[np.bool_] | None,
    r: Random,
) -> None:
    """Paint a layer of strokes into `canvas`, in place; `painted` is (motif, directions)."""
    motif, flow = painted
    long, wide = brush.length * scale, max(brush.width * scale, 1.0)
    count = int(1.8 * SIZE * SIZE / (long * wide + wide * wide))
    at = r.integers(0, SIZE, (min(count, 1800), 2))
    if wanted is not None:
        at = at[wanted[at[:, 1], at[:, 0]]]
    if scale < 1:  # paint only where the canvas differs from the motif
        wrong = np.abs(motif[at[:, 1], at[:, 0]] - canvas[at[:, 1], at[:, 0]]).sum(1)
        at = at[wrong > 45]
    x, y = at.T
    colours = motif[y, x] + r.normal(0, brush.jitter, (len(at), 1)) + r.normal(0, brush.jitter / 2, (len(at), 3))
    angle = flow[y, x] + r.normal(0, brush.loose, len(at))
    half = np.stack([np.cos(angle), np.sin(angle)], 1) * (long / 2 * r.uniform(0.6, 1.3, (len(at), 1)))
    bent = r.normal(0, 0.12, (len(at), 1)) * half[:, ::-1] * [1, -1]
    points = np.stack([at - half, at + bent, at + half], 1)
    thick = np.maximum(r.normal(wide, wide * 0.2, len(at)), 1).round().astype(int)
    for line, colour, width in zip((points * 16).astype(np.int32), colours.clip(0, 255).tolist(), thick, strict=True):
        cv2.polylines(canvas, [line], False, colour, int(width), cv2.LINE_AA, shift=4)
