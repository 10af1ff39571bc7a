"""Metrics of a swapped video: similarity of the swapped face and the original face, and flicker.

LPIPS is optional, because it needs a weights file that may be missing.
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
SIDE = 160  # px, input of a face-recognition network


class SwapFigures:
    """Accumulates the metrics of a video frame by frame; they compare aligned face crops that have no mark yet.

    If person A is rendered as A, PSNR, SSIM and LPIPS measure the quality of the reconstruction. If A is rendered as
    another person, they measure how much the face was changed.

    Args:
        compare: further metrics by name, which are computed on some frames only: (swapped faces, original faces), both
            [N, 3, S, S] in [0, 1] -> [N].
    """

    def __init__(self, compare: Compare | None = None) -> None:
        self._compare = compare or {}
        self._values: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "flicker", *self._compare)}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Add a frame by its face before and after the swap [S, S, 3]; if `compare`, also compute further metrics."""
        was, made = (torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) / 255 for x in (crop, pasted))
        self._values["psnr"].append(float(generation.psnr(made[None], was[None])))
        self._values["ssim"].append(float(generation.ssim(made[None], was[None])))
        if self._last is not None and self._last[0] == number - 1:  # flicker is defined for consecutive frames only
            before = self._last
            pair = torch.stack([before[2], made]), torch.stack([before[1], was])
            self._values["flicker"].append(float(generation.flicker(*pair)))
        self._last = (number, was, made)
        if compare:
            for name, measure in self._compare.items():
                self._values[name].append(float(measure(made[None], was[None])))

    def means(self) -> dict[str, float | None]:
        """Return the mean of each metric over the frames on which it was computed; None if there are no such frames."""
        return {name: float(np.mean(found)) if found else None for name, found in self._values.items()}


def comparisons(identity: Settings | None, lpips: Settings, size: int) -> Compare:
    """Build those of the further metrics, `identity` and LPIPS, whose weights are given or available.

    Args:
        identity: config of a face-recognition network; None, or a config without weights, skips this metric.
        lpips: config of `networks.perceptual.LPIPS`.
        size: side of the faces, px.
    """
    found: Compare = {}
    if identity is not None and not (identity["weights"] is None and identity["pretrained"] is None):
        found["identity"] = likeness(build(identity))
    distance, _ = find_lpips(lpips, size)
    if distance is not None:
        found[distance.name] = distance
    return found


def likeness(embed: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a metric of how likely two faces show the same person: `generation.identity` of their embeddings.

    Args:
        embed: faces [N, 3, 160, 160] in [0, 1] -> face-recognition embeddings [N, F].
    """
    embed.eval()

    @torch.no_grad()
    def measure(made: Tensor, was: Tensor) -> Tensor:
        faces = interpolate(torch.cat([made, was]), (SIDE, SIDE), mode="bilinear", antialias=True)
        ours, theirs = embed(faces).chunk(2)
        return generation.identity(ours, theirs)

    return measure


def find_lpips(settings: Settings, size: int) -> tuple[Any, str]:
    """Build LPIPS for images of `size` px.

    Returns:
        LPIPS and an empty string, or None and the reason why LPIPS is unavailable.

    Raises:
        WeightsNotFound: the weights file that the config names does not exist.
    """
    lpips = build(settings)
    if size < SMALLEST:
        return None, f"not run: pictures of {size} px are smaller than its minimum of {SMALLEST} px"
    try:
        lpips.name  # noqa: B018 - this looks for the weights file
    except WeightsNotFound as error:
        if settings["weights"] is not None:
            raise
        return None, f"not run: {str(error).splitlines()[0]}; lpips.weights=PATH, or lpips.download=true"
    return lpips, ""
