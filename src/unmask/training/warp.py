"""Bend pictures smoothly: a face swapper sees bent faces and is to give straight ones, so that it learns the face."""

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate


class RandomWarp(nn.Module):
    """Each picture by a draw of its own, from torch's generator: so a step's seed decides it.

    Args:
        strength: typical displacement of a knot, share of the side.
        knots: a side; between them the displacement goes smoothly.
    """

    def __init__(self, strength: float = 0.03, knots: int = 5) -> None:
        super().__init__()
        if strength < 0 or knots < 2:
            raise ValueError(f"strength={strength}, knots={knots}: expected a share of 0 or more and at least 2 knots")
        self.strength, self.knots = strength, knots

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, S, S] -> the same shape."""
        if not self.strength:
            return x
        drawn = torch.randn(len(x), 2, self.knots, self.knots, device=x.device)
        return warp(x, self.strength * drawn)


def warp(x: Tensor, knots: Tensor) -> Tensor:
    """Fetch each pixel from where its place is moved to; beyond the border its edge goes on.

    Args:
        x: [B, C, S, S].
        knots: how far right and down, shares of the side, at K by K knots from corner to corner [B, 2, K, K].
    """
    moved = interpolate(knots.float(), x.shape[-2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = torch.eye(2, 3, device=x.device).expand(len(x), 2, 3)
    # The grid runs from -1 to 1 over the side: twice the share.
    places = affine_grid(still, list(x.shape), align_corners=False) + 2 * moved
    return grid_sample(x.float(), places, padding_mode="border", align_corners=False).to(x.dtype)
