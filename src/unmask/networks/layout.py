"""What detectors' networks share: the memory layout of their weights, and the score of a picture of maps."""

import torch
from torch import Tensor, nn

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # of the weights of frames, of clips
TOP = 0.01  # share of a picture's pixels whose mean logit is the picture's


def use_channels_last(network: nn.Module) -> None:
    """Keep convolutions' weights with channels last, which most devices run faster; figures differ by rounding only."""
    for value in (*network.parameters(), *network.buffers()):
        if value.ndim in LAYOUTS:
            value.data = value.data.contiguous(memory_format=LAYOUTS[value.ndim])


def of_pictures(maps: Tensor) -> Tensor:
    """Logits of pixels [B, 1, H, W] -> of pictures [B]: the mean of the highest hundredth."""
    pixels = maps.flatten(1)
    return pixels.topk(max(1, round(TOP * pixels.shape[1])), dim=1).values.mean(1)
