"""Histograms of noise residuals: what a linear classifier reads that knows nothing of deep learning.

A small relative of the spatial rich model ("Rich Models for Steganalysis of Digital Images", Fridrich and Kodovsky
2012, doi 10.1109/TIFS.2012.2190402): its residuals, quantised and cut off, but counted one by one where the paper
counts four neighbours together, and apart in each cell of a grid, since an edited eye changes its surroundings only.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unmask.networks.cnn import high_pass

MAPS = 18  # six filters, three colours


def _filters() -> Tensor:
    """The CNN's four and the two first differences [6, 1, 5, 5]."""
    first = torch.zeros(2, 1, 5, 5)
    first[0, 0, 2, 1:3] = first[1, 0, 1:3, 2] = torch.tensor([-1.0, 1.0])
    return torch.cat([high_pass(), first])


class ResidualHistogram(nn.Module):
    """Count the residuals of each cell of a frame, by filter and colour; an encoder as those of `encoders.py`.

    Colours are the mean of the channels, red less green, and blue less green. Features are square roots of shares, so
    that their distances are Hellinger's. Cells mean something where faces are aligned (data.recipe.align=true).

    Args:
        truncate: residuals are rounded, and cut off at so many grey levels of 255.
        grid: cells a side; 1 counts over the whole frame.
        channels: of the input, three a picture.

    Raises:
        ValueError: one of them is not above 0, or channels are not of whole pictures.
    """

    filters: Tensor

    def __init__(self, truncate: int = 4, grid: int = 4, channels: int = 3) -> None:
        super().__init__()
        if truncate < 1 or grid < 1:
            raise ValueError(f"truncate={truncate}, grid={grid}: expected whole numbers above 0")
        if channels % 3:
            raise ValueError(f"channels={channels}: residuals are of pictures of three channels each")
        self.truncate, self.grid, self.channels = truncate, grid, channels
        self.num_features = channels // 3 * MAPS * (2 * truncate + 1) * grid**2
        self.register_buffer("filters", _filters().repeat(3, 1, 1, 1), persistent=False)

    def extra_repr(self) -> str:
        """What tells two of these apart."""
        return f"truncate={self.truncate}, grid={self.grid}, channels={self.channels}"

    def residuals(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] in [0, 1] -> whole grey levels from -truncate to truncate [N, 18, H, W], six a colour."""
        red, green, blue = (255 * x.float()).unbind(1)
        colours = torch.stack([(red + green + blue) / 3, red - green, blue - green], dim=1)
        with torch.autocast(x.device.type, enabled=False):  # half precision would not tell grey levels apart
            levels = conv2d(pad(colours, (2, 2, 2, 2), mode="reflect"), self.filters.float(), groups=3)
        return levels.round().clamp(-self.truncate, self.truncate)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, channels, H, W] in [0, 1], at least `grid` px a side -> [N, num_features]."""
        levels = self.residuals(x.reshape(-1, 3, *x.shape[2:]))
        # A side that the grid does not divide gives its last rows and columns to no cell.
        side = (levels.shape[2] // self.grid, levels.shape[3] // self.grid)
        cells = levels.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])  # [N, 18, grid, grid, h, w]
        values = range(-self.truncate, self.truncate + 1)
        shares = torch.stack([(cells == value).float().mean((4, 5)) for value in values], dim=1)
        return shares.sqrt().reshape(len(x), self.num_features)
