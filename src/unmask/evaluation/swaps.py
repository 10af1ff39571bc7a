"""Metrics of a face-swapped video: similarity of swapped and original faces, and flicker.

A metric whose weights are missing is not run; the reason and the fix take the place of its value.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.config import Settings
from unmask.config.build import build
from unmask.metrics import generation
from unmask.networks.perceptual import SMALLEST
from unmask.networks.weights import WeightsNotFound

Pixels = NDArray[np.uint8]
Compare = dict[str, Callable[[Tensor, Tensor], Tensor]]
Embed = Callable[[Tensor], Tensor]  # faces [N, 3, S, S] in [0, 1] -> embeddings [N, F]
SIDE = 160  # px: input size of the face-recognition network


class SwapFigures:
    """Accumulates the metrics of a swapped video frame by frame, from aligned face crops without watermark or label.

    If a face is swapped to the same person, PSNR, SSIM and LPIPS measure the quality of the reconstruction. Otherwise,
    they measure how much the face was changed.

    Args:
        compare: further metrics by name, computed only on some frames. Each is a function: swapped faces, original
            faces, both [N, 3, S, S] in [0, 1] -> values [N].
        missing: reasons why other metrics are not run, by name.
    """

    def __init__(self, compare: Compare | None = None, missing: Mapping[str, str] | None = None) -> None:
        self._compare, self._missing = compare or {}, dict(missing or {})
        self._values: dict[str, list[float]] = {name: [] for name in ("psnr", "ssim", "flicker", *self._compare)}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Add a frame: its face [S, S, 3] before and after the swap; `compare` also computes the further metrics."""
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

    def means(self) -> dict[str, float | str | None]:
        """Return the mean of each metric over the frames on which it was computed; None if there are no such frames.

        For a metric that was not run, return the reason.
        """
        means = {name: float(np.mean(found)) if found else None for name, found in self._values.items()}
        return means | self._missing


def comparisons(identity: Settings, lpips: Settings, size: int) -> tuple[Compare, dict[str, str]]:
    """Build the argument `compare` of `SwapFigures`: identity similarity and LPIPS.

    Args:
        identity: config of a face-recognition network, see `find_identity`.
        lpips: config of `networks.perceptual.LPIPS`.
        size: side length of the face crops, px.

    Returns:
        The metrics whose weights were found, and the reasons why the others are not run, both by name.
    """
    found, missing = Compare(), dict[str, str]()
    network, missing["identity"] = find_identity(identity)
    if network is not None:
        found["identity"] = likeness(network)
    distance, reason = find_lpips(lpips, size)
    name = f"lpips_{lpips['net']}" if distance is None else distance.name
    missing[name] = reason
    if distance is not None:
        found[name] = distance
    return found, {name: reason for name, reason in missing.items() if reason}


def recogniser(embed: nn.Module) -> Embed:
    """Return a function that resizes faces [N, 3, S, S] in [0, 1] and embeds them [N, F].

    Args:
        embed: face-recognition network: faces [N, 3, 160, 160] in [0, 1] -> embeddings [N, F].
    """
    embed.eval()

    @torch.no_grad()
    def recognise(faces: Tensor) -> Tensor:
        found: Tensor = embed(interpolate(faces.float(), (SIDE, SIDE), mode="bilinear", antialias=True))
        return found

    return recognise


def likeness(embed: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a metric of identity similarity: `generation.identity` of the embeddings of two faces.

    Args:
        embed: see `recogniser`.
    """
    recognise = recogniser(embed)

    def measure(made: Tensor, was: Tensor) -> Tensor:
        ours, theirs = recognise(torch.cat([made, was])).chunk(2)
        return generation.identity(ours, theirs)

    return measure


def find_identity(settings: Settings) -> tuple[nn.Module | None, str]:
    """Build the face-recognition network that measures identity similarity.

    Returns:
        (network, ""), or (None, the reason why the metric is not run).

    Raises:
        WeightsNotFound: the weights that the config names do not exist.
    """
    if settings["weights"] is None and settings["pretrained"] is None:
        return None, (
            "not run: needs weights of InceptionResnetV1; set identity.weights=PATH, or identity.pretrained=vggface2 "
            "to download them once"
        )
    return build(settings), ""


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
