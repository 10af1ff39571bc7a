"""Metrics of a swapped video: similarity of the swapped face to the original one, and flicker.

LPIPS is optional here and elsewhere, since it needs a weights file that may be missing.
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
    """Accumulates the metrics of a video frame by frame, on the aligned face crop, before any mark.

    For a reconstruction (A -> A), PSNR, SSIM and LPIPS measure its quality; for a swap, how much was changed.

    Args:
        compare: further metrics by name, (made, was), both [N, 3, S, S] in [0, 1] -> [N]; computed on some frames.
    """

    def __init__(self, compare: Compare | None = None) -> None:
        self._compare = compare or {}
        self._values: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "flicker", *self._compare)}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Add a frame: the face before and after, both [S, S, 3]; `compare` also computes the further metrics."""
        was, made = (torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) / 255 for x in (crop, pasted))
        self._values["psnr"].append(float(generation.psnr(made[None], was[None])))
        self._values["ssim"].append(float(generation.ssim(made[None], was[None])))
        if self._last is not None and self._last[0] == number - 1:  # consecutive frames only
            before = self._last
            pair = torch.stack([before[2], made]), torch.stack([before[1], was])
            self._values["flicker"].append(float(generation.flicker(*pair)))
        self._last = (number, was, made)
        if compare:
            for name, measure in self._compare.items():
                self._values[name].append(float(measure(made[None], was[None])))

    def means(self) -> dict[str, float | None]:
        """Return the mean of each metric over its frames; None if there are none."""
        return {name: float(np.mean(found)) if found else None for name, found in self._values.items()}


def comparisons(identity: Settings | None, lpips: Settings, size: int) -> Compare:
    """Build the further metrics whose weights are available or given.

    Args:
        identity: config of a face-recognition network; skipped if it gives no weights.
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
    """Return a metric of whether two faces are the same person: `generation.identity` of their embeddings.

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
    """Build LPIPS for images of `size` px, or return None and why it is unavailable.

    Raises:
        WeightsNotFound: a weights file was given and is missing.
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
