"""Histograms of noise residuals: hand-crafted features for a linear classifier.

A small variant of the spatial rich model ("Rich Models for Steganalysis of Digital Images", Fridrich and Kodovsky 2012,
doi 10.1109/TIFS.2012.2190402). As in the paper, residuals are quantised and clipped. Unlike the paper, which counts
groups of four neighbours, this module counts single residuals. It computes separate histograms for each cell of a grid,
because a local edit, such as a changed eye, affects only nearby residuals.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unmask.networks.cnn import high_pass

MAPS = 18  # number of residual maps: six filters for each of three colours


def _filters() -> Tensor:
    """Return six filters [6, 1, 5, 5]: the four of `cnn.high_pass`, and horizontal and vertical first differences."""
    first = torch.zeros(2, 1, 5, 5)
    first[0, 0, 2, 1:3] = first[1, 0, 1:3, 2] = torch.tensor([-1.0, 1.0])
    return torch.cat([high_pass(), first])


class ResidualHistogram(nn.Module):
    """Compute histograms of noise residuals: one for each grid cell, filter and colour.

    The class has the same interface as the encoders in `encoders.py`. The three colours are the mean of the channels,
    red minus green, and blue minus green. Features are square roots of relative frequencies, so that the Euclidean
    distance of two feature vectors is proportional to their Hellinger distance. If `grid` is above 1, faces must be
    aligned (data.recipe.align=true).

    Args:
        truncate: maximum absolute residual in grey levels (of 255); larger residuals are clipped.
        grid: number of cells per side; 1 treats the whole frame as one cell.
        channels: number of input channels: 3 per RGB image, with images stacked in the channel dimension.

    Raises:
        ValueError: `truncate` or `grid` is below 1, or `channels` is not a multiple of 3.
    """

    filters: Tensor

    def __init__(self, truncate: int = 4, grid: int = 4, channels: int = 3) -> None:
        super().__init__()
        if truncate < 1 or grid < 1:
            raise ValueError(f"truncate={truncate}, grid={grid}: expected whole numbers above 0")
        if channels % 3:
            raise ValueError(f"channels={channels}: expected a multiple of 3")
        self.truncate, self.grid, self.channels = truncate, grid, channels
        self.num_features = channels // 3 * MAPS * (2 * truncate + 1) * grid**2
        self.register_buffer("filters", _filters().repeat(3, 1, 1, 1), persistent=False)

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"truncate={self.truncate}, grid={self.grid}, channels={self.channels}"

    def residuals(self, x: Tensor) -> Tensor:
        """Return rounded, clipped residuals [N, 18, H, W] of frames x [N, 3, H, W] in [0, 1]: six maps per colour."""
        red, green, blue = (255 * x.float()).unbind(1)
        colours = torch.stack([(red + green + blue) / 3, red - green, blue - green], dim=1)
        with torch.autocast(x.device.type, enabled=False):  # half precision cannot resolve grey levels
            levels = conv2d(pad(colours, (2, 2, 2, 2), mode="reflect"), self.filters.float(), groups=3)
        return levels.round().clamp(-self.truncate, self.truncate)

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N, num_features] of x [N, channels, H, W] in [0, 1]; H and W must be at least `grid`."""
        levels = self.residuals(x.reshape(-1, 3, *x.shape[2:]))
        # If the grid does not divide a side, the last rows or columns belong to no cell.
        side = (levels.shape[2] // self.grid, levels.shape[3] // self.grid)
        cells = levels.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])  # [N, 18, grid, grid, h, w]
        values = range(-self.truncate, self.truncate + 1)
        shares = torch.stack([(cells == value).float().mean((4, 5)) for value in values], dim=1)
        return shares.sqrt().reshape(len(x), self.num_features)
