"""Figures of a swapped video: how alike the face that was put in is to the one that was there, and how it flickers."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from unmask.metrics import generation

Pixels = NDArray[np.uint8]
Embed = Callable[[Tensor], Tensor]
SIDE = 160  # px that a network of faces sees


class SwapFigures:
    """Gathers, frame by frame, what is told of a video; of the aligned crop of the face, before any mark.

    PSNR and SSIM are those of a reconstruction (A -> A); of a swap they tell how much was changed.

    Args:
        embed: faces [N, 3, 160, 160] in [0, 1] -> embeddings [N, F] by which people are told apart; None for no figure.
    """

    def __init__(self, embed: Embed | None = None) -> None:
        self._embed = embed
        self._values: dict[str, list[float]] = {"psnr": [], "ssim": [], "flicker": []}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add(self, number: int, crop: Pixels, pasted: Pixels, compare: bool = False) -> None:
        """Take a frame: the face as it was and as it is now, both [S, S, 3]; `compare` also asks whose it is."""
        was, made = (torch.from_numpy(np.ascontiguousarray(x)).permute(2, 0, 1) / 255 for x in (crop, pasted))
        self._values["psnr"].append(float(generation.psnr(made[None], was[None])))
        self._values["ssim"].append(float(generation.ssim(made[None], was[None])))
        if self._last is not None and self._last[0] == number - 1:  # of two frames that follow one another
            before = self._last
            pair = torch.stack([before[2], made]), torch.stack([before[1], was])
            self._values["flicker"].append(float(generation.flicker(*pair)))
        self._last = (number, was, made)
        if compare and self._embed is not None:
            faces = interpolate(torch.stack([made, was]), (SIDE, SIDE), mode="bilinear", antialias=True)
            ours, theirs = self._embed(faces)
            self._values.setdefault("identity", []).append(float(generation.identity(ours[None], theirs[None])))

    def means(self) -> dict[str, float | None]:
        """The mean of each figure over its frames; None where there was none to take."""
        return {name: float(np.mean(found)) if found else None for name, found in self._values.items()}
