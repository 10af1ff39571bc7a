"""Layers around the face: hair, ears, glasses, neck, clothes. Each is painted once per person and moves rigidly."""

import numpy as np

from unmask.demo.hair import Hair
from unmask.demo.paint import SIZE, XX, YY, Image, Random, U, V, blob, clouds, flat, floats, layer, mix, shade, soft

GLASSES = floats([[32, 30, 32], [70, 45, 32], [120, 96, 60], [60, 62, 70]])  # RGB colours of the rims


def place(w: float, h: float) -> tuple[Image, Image]:
    """Return each pixel's offset from the frame's centre: right in units of `w` px and down in units of `h` px."""
    return floats((XX - SIZE / 2) / w), floats((YY - SIZE / 2) / h)


def front(r: Random, hair: Hair, eye_x: float, eye_y: float) -> tuple[Image, bool]:
    """Paint the layer in front of a real or forged face: hair over the forehead and, at random, glasses.

    Returns:
        A layer `[TEXTURE, TEXTURE, 4]`, and whether there are glasses.
    """
    rgb, alpha = hair.brow(r)
    glasses = r.random() < 0.22
    if glasses:
        alpha = _glasses(r, rgb, alpha, eye_x, eye_y)
    return layer(rgb, alpha), glasses


def _glasses(r: Random, rgb: Image, alpha: Image, x: float, y: float) -> Image:
    """Paint glasses in front of the eyes at `(±x, y)` into `rgb`, in place; return the layer's new coverage."""
    power, wide, tall, thick = r.choice([2.0, 3.2]), 0.275, r.uniform(0.15, 0.19), r.uniform(0.05, 0.1)
    bridge = soft(0.02 - np.abs(V - y + 0.01 + 0.2 * U**2), 0.03) * soft(x - wide - np.abs(U), 0.04)
    temples = soft(0.025 - np.abs(V - y + 0.02), 0.03) * soft(np.abs(U) - x - wide, 0.04)
    on, glare = np.maximum(bridge, temples), np.zeros_like(U)
    for s in (-1, 1):
        a, b = (U * s - x) / wide, (V - y - 0.025) / tall
        rim = (np.abs(a) ** power + np.abs(b) ** power) ** (1 / power)
        on = np.maximum(on, soft(thick - np.abs(rim - 1), 0.09))
        glare = np.maximum(glare, soft(1 - rim, 0.1) * soft(0.12 - np.abs(a + b + 0.5), 0.2))
    mix(rgb, (255, 255, 255), glare * (alpha < 0.2))
    mix(rgb, GLASSES[r.integers(len(GLASSES))], on)
    return floats(np.maximum(np.maximum(alpha, 0.1 * glare * (1 - alpha)), on))


def behind(r: Random, hair: Hair, skin: Image, u: Image, v: Image) -> tuple[Image, bool]:
    """Paint the ears and the hair behind the head, which turn with the head.

    Returns:
        A layer `[SIZE, SIZE, 4]`, and whether there are earrings.
    """
    rgb, alpha = flat(skin, u), np.zeros_like(u)
    if hair.cut.wide:
        rgb, alpha = hair.behind(r, u, v)
    ring = r.random() < 0.2
    if hair.cut.falls or hair.cut.wide > 1.4:  # the hair covers the ears
        return layer(rgb, alpha), False
    for s in (-1, 1):
        x, y = (u - s * 1.0) / 0.135, (v + 0.02) / 0.2
        ear = soft(1 - (x - s * 0.25 * y) ** 2 - y**2, 0.3)
        mix(rgb, skin * floats([0.86, 0.8, 0.78]), ear)
        shade(rgb, 0.28, ear * blob(x, y, s * 0.2, -0.1, 0.35, 0.45))
        gold = soft(0.045 - np.hypot(u - s * 1.02, (v - 0.22) * 1.3), 0.03) * np.float32(ring)
        mix(rgb, (206, 180, 110), gold)
        alpha = np.maximum(alpha, np.maximum(ear, gold))
    return layer(rgb, alpha), ring


def body(r: Random, skin: Image, u: Image, v: Image) -> Image:
    """Paint neck, shoulders and clothes: a layer `[SIZE, SIZE, 4]` that stays upright."""
    wide, top = r.uniform(2.0, 2.25), r.uniform(1.12, 1.2)
    torso = soft(1 - (np.abs(u) / wide) ** 2.6 - (np.maximum(2.9 - v, 0) / (2.9 - top)) ** 2.3, 0.035)
    half = r.uniform(0.48, 0.58) + 0.3 * np.clip((v - 0.9) / 0.4, 0, 1) ** 3
    neck = soft(half - np.abs(u), 0.04) * soft(v - 0.3, 0.1)
    rgb = flat(skin * 0.93, u)
    shade(rgb, 0.3, np.clip(np.abs(u) / half, 0, 1.1) ** 3 * soft(1.3 - v, 0.3))
    shade(rgb, [0.36, 0.4, 0.4], soft(1.2 - v, 0.34) * np.exp(-((u / 0.8) ** 2)))  # the chin's shadow
    for s in (-1, 1):
        shade(rgb, 0.1, blob(u + s * 0.28 * (v - 1.3), v, s * 0.17, 1.2, 0.035, 0.2))  # sinews
        shade(rgb, 0.16, blob(u, v - 0.06 * np.abs(u), s * 0.36, top + 0.2, 0.2, 0.03))  # collar-bones
    colour, cloth = _clothes(r, u, v - top)
    mix(rgb, colour, cloth)
    return layer(rgb, np.maximum(neck, torso))


def _clothes(r: Random, u: Image, v: Image) -> tuple[Image, Image]:
    """Return the colour and the coverage of the torso; `v` is 0 at the top of the shoulders."""
    cut = r.choice(["crew", "vee", "shirt"], p=[0.45, 0.25, 0.3])
    hem = {
        "crew": np.minimum(np.hypot(u / 0.66, (v + 0.02) / 0.2) - 1, 8 * (v + 0.07)),
        "vee": (v - 0.5) / 0.5 + 2 * np.abs(u),
        "shirt": (v - 0.34) / 0.4 + 2 * np.abs(u),
    }[cut]
    colour = r.uniform(30, 190) + r.normal(0, 22, 3)
    rgb = flat(colour.clip(16, 225), u)
    _weave(r, rgb, u, v)
    if cut == "crew":
        shade(rgb, 0.22, soft(0.12 - np.abs(hem + 0.02), 0.2))
    if cut == "shirt":
        flap = soft(0.36 - np.abs(hem - 0.2), 0.06) * soft(0.4 - v, 0.05)
        mix(rgb, (colour * 1.15 + 12).clip(20, 240), flap)
        shade(rgb, 0.35, soft(0.05 - np.abs(hem - 0.58), 0.06) * soft(0.43 - v, 0.05))
        shade(rgb, 0.3, soft(0.012 - np.abs(u), 0.02) * soft(v - 0.3, 0.05))
    return rgb, soft(hem, 0.08)


def _weave(r: Random, rgb: Image, u: Image, v: Image) -> None:
    """Add a pattern, folds and threads to the cloth in `rgb`, in place."""
    pattern = r.choice(["plain", "plain", "across", "down", "check"])
    fine, strength = r.uniform(14, 30), r.uniform(0.1, 0.25)
    if pattern in ("across", "check"):
        shade(rgb, strength, soft(np.sin((v - 0.12 * u**2) * fine), 0.3))
    if pattern in ("down", "check"):
        shade(rgb, strength, soft(np.sin(u * fine * 0.75), 0.3))
    rgb *= 1 + 0.05 * clouds(r, 9, SIZE) + 0.02 * floats(r.normal(0, 1, (SIZE, SIZE, 1)))
    shade(rgb, 0.3, np.clip(np.abs(u) / 2.3, 0, 1) ** 3)
