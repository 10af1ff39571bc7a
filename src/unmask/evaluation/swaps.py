"""Figures of a swapped video: how alike the face that was put in is to the one that was there, and how it flickers.

Beside them LPIPS, wherever it is told: it wants a file that may not be at hand.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from unmask.config import Settings
from unmask.config.build import build
from unmask.metrics import generation
from unmask.networks.perceptual import SMALLEST
from unmask.networks.weights import WeightsNotFound

Pixels = NDArray[np.uint8]
Compare = dict[str, Callable[[Tensor, Tensor], Tensor]]
SIDE = 160  # px that a network of faces sees


class SwapFigures:
    """Collects, frame by frame, the figures of a video; of the aligned crop of the face, before any mark.

    PSNR, SSIM and LPIPS are those of a reconstruction (A -> A); of a swap they tell how much was changed.

    Args:
        compare: further measures by name, (made, was), both [N, 3, S, S] in [0, 1] -> [N]; taken of some frames.
    """

    def __init__(self, compare: Compare | None = None) -> None:
        self._compare = compare or {}
        self._values: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "flicker", *self._compare)}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Take a frame: the face as it was and as it is now, both [S, S, 3]; `compare`: by the further measures too."""
        was, made = (torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) / 255 for x in (crop, pasted))
        self._values["psnr"].append(float(generation.psnr(made[None], was[None])))
        self._values["ssim"].append(float(generation.ssim(made[None], was[None])))
        if self._last is not None and self._last[0] == number - 1:  # of two frames that follow one another
            before = self._last
            pair = torch.stack([before[2], made]), torch.stack([before[1], was])
            self._values["flicker"].append(float(generation.flicker(*pair)))
        self._last = (number, was, made)
        if compare:
            for name, measure in self._compare.items():
                self._values[name].append(float(measure(made[None], was[None])))

    def means(self) -> dict[str, float | None]:
        """The mean of each figure over its frames; None where there was none to take."""
        return {name: float(np.mean(found)) if found else None for name, found in self._values.items()}


def comparisons(identity: Settings | None, lpips: Settings, size: int) -> Compare:
    """The further measures whose weights are at hand or named.

    Args:
        identity: describes a network of faces; left out where it names no weights.
        lpips: describes `networks.perceptual.LPIPS`.
        size: of the faces, px.
    """
    found: Compare = {}
    if identity is not None and not (identity["weights"] is None and identity["pretrained"] is None):
        found["identity"] = likeness(build(identity))
    distance, _ = find_lpips(lpips, size)
    if distance is not None:
        found[distance.name] = distance
    return found


def likeness(embed: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A measure of whether two faces are one person's: `generation.identity` of their embeddings.

    Args:
        embed: faces [N, 3, 160, 160] in [0, 1] -> embeddings [N, F] by which people are told apart.
    """
    embed.eval()

    @torch.no_grad()
    def measure(made: Tensor, was: Tensor) -> Tensor:
        faces = interpolate(torch.cat([made, was]), (SIDE, SIDE), mode="bilinear", antialias=True)
        ours, theirs = embed(faces).chunk(2)
        return generation.identity(ours, theirs)

    return measure


def find_lpips(settings: Settings, size: int) -> tuple[Any, str]:
    """LPIPS for pictures of `size` px, or None and why it cannot be had.

    Raises:
        WeightsNotFound: a file was named, and is not there.
    """
    lpips = build(settings)
    if size < SMALLEST:
        return None, f"not run: pictures of {size} px are below its {SMALLEST} px"
    try:
        lpips.name  # noqa: B018 - looks for its file
    except WeightsNotFound as error:
        if settings["weights"] is not None:
            raise
        return None, f"not run: {str(error).splitlines()[0]}; lpips.weights=PATH, or lpips.download=true"
    return lpips, ""
