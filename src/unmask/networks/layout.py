"""Helpers shared by networks: memory layout of weights, classifiers, and image logits from pixel logits."""

import torch
from torch import Tensor, nn

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # for the weights of 2-D and 3-D convolutions
TOP = 0.01  # an image's logit is the mean of its highest pixel logits; TOP is the share of pixels that are averaged


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters and buffers; the CPU for a network without any."""
    return next((value.device for value in network.state_dict().values()), torch.device("cpu"))


def use_channels_last(network: nn.Module) -> None:
    """Convert convolution weights to channels-last, which is faster on most devices; outputs differ by rounding."""
    for value in (*network.parameters(), *network.buffers()):
        if value.ndim in LAYOUTS:
            value.data = value.data.contiguous(memory_format=LAYOUTS[value.ndim])


def classifier(features: int, dropout: float, hidden: int | None = None) -> nn.Sequential:
    """Build a classifier that maps features [B, features] to logits [B, 1].

    Args:
        features: number of features.
        dropout: dropout probability before the last linear layer, 0 to 1.
        hidden: width of a hidden layer with a ReLU before the dropout; None for a linear classifier.
    """
    first = [] if hidden is None else [nn.Linear(features, hidden), nn.ReLU()]
    return nn.Sequential(*first, nn.Dropout(dropout), nn.Linear(features if hidden is None else hidden, 1))


def of_pictures(maps: Tensor) -> Tensor:
    """Return image logits [B]: the mean of the highest 1 % of each image's pixel logits [B, 1, H, W]."""
    pixels = maps.flatten(1)
    return pixels.topk(max(1, round(TOP * pixels.shape[1])), dim=1).values.mean(1)


def expect_frames(x: Tensor) -> None:
    """Check that x is a batch of frames [B, C, H, W].

    Raises:
        ValueError: x does not have 4 dimensions; the message says which setting to change.
    """
    if x.ndim != 4:
        raise ValueError(f"expected frames [B, 3, H, W], but got {list(x.shape)}: set frames=null")
