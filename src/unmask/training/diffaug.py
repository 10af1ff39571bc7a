"""Differentiable augmentation, which prevents a discriminator from memorising a small data set."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from unmask.training.draws import OWN, Draws


class Augment(Protocol):
    """Differentiable augmentation of the images that a discriminator sees."""

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        """Augment images [B, 3, S, S] in [-1, 1] -> same shape."""

    def watch(self, sign: Tensor, count: int) -> None:
        """Take note of a training batch, after which the strength may change.

        Args:
            sign: mean sign of the scores of the batch's real images, in all processes; larger scores mean real.
            count: number of these images.
        """

    def state(self) -> dict[str, Tensor]:
        """Return values to log, each under its name, equal in all processes."""


class DiffAugment(nn.Module):
    """Randomly change the colours of real and generated images, shift them and cut out a square (arXiv 2006.10738).

    Gradients flow through the augmentation to the generator, so the generator does not learn to augment its images.

    Args:
        colour: whether to change colours: brightness is shifted by up to 0.5, saturation is multiplied by a factor in
            [0, 2], and contrast is multiplied by a factor in [0.5, 1.5].
        shift: maximum translation in each direction, as a share of the side; the gap is filled with grey (0).
        cutout: side of the grey square, as a share of the image's side; the square's centre can be anywhere.
    """

    def __init__(self, colour: bool = True, shift: float = 0.125, cutout: float = 0.5) -> None:
        super().__init__()
        if not (0 <= shift < 1 and 0 <= cutout < 1):
            raise ValueError(f"shift={shift}, cutout={cutout}: expected both to be from 0 to below 1")
        self.colour, self.shift, self.cutout = colour, shift, cutout

    def forward(self, x: Tensor, draws: Draws = OWN) -> Tensor:
        """Augment images [B, 3, S, S] in [-1, 1] -> same shape; each image gets its own random changes."""
        if self.colour:
            x = _colours(x, draws)
        side = x.shape[-1]
        if reach := round(self.shift * side):
            x = _shifted(x, reach, draws)
        if size := round(self.cutout * side):
            x = x * ~square(x, size, draws)
        return x

    def watch(self, sign: Tensor, count: int) -> None:
        """Do nothing, because the strength is fixed."""

    def state(self) -> dict[str, Tensor]:
        """Return nothing to log."""
        return {}


def _colours(x: Tensor, draws: Draws) -> Tensor:
    brightness, saturation, contrast = draws.uniform(x, 3, 1, 1, 1).to(x.dtype).unbind(1)
    x = x + brightness - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    changed: Tensor = mean + (x - mean) * (contrast + 0.5)
    return changed


def _shifted(x: Tensor, reach: int, draws: Draws) -> Tensor:
    side = x.shape[-1]
    padded = pad(x, [reach] * 4)
    down, right = draws.integers(2 * reach + 1, x, 2, 1).unbind(1)
    at = torch.arange(side, device=x.device)
    rows = padded.gather(2, (at + down)[:, None, :, None].expand(-1, x.shape[1], -1, padded.shape[3]))
    return rows.gather(3, (at + right)[:, None, None, :].expand(-1, x.shape[1], side, -1))


def square(x: Tensor, size: int, draws: Draws) -> Tensor:
    """Return bool masks [B, 1, S, S] for images x [B, 3, S, S]; true in a square of `size` px with a random centre."""
    side = x.shape[-1]
    at = torch.arange(side, device=x.device)
    top, left = (draws.integers(side + 1 - size % 2, x, 2, 1) - size // 2).unbind(1)
    down, across = ((at >= first) & (at < first + size) for first in (top, left))
    inside: Tensor = down[:, :, None] & across[:, None, :]
    return inside[:, None]
