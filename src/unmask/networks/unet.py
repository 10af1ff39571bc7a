"""U-Net: an encoder (any image model of timm), and a small decoder that classifies each pixel as manipulated or not.

After "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv 1505.04597. Unlike in the paper, the
encoder is configurable, and the decoder resizes its feature maps to the size of the encoder's feature maps, so that the
sides of frames need not be powers of two.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.networks.encoders import Stages, TimmEncoder
from unmask.networks.layout import expect_frames

LEVELS = 5  # maximum number of encoder stages used; a vision transformer has one stage per block


class UNet(nn.Module):
    """Predict pixel logits [B, 1, H, W] of frames [B, 3, H, W] in [0, 1]; positive means manipulated.

    Args:
        encoder: a callable with the argument `channels` that builds a `TimmEncoder`. The decoder reads the feature maps
            of all encoder stages, or of 5 stages spread over the encoder if it has more.
        width: channels of the decoder at the highest resolution; they double at each lower resolution.

    Raises:
        ValueError: the encoder cannot return the feature maps of its stages, or `encoder` is a module rather than a
            callable that builds one.
    """

    def __init__(self, encoder: Callable[..., nn.Module], width: int = 16) -> None:
        super().__init__()
        if isinstance(encoder, nn.Module):
            raise ValueError("encoder must be a factory, not a built module (in a config, add _partial_: true)")
        built = encoder(channels=3)
        if not isinstance(built, TimmEncoder) or not isinstance(stages := built.network, Stages):
            raise ValueError(
                f"expected a timm encoder that returns the feature maps of its stages, but got {type(built).__name__}: "
                "set module/network/encoder=timm, and encoder.name to a model that has forward_intermediates"
            )
        self.encoder = built
        last = len(stages.feature_info) - 1
        count = min(LEVELS, last + 1)
        self.levels = [round(last * number / max(count - 1, 1)) for number in range(count)]
        # Layers after the last stage are dropped: they would get no gradient, which DDP treats as an error.
        stages.prune_intermediate_layers(self.levels, prune_norm=True, prune_head=True)
        channels = [int(stages.feature_info[level]["num_chs"]) for level in self.levels]
        widths = [width * 2**number for number in range(count)]
        widths[-1] = channels[-1]  # the decoder starts from the encoder's last feature map
        self.decoder = nn.ModuleList(
            _block(widths[number + 1] + channels[number], widths[number]) for number in reversed(range(count - 1))
        )
        self.classifier = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pixel logits [B, 1, H, W] of RGB frames x [B, 3, H, W] in [0, 1]."""
        expect_frames(x)
        normal = (x - self.encoder.mean) / self.encoder.std
        stages = self.encoder.network
        assert isinstance(stages, Stages)
        maps = stages.forward_intermediates(normal, indices=self.levels, intermediates_only=True)
        here: Tensor = maps[-1]
        for block, skip in zip(self.decoder, reversed(maps[:-1]), strict=True):
            here = block(torch.cat([_to(here, skip), skip], dim=1))
        return _to(self.classifier(here), x)


def _block(inside: int, outside: int) -> nn.Sequential:
    """Build a block of two convolutions, [B, inside, h, w] -> [B, outside, h, w]."""

    def convolution(channels: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]

    return nn.Sequential(*convolution(inside), *convolution(outside))


def _to(maps: Tensor, like: Tensor) -> Tensor:
    """Resize feature maps [B, C, h, w] to the height and width of `like` [B, _, H, W]."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)
