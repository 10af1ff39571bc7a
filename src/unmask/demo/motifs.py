"""Motifs of the demo paintings: landscapes, still lifes and abstractions, each with directions for the strokes."""

from collections.abc import Callable

import cv2
import numpy as np

from unmask.demo.paint import SIZE, XX, YY, Grid, Image, Random, clouds, flat, floats, mix, shade, soft

Motif = tuple[Image, Image]  # colours [SIZE, SIZE, 3], directions [SIZE, SIZE] in radians

# A painter's palettes: RGB colours from dark to light.
PALETTES = floats([
    [[38, 34, 48], [84, 62, 58], [150, 104, 70], [206, 160, 102], [238, 218, 176]],  # earth
    [[22, 36, 66], [44, 82, 126], [96, 142, 172], [176, 200, 202], [240, 232, 206]],  # cold
    [[50, 22, 40], [124, 40, 52], [190, 84, 54], [228, 152, 74], [246, 220, 150]],  # evening
    [[24, 44, 38], [52, 88, 60], [112, 138, 74], [188, 190, 112], [240, 232, 180]],  # green
    [[34, 30, 58], [88, 66, 120], [160, 110, 150], [214, 168, 172], [244, 226, 216]],  # violet
    [[30, 30, 32], [80, 80, 84], [138, 134, 130], [190, 184, 174], [236, 230, 220]],  # grey
])  # fmt: skip


def compose(r: Random) -> Motif:
    """Paint a random motif: a landscape, a still life or an abstraction."""
    kinds: tuple[Callable[[Random], Motif], ...] = (landscape, still_life, abstraction)
    motif, flow = kinds[r.integers(len(kinds))](r)
    return floats(np.clip(motif, 0, 255)), floats(flow)


def _palette(r: Random) -> Image:
    """Return five colours `[5, 3]` from dark to light, interpolated between two palettes."""
    a, b = PALETTES[r.choice(len(PALETTES), 2, replace=False)]
    return floats(np.clip(a + (b - a) * r.uniform(0, 0.5) + r.normal(0, 6, (5, 3)), 8, 250))


def _swirl(r: Random, cells: int, size: float) -> Image:
    """Return smoothly varying random directions in radians."""
    return np.float32(size) * clouds(r, cells, SIZE)[..., 0]


def _ramp(low: Image, high: Image, share: Grid) -> Image:
    """Interpolate between two colours; `share` `[SIZE, SIZE]` is 0 for `low` and 1 for `high`."""
    return floats(low + (high - low) * np.clip(share, 0, 1)[..., None])


def landscape(r: Random) -> Motif:
    """Draw a sky, several ridges, a lake or fields, and trees."""
    colours, horizon = _palette(r), r.uniform(0.35, 0.65) * SIZE
    other = _palette(r)
    motif = _ramp(colours[int(r.integers(1, 4))], colours[4], YY / horizon)
    cloud = soft(clouds(r, int(r.integers(3, 7)), SIZE)[..., 0] * soft(horizon - YY, 60) - r.uniform(0.2, 0.9), 0.9)
    mix(motif, colours[4] * r.uniform(0.9, 1.05), cloud * np.float32(0.8))
    flow = _swirl(r, 4, r.uniform(0.2, 0.9))
    if r.random() < 0.5:
        x, y, size = r.uniform(30, SIZE - 30), r.uniform(0.2, 0.9) * horizon, r.uniform(7, 18)
        mix(motif, colours[4] * 1.1, np.exp(-((np.hypot(XX - x, YY - y) / (3 * size)) ** 2)) * np.float32(0.6))
        mix(motif, (252, 240, 206), soft(size - np.hypot(XX - x, YY - y), 2))
    for step in range(int(r.integers(1, 4))):
        line = horizon - 40 / (step + 1) + _ridge(r, 4 + 3 * step, r.uniform(8, 34) / (step + 1))
        share = soft(YY - line, 2)
        tone = 0.5 * colours[1] + 0.5 * other[1 + step % 2] + (70 - 26 * step)
        mix(motif, _ramp(tone * 1.15, tone * 0.8, (YY - line) / 60), share)
        flow = flow * (1 - share) + share * np.float32(r.uniform(-0.9, 0.9))
    ground = soft(YY - horizon - _ridge(r, 5, 3), 2)
    near = (YY - horizon) / (SIZE - horizon)
    if r.random() < 0.45:  # water: the mirrored sky
        mirror = motif[np.clip(2 * horizon - YY[:, 0], 0, SIZE - 1).astype(int)]
        ripples = 0.12 * clouds(r, 60, SIZE)[..., 0] * near
        mix(motif, mirror * 0.82 * (1 + ripples[..., None]), ground)
        flow = flow * (1 - ground)
    else:
        mix(motif, _ramp(other[3], other[1], near + 0.2 * clouds(r, 7, SIZE)[..., 0]), ground)
        flow = flow * (1 - ground) + ground * _swirl(r, 5, 0.5)
    for _ in range(int(r.integers(0, 9))):
        flow = _tree(r, motif, flow, horizon, other)
    return motif, flow


def _ridge(r: Random, values: int, size: float) -> Image:
    """Return smoothly varying random heights in px, one for each column `[1, SIZE]`."""
    coarse = floats(r.normal(0, size, (1, values)))
    return floats(cv2.resize(coarse, (SIZE, 1), interpolation=cv2.INTER_CUBIC)) + floats(r.normal(0, 0.8, (1, SIZE)))


def _tree(r: Random, motif: Image, flow: Image, horizon: float, colours: Image) -> Image:
    near = r.uniform(0.05, 1)
    x, foot = r.uniform(0, SIZE), horizon + near * (SIZE - horizon) * 0.8
    tall, wide = (20 + 70 * near) * r.uniform(0.7, 1.3), (8 + 26 * near) * r.uniform(0.5, 1.2)
    trunk = soft(1.5 + 2 * near - np.abs(XX - x), 1.5) * soft(foot - YY, 2) * soft(YY - foot + tall * 0.6, 2)
    mix(motif, colours[0] * 0.9, trunk)
    rough = 0.35 * clouds(r, 20, SIZE)[..., 0]
    crown = soft(1 - np.hypot((XX - x) / wide, (YY - foot + tall * 0.7) / (tall * 0.45)) + rough, 0.25)
    lit = 0.5 - (XX - x) / (2.5 * wide) - (YY - foot + tall * 0.7) / tall + rough
    mix(motif, _ramp(colours[0], colours[int(r.integers(1, 4))], lit), crown)
    return floats(flow * (1 - crown) + crown * np.float32(r.uniform(0.9, 2.2)))


def still_life(r: Random) -> Motif:
    """Draw a wall and a table with fruit, bowls and bottles, lit from the left."""
    colours, other = _palette(r), _palette(r)
    edge = r.uniform(0.45, 0.62) * SIZE
    motif = _ramp(colours[int(r.integers(0, 3))], colours[int(r.integers(1, 4))], 1 - XX / SIZE + 0.1 * (YY / SIZE))
    motif *= 1 + 0.06 * clouds(r, 5, SIZE)
    flow = np.float32(r.uniform(0, np.pi)) + _swirl(r, 4, 0.4)
    table = soft(YY - edge - r.uniform(-0.05, 0.05) * (XX - SIZE / 2), 2)
    mix(motif, _ramp(other[3], other[1], XX / SIZE * 0.6 + 0.15 * clouds(r, 6, SIZE)[..., 0]), table)
    flow = flow * (1 - table) + table * _swirl(r, 4, 0.25)
    feet = np.sort(r.uniform(edge + 18, SIZE - 22, int(r.integers(3, 8))))
    for foot in feet:
        flow = _thing(r, motif, flow, float(foot), edge, _palette(r))
    return motif, floats(flow)


def _thing(r: Random, motif: Image, flow: Image, foot: float, edge: float, colours: Image) -> Image:
    """Draw a solid of revolution, such as a bottle, whose lowest row is `foot`; return the updated `flow`."""
    x, near = r.uniform(24, SIZE - 24), 0.7 + 0.6 * (foot - edge) / (SIZE - edge)
    kind = r.choice(["fruit", "bowl", "bottle"], p=[0.5, 0.2, 0.3])
    wide = near * {"fruit": r.uniform(14, 26), "bowl": r.uniform(34, 52), "bottle": r.uniform(13, 22)}[kind]
    tall = near * {"fruit": r.uniform(28, 46), "bowl": r.uniform(26, 40), "bottle": r.uniform(80, 125)}[kind]
    up = (foot - YY) / np.float32(tall)  # 0 at the foot, 1 at the top
    profile = {
        "fruit": np.sqrt(np.clip(1 - (2 * up - 1) ** 2, 0, 1)),
        "bowl": np.sqrt(np.clip(up, 0, 1)) * 0.75 + 0.25,
        "bottle": np.where(up < 0.55, 1, np.clip(1 - (up - 0.55) / 0.2, 0.3, 1)),
    }[kind]
    across = (XX - np.float32(x)) / (np.float32(wide) * np.maximum(profile, 1e-3))
    cover = soft((1 - np.abs(across)) * wide * profile, 2) * soft(up * tall, 2) * soft((1 - up) * tall, 2)
    long = wide * 1.3
    shadow = np.exp(-(((XX - x - long * 0.7) / long) ** 2) - ((YY - foot) / (0.22 * wide + 3)) ** 2)
    shade(motif, 0.5, floats(shadow) * (1 - cover))
    light = 0.62 - 0.5 * across - (0.25 * (1 - up) if kind == "fruit" else 0) + 0.06 * clouds(r, 8, SIZE)[..., 0]
    base = int(r.integers(1, 4))
    mix(motif, _ramp(colours[base] * 0.35, colours[base] * 1.2 + 12, light), cover)
    shine = np.exp(-(((across + 0.45) / 0.16) ** 2) - ((up - 0.68) / 0.14) ** 2) * cover
    mix(motif, (250, 246, 236), floats(shine) * np.float32(r.uniform(0.2, 0.8)))
    around = np.arctan2(YY - foot + tall / 2, XX - x) + np.pi / 2 if kind == "fruit" else np.full_like(XX, np.pi / 2)
    return floats(flow * (1 - cover) + cover * around)


def abstraction(r: Random) -> Motif:
    """Draw overlapping shapes or swirling bands."""
    colours = np.concatenate([_palette(r), _palette(r)])
    flow = _swirl(r, int(r.integers(3, 6)), r.uniform(0.4, 1.6)) + np.float32(r.uniform(0, np.pi))
    motif = flat(colours[r.integers(len(colours))], XX)
    if r.random() < 0.4:
        height = clouds(r, int(r.integers(3, 6)), SIZE)[..., 0] * np.float32(r.uniform(1, 2.2)) + XX / SIZE
        for k, level in enumerate(np.sort(r.uniform(-2, 2.5, int(r.integers(5, 11))))):
            mix(motif, colours[(k * 3 + 1) % len(colours)], soft(height - level, 0.06))
        return motif, flow
    for _ in range(int(r.integers(8, 22))):
        x, y, turn = *r.uniform(0, SIZE, 2), r.uniform(0, np.pi)
        a, b = r.uniform(12, 80, 2)
        u = (XX - x) * np.float32(np.cos(turn)) + (YY - y) * np.float32(np.sin(turn))
        v = (YY - y) * np.float32(np.cos(turn)) - (XX - x) * np.float32(np.sin(turn))
        round_ = r.random() < 0.4
        inside = (1 - np.hypot(u / a, v / b)) * min(a, b) if round_ else np.minimum(a - np.abs(u), b - np.abs(v))
        cover = soft(inside, 2) * np.float32(r.uniform(0.6, 1))
        mix(motif, colours[r.integers(len(colours))] * (1 + 0.2 * u / a)[..., None], cover)
        flow = floats(flow * (1 - cover) + cover * np.float32(turn))
    return motif, flow
