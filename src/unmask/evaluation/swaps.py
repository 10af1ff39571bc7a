"""Metrics of a face-swapped video: similarity of swapped and original faces, and flicker.

LPIPS is optional, because its weights file may be missing.
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
SIDE = 160  # px: input size of the face-recognition network


class SwapFigures:
    """Accumulate the metrics of a video frame by frame, from aligned face crops without a watermark or label.

    If a face is swapped to the same person, PSNR, SSIM and LPIPS measure the quality of the reconstruction. Otherwise,
    they measure how much the face was changed.

    Args:
        compare: further metrics by name, computed only on some frames. Each is a function: swapped faces, original
            faces, both [N, 3, S, S] in [0, 1] -> values [N].
    """

    def __init__(self, compare: Compare | None = None) -> None:
        self._compare = compare or {}
        self._values: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "flicker", *self._compare)}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Add a frame: its face before and after the swap [S, S, 3]; `compare` also computes the further metrics."""
        was, made = (torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) / 255 for x in (crop, pasted))
        self._values["psnr"].append(float(generation.psnr(made[None], was[None])))
        self._values["ssim"].append(float(generation.ssim(made[None], was[None])))
        if self._last is not None and self._last[0] == number - 1:  # flicker needs consecutive frames
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
    """Build the argument `compare` of `SwapFigures`: `identity` and LPIPS; a metric without weights is left out.

    Args:
        identity: config of a face-recognition network; if it is None or has no weights, the metric is left out.
        lpips: config of `networks.perceptual.LPIPS`.
        size: side length of the face crops, px.
    """
    found: Compare = {}
    if identity is not None and not (identity["weights"] is None and identity["pretrained"] is None):
        found["identity"] = likeness(build(identity))
    distance, _ = find_lpips(lpips, size)
    if distance is not None:
        found[distance.name] = distance
    return found


def likeness(embed: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a metric of identity similarity: `generation.identity` of the embeddings of two faces.

    Args:
        embed: face-recognition network: faces [N, 3, 160, 160] in [0, 1] -> embeddings [N, F].
    """
    embed.eval()

    @torch.no_grad()
    def measure(made: Tensor, was: Tensor) -> Tensor:
        faces = interpolate(torch.cat([made, was]), (SIDE, SIDE), mode="bilinear", antialias=True)
        ours, theirs = embed(faces).chunk(2)
        return generation.identity(ours, theirs)

    return measure


def find_lpips(settings: Settings, size: int) -> tuple[Any, str]:
    """Build LPIPS for images of `size` x `size` px.

    Returns:
        (LPIPS, ""), or (None, the reason why LPIPS is unavailable).

    Raises:
        WeightsNotFound: the weights file that the config names does not exist.
    """
    lpips = build(settings)
    if size < SMALLEST:
        return None, f"not run: LPIPS needs pictures of at least {SMALLEST} px, got {size} px"
    try:
        lpips.name  # noqa: B018 - this property looks for the weights file
    except WeightsNotFound as error:
        if settings["weights"] is not None:
            raise
        return None, f"not run: {str(error).splitlines()[0]}; set lpips.weights=PATH or lpips.download=true"
    return lpips, ""
