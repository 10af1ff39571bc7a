"""Smooth random warps; a face swapper must undo them, so it learns a face's appearance and cannot copy its input."""

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from unmask.training.draws import OWN, Draws


class RandomWarp(nn.Module):
    """Warp each image by a random displacement, which is drawn at the knots of a grid and interpolated between them.

    Args:
        strength: standard deviation of a knot's displacement, as a share of the image's side.
        knots: number of knots per side.
    """

    def __init__(self, strength: float = 0.03, knots: int = 5) -> None:
        super().__init__()
        if strength < 0 or knots < 2:
            raise ValueError(
                f"strength={strength}, knots={knots}: expected a strength of 0 or more and at least 2 knots"
            )
        self.strength, self.knots = strength, knots

    def forward(self, x: Tensor, draws: Draws = OWN) -> Tensor:
        """Warp images [B, 3, S, S] -> same shape; the displacements come from `draws`."""
        if not self.strength:
            return x
        return warp(x, self.strength * draws.normal(x, 2, self.knots, self.knots))


def warp(x: Tensor, knots: Tensor) -> Tensor:
    """Sample each pixel at a displaced position; positions outside the image get the nearest border pixel.

    Args:
        x: images [B, C, S, S].
        knots: displacements to the right and down [B, 2, K, K], as shares of the side; the K x K knots are spread
            evenly over the image, with knots at its corners.
    """
    moved = interpolate(knots.float(), x.shape[-2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = torch.eye(2, 3, device=x.device).expand(len(x), 2, 3)
    # The grid runs from -1 to 1 over the side, hence the factor 2.
    places = affine_grid(still, list(x.shape), align_corners=False) + 2 * moved
    return grid_sample(x.float(), places, padding_mode="border", align_corners=False).to(x.dtype)
