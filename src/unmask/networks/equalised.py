"""Layers of style-based networks: an equalised learning rate, smooth resampling, and a scaled activation."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, linear

SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2)  # factor after a leaky ReLU that keeps the mean square of normal values about the same
TAPS = (1.0, 3.0, 3.0, 1.0)  # binomial filter that is applied before or after resampling by 2, in each direction


class EqualisedLinear(nn.Module):
    """A linear layer with an equalised learning rate (arXiv 1710.10196, section 4.1).

    The weights are stored with the standard deviation 1 / rate and are scaled by rate / sqrt(inside) when they are
    used. All layers therefore learn equally fast with Adam, and a layer with `rate` 0.01 learns a hundred times slower.

    Args:
        inside: length of the input vectors.
        outside: length of the output vectors.
        rate: factor of the learning rate.
        bias: initial value of the biases.
    """

    def __init__(self, inside: int, outside: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside) / rate)
        self.bias = nn.Parameter(torch.full((outside,), bias / rate))
        self.rate, self.scale = rate, rate / math.sqrt(inside)

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors [B, inside] to [B, outside]."""
        return linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualisedConv(nn.Module):
    """A convolution with an equalised learning rate, which keeps the side of its input or halves it.

    Args:
        inside: number of input channels.
        outside: number of output channels.
        kernel: side of the kernel, px; an odd number.
        down: whether to halve the side, after a low-pass filter (arXiv 1904.11486).
        bias: whether to add a bias to each channel.
    """

    def __init__(self, inside: int, outside: int, kernel: int, down: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside)) if bias else None
        self.scale, self.pad, self.down = 1 / math.sqrt(inside * kernel**2), kernel // 2, down

    def forward(self, x: Tensor) -> Tensor:
        """Convolve feature maps [B, inside, S, S] -> [B, outside, S, S], or [B, outside, S / 2, S / 2] if `down`."""
        weight = self.weight * self.scale
        if not self.down:
            return conv2d(x, weight, self.bias, padding=self.pad)
        if self.pad == 0:  # filtering only the pixels that are kept gives the same result
            return conv2d(smooth(x, 1, stride=2), weight, self.bias)
        return conv2d(smooth(x, 1 + self.pad), weight, self.bias, stride=2)


def activate(x: Tensor) -> Tensor:
    """Apply a leaky ReLU, scaled by sqrt(2)."""
    return leaky_relu(x, SLOPE) * GAIN


def smooth(x: Tensor, pad: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter feature maps [B, C, H, W] with the binomial filter of 4 x 4 px.

    Args:
        x: the feature maps.
        pad: number of zeros at each border; the result has H + 2 pad - 3 rows if `stride` is 1.
        stride: distance of the filtered pixels, px.
        gain: factor of the result.
    """
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) * (gain / sum(TAPS) ** 2)
    return conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), stride=stride, padding=pad, groups=x.shape[1])


def unit(x: Tensor) -> Tensor:
    """Scale vectors [B, L] to a mean square of 1."""
    scaled: Tensor = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    return scaled


def stage_channels(filters: int, most: int, stages: int) -> list[int]:
    """Return the channels of each stage, highest resolution first: `filters`, doubled per stage up to `most`."""
    return [min(filters * 2**at, most) for at in range(stages)]
