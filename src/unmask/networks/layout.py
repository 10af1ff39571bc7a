"""Helpers shared by detector networks: memory layout of weights, and image scores from pixel maps."""

import torch
from torch import Tensor, nn

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # for the weights of 2-D and 3-D convolutions
TOP = 0.01  # share of an image's pixels, those with the highest logits, whose mean is the image's logit


def use_channels_last(network: nn.Module) -> None:
    """Convert convolution weights to channels-last, which is faster on most devices; results differ by rounding."""
    for value in (*network.parameters(), *network.buffers()):
        if value.ndim in LAYOUTS:
            value.data = value.data.contiguous(memory_format=LAYOUTS[value.ndim])


def of_pictures(maps: Tensor) -> Tensor:
    """Pixel logits [B, 1, H, W] -> image logits [B]: the mean of each image's highest 1 % of pixel logits."""
    pixels = maps.flatten(1)
    return pixels.topk(max(1, round(TOP * pixels.shape[1])), dim=1).values.mean(1)
