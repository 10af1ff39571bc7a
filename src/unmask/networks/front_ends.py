"""Filters in front of a frame network. They suppress image content, so that the network sees noise and texture.

All filters map RGB frames in [0, 1] to three channels around 0.5, so that they also fit networks pretrained on RGB.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unmask.networks.cnn import high_pass
from unmask.networks.layout import expect_frames

GREY = 0.5  # value of a channel where a filter does not respond


class FrontEnd(nn.Module):
    """Apply filters to frames, then classify the result with a network.

    Args:
        filters: maps float [B, 3, H, W] in [0, 1] to the same shape.
        network: maps frames [B, 3, H, W] to logits [B].
    """

    def __init__(self, filters: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.filters, self.network = filters, network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        expect_frames(x)
        logit: Tensor = self.network(self.filters(x))
        return logit


class HighPass(nn.Module):
    """Subtract a Gaussian-blurred copy of a frame from the frame, in each channel.

    Args:
        sigma: standard deviation of the blur, px.
        gain: factor by which the difference is multiplied; the result is shifted by 0.5 and clipped to [0, 1].
    """

    kernel: Tensor

    def __init__(self, sigma: float = 1.0, gain: float = 4.0) -> None:
        super().__init__()
        if sigma <= 0 or gain <= 0:
            raise ValueError(f"sigma={sigma}, gain={gain}: expected numbers above 0")
        self.gain, self.radius = gain, max(1, round(3 * sigma))
        at = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        line = torch.exp(-(at**2) / (2 * sigma**2))
        kernel = line[:, None] * line / line.sum() ** 2  # [K, K], its sum is 1
        self.register_buffer("kernel", kernel.expand(3, 1, -1, -1).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter frames x [B, 3, H, W] in [0, 1] -> the same shape and range."""
        blurred = conv2d(_padded(x, self.radius), self.kernel.to(x.dtype), groups=3)
        return (GREY + self.gain * (x - blurred)).clamp(0, 1)


class Srm(nn.Module):
    """Apply three filters of the spatial rich model to the mean of R, G and B.

    The selection of the filters follows "Learning Rich Features for Image Manipulation Detection", Zhou et al. 2018
    (arXiv 1805.04953).

    Args:
        truncate: largest absolute residual in grey levels (of 255); larger residuals are clipped.
    """

    filters: Tensor

    def __init__(self, truncate: float = 3.0) -> None:
        super().__init__()
        if truncate <= 0:
            raise ValueError(f"truncate={truncate}: expected a number of grey levels above 0")
        self.truncate = truncate
        self.register_buffer("filters", high_pass()[[0, 2, 3]], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter frames x [B, 3, H, W] in [0, 1] -> three residuals in the same shape and range."""
        levels = 255 * conv2d(_padded(x.mean(1, keepdim=True), 2), self.filters.to(x.dtype))
        return GREY + GREY * (levels / self.truncate).clamp(-1, 1)


class ConstrainedConv(nn.Module):
    """Apply learned 5x5 prediction filters: the centre weight is -1, and the other weights sum to 1.

    "A Deep Learning Approach to Universal Image Manipulation Detection Using a New Convolutional Layer", Bayar and
    Stamm 2016 (doi 10.1145/2909827.2930786). The paper enforces the constraint after each optimizer step. Here, the
    constraint is part of the forward pass, so that any optimizer can be used.

    Args:
        gain: factor by which the prediction error is multiplied.
    """

    centre: Tensor

    def __init__(self, gain: float = 4.0) -> None:
        super().__init__()
        if gain <= 0:
            raise ValueError(f"gain={gain}: expected a number above 0")
        self.gain = gain
        self.weight = nn.Parameter(torch.rand(3, 3, 5, 5))
        centre = torch.zeros(1, 1, 5, 5)
        centre[..., 2, 2] = 1
        self.register_buffer("centre", centre, persistent=False)

    def constrained(self) -> Tensor:
        """Return the filters [3, 3, 5, 5] that satisfy the constraint."""
        others = self.weight * (1 - self.centre)
        return others / others.sum((2, 3), keepdim=True) - self.centre

    def forward(self, x: Tensor) -> Tensor:
        """Filter frames x [B, 3, H, W] in [0, 1] -> three prediction errors around 0.5, [B, 3, H, W]."""
        return GREY + self.gain * conv2d(_padded(x, 2), self.constrained().to(x.dtype))


def _padded(x: Tensor, radius: int) -> Tensor:
    return pad(x, (radius, radius, radius, radius), mode="reflect")
