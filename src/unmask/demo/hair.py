"""Hair: haircuts, and the layers of a person's hair, which have the same strands."""

from dataclasses import dataclass

import numpy as np

from unmask.demo.paint import SIZE, Image, Random, U, V, blob, curls, flat, floats, layer, shade, soft, strands


@dataclass(frozen=True)
class Haircut:
    """A haircut. The unit is half the face's width or height; positions are measured down from the face's centre.

    Attributes:
        share: Share of people who have this haircut.
        wide: Horizontal radius of the hair on the skull; 0 for no hair.
        tall: Vertical radius of the hair on the skull.
        bottom: Position at which the hair on the skull ends.
        line: Range of the hairline's position.
        arch: Range of the amount by which the hairline is lower at the temples.
        falls: Range of the position to which loose hair hangs; None for no loose hair.
        wave: Strength of waves; 0 for straight hair.
        curly: Whether the hair has curls instead of strands.
        bun: Whether the hair is tied up on top of the head.
    """

    share: float
    wide: float = 1.08
    tall: float = 1.15
    bottom: float = 0.1
    line: tuple[float, float] = (-0.78, -0.62)
    arch: tuple[float, float] = (0.35, 0.65)
    falls: tuple[float, float] | None = None
    wave: float = 0.0
    curly: bool = False
    bun: bool = False


HAIRCUTS = (
    Haircut(0.14, wide=1.04, tall=1.08, bottom=-0.05),  # cropped
    Haircut(0.17, wide=1.1, tall=1.22),  # short
    Haircut(0.11, wide=1.32, tall=1.36, bottom=0.4, curly=True, line=(-0.62, -0.5), arch=(0.15, 0.35)),
    Haircut(0.06, wide=1.5, tall=1.48, bottom=0.45, curly=True, arch=(0.1, 0.3)),
    Haircut(0.13, wide=1.24, tall=1.23, falls=(0.78, 1.02), line=(-0.48, -0.42), arch=(-0.1, 0.1)),  # bob, fringe
    Haircut(0.13, wide=1.2, tall=1.22, falls=(1.3, 1.7), line=(-0.86, -0.76), arch=(0.75, 1.0)),  # long, parted
    Haircut(0.1, wide=1.26, tall=1.25, falls=(1.2, 1.6), line=(-0.82, -0.7), arch=(0.7, 0.95), wave=1.0),
    Haircut(0.1, wide=1.06, tall=1.14, bottom=0.15, bun=True, arch=(0.3, 0.5)),
    Haircut(0.06, wide=0.0),  # bald
)


class Hair:
    """The hair of one person. All layers have the same strands; otherwise the hair would look like a cap."""

    def __init__(self, r: Random, cut: Haircut, colour: Image) -> None:
        self.cut, self.colour, self.seed = cut, colour, int(r.integers(2**31))
        self.part = r.uniform(-0.3, 0.3) if cut.falls else 0.0
        self.length = r.uniform(*cut.falls) if cut.falls else 0.0
        self.contrast = r.uniform(0.8, 1.1) * min(1.0, 80 / float(colour.mean())) ** 0.6  # light hair shows less relief

    def paint(self, u: Image, v: Image) -> Image:
        """Return the hair's colour `[H, W, 3]` at the positions `u`, `v`: strands, sheen and darker sides."""
        cut, r = self.cut, np.random.default_rng(self.seed)
        if cut.curly:
            grain = 1.3 * curls(r, len(u))
        else:
            above = 1.6 if cut.falls else 2.8  # strands fan out from a point at this height above the face's centre
            fan = np.arctan2(u - self.part * soft(-0.4 - v, 0.8), v + above) * above * 0.8
            grain = strands(r, fan + 0.05 * cut.wave * np.sin(v * 9 + 2 * np.abs(u)), v)
        sheen = 0.2 * np.exp(-(((np.hypot(u / 1.1, v) - 0.93) / 0.1) ** 2)) * (v < -0.3)
        sides = 0.28 * np.clip(np.abs(u) / max(cut.wide, 1), 0, 1.2) ** 4
        tone = 0.86 + self.contrast * (0.15 * grain + sheen) - sides
        return floats(self.colour * np.clip(tone, 0.25, 1.5)[..., None])

    def brow(self, r: Random) -> tuple[Image, Image]:
        """Return colour and coverage of the hair on the face texture: at the hairline and beside the face."""
        cut = self.cut
        if not cut.wide:
            return flat(self.colour, U), np.zeros_like(U)
        tips = _uneven(r, U, 16, 0.012) + _uneven(r, U, 70, 0.014)
        line = r.uniform(*cut.line) + r.uniform(*cut.arch) * np.abs(U - self.part) ** (1.6 if cut.falls else 2.4) + tips
        line = line + r.uniform(-0.1, 0.1) * U
        if not cut.falls and r.random() < 0.35:  # receding
            line = line - 0.13 * np.exp(-(((np.abs(U) - 0.45) / 0.2) ** 2))
        side = 0.93 - 0.06 * np.cos(V * 2) + 0.5 * tips + (0.0 if cut.falls else 0.03 + 0.4 * np.maximum(V + 0.15, 0))
        end = 0.75 if cut.falls else r.uniform(-0.05, 0.15)
        beside = soft(np.abs(U) - side, 0.07) * soft(end - V, 0.15 if cut.falls else 0.3)
        return self.paint(U, V), np.maximum(soft(line - V, 0.07 if cut.falls else 0.12), beside)

    def behind(self, r: Random, u: Image, v: Image) -> tuple[Image, Image]:
        """Return colour and coverage of the hair behind the head at the positions `u`, `v`."""
        cut = self.cut
        rgb, angle, size = self.paint(u, v), np.arctan2(v, u), 0.16 if cut.curly else 0.02
        rough = np.zeros_like(u)
        for k in range(4, 40, 3):
            rough += np.float32(r.normal(0, size / k**0.85)) * np.sin(k * angle + np.float32(r.uniform(0, 6.3)))
        cap = 1 + rough - (np.abs(u) / cut.wide) ** 2.2 - (np.abs(v + 0.12) / cut.tall) ** 2
        end = (1.4 if cut.falls else cut.bottom) + (_uneven(r, u, 24, 0.07) - 0.12 * u**2 if cut.curly else 0)
        alpha = soft(cap, 0.07) * soft(end - v, 0.2)
        if cut.bun:
            knot = 1 + 0.5 * rough - np.hypot(u / 0.46, (v + 1.38) / 0.34)
            shade(rgb, 0.3, blob(u, v, 0, -1.12, 0.4, 0.06))
            alpha = np.maximum(alpha, soft(knot, 0.1))
        if cut.falls:
            sheet = soft(cut.wide - 0.02 + 0.04 * np.sin(v * 3 + 1) - np.abs(u), 0.05) * soft(v + 0.1, 0.1)
            alpha = np.maximum(alpha, sheet * soft(min(1.35, self.length - 0.2) - v, 0.3))
        shade(rgb, 0.45, soft(v - 0.45, 0.7) * soft(0.95 - np.abs(u), 0.3))  # the head's shadow
        return rgb, alpha

    def locks(self, r: Random, u: Image, v: Image) -> Image | None:
        """Return loose hair in front of the shoulders, with thinning tips: a layer `[SIZE, SIZE, 4]` or None."""
        cut, low = self.cut, self.length
        if not cut.falls:
            return None
        rgb, alpha = self.paint(u, v), np.zeros((SIZE, SIZE), np.float32)
        for s in (-1, 1):
            tips = _uneven(r, u, 70, 0.07)
            thin = np.clip((v - low + 0.5) / 0.5, 0, 1.2) ** 2
            wave = 0.06 * cut.wave * np.sin(v * 8 + s)
            inner = 0.56 + 0.1 * np.sin(v * 2.2) * (v > 0.5) + wave + 0.18 * thin + 0.25 * tips
            outer = cut.wide - 0.02 + 0.05 * np.sin(v * 3 + 1) + wave - 0.3 * thin + 0.25 * tips
            end = low + tips - 0.25 * ((s * u - 0.9) / 0.4) ** 2
            lock = soft(np.minimum(s * u - inner, outer - s * u), 0.06) * soft(end - v, 0.1) * soft(v + 0.1, 0.1)
            shade(rgb, 0.35, lock * soft(inner + 0.12 - s * u, 0.2))
            alpha = np.maximum(alpha, lock)
        shade(rgb, 0.18, soft(v - low + 0.3, 0.5))
        return layer(rgb, alpha)


def _uneven(r: Random, u: Image, values: int, size: float) -> Image:
    """Return random heights at the positions `u`, interpolated from `values` draws of standard deviation `size`."""
    return floats(np.interp(u, np.linspace(-1.6, 1.6, values), r.normal(0, size, values)))
