"""People who do not exist: a seed determines a person's appearance, and a pose determines eyes and mouth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unmask.demo.faces import draw_looks, paint_skin
from unmask.demo.figure import behind, body, front, place
from unmask.demo.hair import Hair
from unmask.demo.paint import SPAN, TEXTURE, Image, U, V, blob, floats, mix, shade, soft


@dataclass(frozen=True)
class Pose:
    """Values that change from frame to frame: lengths in px, angles in radians, `lid` and `mouth` from 0 (closed) to 1.

    `light` is the unit vector `[3]` towards the lamp (right, down, to the camera); `gain` is the camera's gain in R, G
    and B.
    """

    light: Image
    gain: Image
    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    pitch: float
    lid: float
    mouth: float
    gaze: float


class Person:
    """One identity. `texture` paints the face for each pose; the layers around the face are painted only once.

    Attributes:
        front: Layer of glasses and hair over the forehead, which is composited over the face texture.
        behind: Layer of the ears and the hair behind the head; turns with the head.
        body: Layer of neck and clothes; stays upright.
        locks: Layer of loose hair in front of the shoulders, or None; turns with the head.
        bearded, glasses, earrings: Whether the person has a beard, glasses or earrings.
    """

    def __init__(self, seed: int | Sequence[int]) -> None:
        r = np.random.default_rng(seed)
        self.looks = looks = draw_looks(r)
        self.face, self.bearded = paint_skin(looks, r)
        hair, (u, v) = Hair(r, looks.cut, looks.hair), place(looks.w, looks.h)
        self.front, self.glasses = front(r, hair, looks.eye.x, looks.eye.y)
        self.behind, self.earrings = behind(r, hair, looks.skin, u, v)
        self.body = body(r, looks.skin, u, v)
        self.locks = hair.locks(r, u, v)

    def texture(self, pose: Pose) -> Image:
        """Paint the unlit, bare face `[TEXTURE, TEXTURE, 3]` for a pose; only eyes and mouth depend on the pose."""
        texture = self.face.copy()
        for side in (-1, 1):
            self._paint_eye(texture, pose, side)
        self._paint_mouth(texture, pose)
        return texture

    def _paint_eye(self, texture: Image, pose: Pose, side: int) -> None:
        """Paint an eye into the texture: the one on the right of the picture (`side` 1) or on the left (-1)."""
        e = self.looks.eye
        patch = _patch(side * e.x - 0.25, side * e.x + 0.25, e.y - 0.19, e.y + 0.16)
        q, u = texture[patch], U[patch] - np.float32(side * e.x)
        v = V[patch] - np.float32(e.y) + np.float32(e.tilt * side) * u
        arc = np.maximum(1 - (u / e.w) ** 2, 0) ** 0.8
        low = e.h * 0.62 * arc
        lid = low - (e.h * arc + low) * np.float32(pose.lid)
        inside = soft(np.minimum(v - lid, low - v), 0.022) * (arc > 0)
        shadow = 0.32 * soft(0.03 - (v - lid), 0.06) + 0.1 * np.abs(u) / e.w
        mix(q, self._white(222, 214, 208) * (1 - shadow[..., None]), inside)
        off = np.hypot(
            u - np.float32(pose.gaze * 0.045), (v + np.float32(0.012)) * np.float32(self.looks.h / self.looks.w)
        )
        mix(q, self.looks.iris * 0.55, inside * soft(0.088 - off, 0.02))
        mix(q, self.looks.iris * 1.15, inside * soft(0.07 - off, 0.03))
        mix(q, (12, 10, 10), inside * soft(0.036 - off, 0.02))
        mix(q, (240, 240, 240), inside * soft(0.016 - np.hypot(u + 0.022, v + 0.03), 0.018))
        lashes = soft(0.014 - np.abs(v - lid), 0.02) * soft(e.w * 1.05 - np.abs(u), 0.03)
        lower = soft(0.006 - np.abs(v - low), 0.02) * soft(e.w - np.abs(u), 0.05)
        crease = soft(0.008 - np.abs(v + e.h * 1.1 * arc + 0.03), 0.022) * soft(e.w - np.abs(u), 0.06)
        mix(q, self.looks.skin * 0.22, np.float32(0.85) * lashes)
        mix(q, self.looks.skin * 0.5, np.float32(0.35) * lower)
        mix(q, self.looks.skin * 0.5, np.float32(0.4) * crease)

    def _white(self, *rgb: float) -> Image:
        """Return an RGB colour, darkened if the face is dark, to offset the camera's higher exposure."""
        return floats(rgb) / np.float32(max(self.looks.exposure, 1))

    def _paint_mouth(self, texture: Image, pose: Pose) -> None:
        m = self.looks.mouth
        patch = _patch(-0.45, 0.45, m.y - 0.22, m.y + 0.32)
        q, u = texture[patch], U[patch]
        half = np.float32(m.w * (1 - 0.15 * pose.mouth))
        v = V[patch] - np.float32(m.y) + np.float32(m.smile) * np.minimum((u / half) ** 2, 1.5)
        arc = np.maximum(1 - (u / half) ** 2, 0)
        gap = np.float32(0.1 * pose.mouth) * arc
        top = np.float32(m.upper) * arc**0.7 * (1 - 0.25 * np.exp(-((u / 0.06) ** 2))) + gap * 0.3
        low = gap + np.float32(m.lower) * arc**0.8
        lips = soft(np.minimum(v + top, low - v), 0.03) * (arc > 0)
        mix(q, self.looks.lips, lips * np.float32(0.88))
        shade(q, 0.13, lips * soft(-v, 0.03))  # the upper lip faces away from the light
        shade(q, -0.15, lips * blob(u, v, 0, float(gap.max()) + m.lower * 0.45, float(half) * 0.55, 0.028))
        hole = soft(np.minimum(v + gap * 0.3 + 0.007, gap + 0.007 - v), 0.02) * soft(half * 0.97 - np.abs(u), 0.04)
        mix(q, self.looks.lips * 0.27, hole)
        teeth = np.float32(0.9) * soft(pose.mouth - 0.35, 0.2)
        mix(q, self._white(216, 208, 196), hole * soft(gap * 0.25 - v, 0.02) * teeth)


def _patch(left: float, right: float, top: float, bottom: float) -> tuple[slice, slice]:
    """Return the slices of the texture's rows and columns that lie within these bounds (in the unit of `U` and `V`)."""
    x0, x1, y0, y1 = (int((a / SPAN + 1) / 2 * TEXTURE) for a in (left, right, top, bottom))
    return slice(y0, y1), slice(x0, x1)
