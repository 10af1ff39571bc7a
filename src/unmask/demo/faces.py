"""Faces: a person's random traits, and the parts of the face that do not move."""

from dataclasses import dataclass

import numpy as np

from unmask.demo.hair import HAIRCUTS, Haircut
from unmask.demo.paint import TEXTURE, Image, Random, U, V, blob, clouds, flat, floats, mix, shade, soft

# RGB colours, from light to dark.
SKINS = floats([[245, 212, 190], [236, 192, 164], [220, 172, 140], [198, 146, 112], [166, 116, 84], [138, 94, 70],
                [112, 77, 60], [92, 65, 53]])  # fmt: skip
HAIRS = floats([[28, 23, 22], [50, 36, 28], [86, 58, 40], [142, 104, 66], [196, 164, 112], [128, 62, 36],
                [158, 155, 152]])  # fmt: skip
IRISES = floats([[62, 40, 26], [96, 66, 38], [72, 104, 140], [84, 112, 82], [100, 108, 116]])


@dataclass(frozen=True)
class Eye:
    """The right eye: centre, half width, height above the centre, and slope.

    The unit of lengths is half the face's width or height.
    """

    x: float
    y: float
    w: float
    h: float
    tilt: float


@dataclass(frozen=True)
class Mouth:
    """The mouth: half width, vertical position, thickness of each lip and rise of the corners, in the unit of `Eye`."""

    w: float
    y: float
    upper: float
    lower: float
    smile: float


@dataclass(frozen=True)
class Looks:
    """A person's traits: RGB colours, `age` from 0 to 1, and the shape of the face.

    `w` and `h` are half the face's width and height in px, at scale 1. `jaw` is the amount by which the face is
    narrower at the chin; `square` is the exponent of the face's outline.
    """

    skin: Image
    hair: Image
    iris: Image
    lips: Image
    age: float
    w: float
    h: float
    jaw: float
    square: float
    eye: Eye
    mouth: Mouth
    cut: Haircut
    made_up: bool

    @property
    def exposure(self) -> float:
        """The camera's exposure, which is higher for dark faces and lower for pale faces."""
        return float((150 / self.skin.mean()) ** 0.35)


def draw_looks(r: Random) -> Looks:
    """Draw a person's traits at random; dark skin comes with dark eyes and hair, high age with grey hair."""
    tone, age = r.uniform(0, len(SKINS) - 1.001), r.uniform(0, 1)
    low, part = int(tone), np.float32(tone % 1)
    skin = floats(SKINS[low] * (1 - part) + SKINS[low + 1] * part + r.normal(0, 3, 3))
    hair = 0 if tone > 5 else r.integers(2) if tone > 4 else r.integers(len(HAIRS) - 1)
    cut = HAIRCUTS[r.choice(len(HAIRCUTS), p=[cut.share for cut in HAIRCUTS])]
    made_up = cut.falls is not None and r.random() < 0.5
    red = r.uniform(0.48, 0.58) if made_up else r.uniform(0.6, 0.7)
    return Looks(
        skin=skin,
        hair=floats(HAIRS[-1 if age > 0.8 else hair] * r.uniform(0.85, 1.15)),
        iris=IRISES[r.integers(2) if tone > 3.5 else r.integers(len(IRISES))],
        lips=skin * floats([r.uniform(0.84, 0.95), *(red + r.uniform(0, 0.05, 2))]),
        age=age,
        w=r.uniform(48, 56),
        h=r.uniform(66, 75),
        jaw=r.uniform(0.1, 0.24),
        square=r.uniform(2.0, 2.6),
        eye=Eye(*r.uniform([0.37, -0.15, 0.15, 0.062, -0.08], [0.42, -0.09, 0.18, 0.085, 0.16]).tolist()),
        mouth=Mouth(*r.uniform([0.26, 0.48, 0.045, 0.06, -0.01], [0.34, 0.53, 0.07, 0.09, 0.05]).tolist()),
        cut=cut,
        made_up=made_up,
    )


def paint_skin(looks: Looks, r: Random) -> tuple[Image, bool]:
    """Paint the unlit face `[TEXTURE, TEXTURE, 3]` without eyes and mouth; return it and whether it has a beard."""
    face = flat(looks.skin, U)
    face *= 1 + 0.018 * clouds(r, 12, TEXTURE) + 0.012 * floats(r.normal(0, 1, (TEXTURE, TEXTURE, 1)))
    _cheeks(face, looks, r)
    _nose(face, looks, r)
    bearded = not looks.cut.falls and not looks.cut.bun and r.random() < 0.45
    if bearded:
        _beard(face, looks, r)
    _brows(face, looks, r)
    if looks.age > 0.55:
        _lines(face, looks, r)
    return face, bearded


def _cheeks(face: Image, looks: Looks, r: Random) -> None:
    e = looks.eye
    for s in (-1, 1):
        shade(face, [0.0, 0.09, 0.07], blob(U, V, s * 0.54, 0.25, 0.25, 0.2) * np.float32(r.uniform(0.3, 1.3)))
        shade(face, -0.06, blob(U, V, s * 0.5, 0.12, 0.2, 0.1))
        shade(face, 0.13, blob(U, V, s * 0.78, 0.52, 0.2, 0.3))  # under the cheekbone
        shade(face, 0.24, blob(U, V, s * e.x * 0.96, e.y - 0.03, 0.24, 0.12))  # socket
        shade(face, [0.12, 0.16, 0.12], blob(U, V, s * e.x, e.y + 0.11, 0.15, 0.035))  # under the eye
        if looks.made_up:
            shade(face, [0.14, 0.24, 0.16], blob(U, V, s * (e.x + 0.01), e.y - 0.09, 0.17, 0.045))
    shade(face, -0.05, blob(U, V, 0, -0.5, 0.45, 0.2))  # forehead
    shade(face, 0.1, blob(U, V, 0, looks.mouth.y + 0.16, 0.17, 0.045))  # between lip and chin
    shade(face, -0.05, blob(U, V, 0, looks.mouth.y + 0.28, 0.16, 0.09))
    if r.random() < 0.3:  # freckles, moles
        for _ in range(r.integers(3, 25)):
            shade(face, 0.2, blob(U, V, r.uniform(-0.6, 0.6), r.uniform(-0.1, 0.5), 0.022, 0.018))


def _nose(face: Image, looks: Looks, r: Random) -> None:
    w, tip = r.uniform(0.085, 0.125), r.uniform(0.2, 0.27)
    shade(face, -0.09, blob(U, V, 0, 0.0, 0.06, 0.24))
    shade(face, -0.12, blob(U, V, 0, tip - 0.02, 0.065, 0.06))
    shade(face, 0.12, blob(U, V, w + 0.05, tip - 0.1, 0.06, 0.17))
    shade(face, 0.08, blob(U, V, -w - 0.05, tip - 0.1, 0.06, 0.17))
    shade(face, 0.24, blob(U, V, 0, tip + 0.075, w * 1.5, 0.035))
    for s in (-1, 1):
        ring = np.abs(np.hypot((U - s * w * 1.05) / 0.075, (V - tip - 0.005) / 0.065) - 1)
        shade(face, 0.2, soft(0.16 - ring, 0.3) * soft(s * (U - s * w * 0.95), 0.08))  # wing
        shade(face, 0.5, blob(U, V, s * w * 0.72, tip + 0.045, 0.04, 0.022))  # nostril
        fold = np.abs(np.abs(U) - w * 1.75 - 0.32 * np.maximum(V - tip, 0))
        shade(face, 0.06 + 0.12 * looks.age, soft(0.035 - fold, 0.05) * blob(U, V, s * 0.27, tip + 0.16, 0.2, 0.13))
    shade(face, 0.08, blob(U, V, 0, (tip + looks.mouth.y) / 2 + 0.03, 0.025, 0.07))


def _beard(face: Image, looks: Looks, r: Random) -> None:
    m, density = looks.mouth, r.uniform(0.25, 0.85)
    grain = 0.08 * r.normal(0, 1, U.shape).astype(np.float32)
    cheek = soft(V - 0.66 + 0.62 * U**2 + grain, 0.22)
    lip = soft(0.055 - np.abs(V - m.y + 0.125 - 0.5 * U**2) + 0.3 * grain, 0.05) * soft(m.w * 1.15 - np.abs(U), 0.08)
    where = np.maximum(cheek if r.random() < 0.75 else cheek * soft(0.42 - np.abs(U), 0.12), lip)
    where = where * (1 - blob(U, V, 0, m.y + 0.03, m.w * 1.1, 0.09))
    mix(face, looks.hair * 0.85, np.clip(where * density * (1 + 2 * grain), 0, 0.95).astype(np.float32))


def _brows(face: Image, looks: Looks, r: Random) -> None:
    e, arch, thick, up = looks.eye, r.uniform(0.02, 0.08), r.uniform(0.034, 0.055), r.uniform(0.16, 0.2)
    hairs = 0.25 * r.normal(0, 1, U.shape).astype(np.float32)
    for s in (-1, 1):
        x = (U * s - e.x) / 0.23
        y = V - (e.y - up) + arch * (0.4 - (x - 0.2) ** 2) - e.tilt * 0.1 * x
        brow = soft(thick * (1.05 - 0.4 * x) * 0.5 - np.abs(y) + 0.04 * hairs, 0.035) * soft(
            1 - np.abs(x) + 0.2 * hairs, 0.3
        )
        mix(face, looks.hair * 0.6, brow * np.float32(0.85))


def _lines(face: Image, looks: Looks, r: Random) -> None:
    e = looks.eye
    for k in range(3):
        line = np.abs(V + 0.42 + 0.09 * k + 0.03 * np.cos(U * 5 + r.uniform(-1, 1)))
        shade(face, 0.12 * looks.age, soft(0.008 - line, 0.03) * soft(0.42 - np.abs(U), 0.3))
    for s in (-1, 1):
        for slope in (-0.5, 0.0, 0.5):
            line = np.abs(V - e.y - 0.02 - slope * (U * s - e.x - 0.2))
            shade(face, 0.12 * looks.age, soft(0.006 - line, 0.025) * blob(U, V, s * (e.x + 0.27), e.y, 0.07, 0.2))
