"""The discriminator of StyleGAN2: residual blocks, and the standard deviation over groups of the batch."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from unmask.networks.dcgan import Embed, doublings
from unmask.networks.embeddings import AttributeEmbedding
from unmask.networks.equalised import EqualisedConv, EqualisedLinear, activate, stage_channels, unit


class Residual(nn.Module):
    """Halve the side of feature maps: two convolutions, added to one convolution of 1 x 1 px.

    Args:
        inside: number of input channels.
        outside: number of output channels.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = EqualisedConv(inside, inside, 3)
        self.second = EqualisedConv(inside, outside, 3, down=True)
        self.skip = EqualisedConv(inside, outside, 1, down=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps [B, outside, S / 2, S / 2] of x [B, inside, S, S]."""
        main = activate(self.second(activate(self.first(x))))
        summed: Tensor = (main + self.skip(x)) * 0.5**0.5
        return summed


class StyleGAN2Discriminator(nn.Module):
    """Compute scores [B] of images [B, 3, S, S] in [-1, 1]; larger scores mean real (arXiv 1912.04958).

    Args:
        image_size: S in px, a power of two of at least 8.
        filters: channels of the stage with the highest resolution; lower resolutions have twice as many per stage.
        most: maximum number of channels of a stage.
        group: number of images whose standard deviation is an input of the last layers, at most; 1 switches this off.
            If each process has a multiple of it, the groups do not depend on the number of processes.
        attributes: number of attributes that the discriminator is conditioned on; 0 for an unconditional discriminator.
        embed: how the attributes are embedded; see `networks.embeddings`. The features are projected onto the embedding
            (arXiv 1802.05637).
    """

    def __init__(
        self,
        image_size: int = 64,
        filters: int = 64,
        most: int = 512,
        group: int = 4,
        attributes: int = 0,
        embed: Embed = AttributeEmbedding,
    ) -> None:
        super().__init__()
        if filters < 1 or most < 1 or group < 1:
            raise ValueError(f"filters={filters}, most={most}, group={group}: expected 1 or more")
        self.image_size, self.attributes, self.group = image_size, attributes, group
        channels = stage_channels(filters, most, doublings(image_size) + 1)
        self.first = EqualisedConv(3, channels[0], 1)
        self.blocks = nn.Sequential(*(Residual(narrow, wide) for narrow, wide in pairwise(channels)))
        width = channels[-1]
        self.last = EqualisedConv(width + (group > 1), width, 3)
        self.hidden = EqualisedLinear(width * 16, width)
        self.score = EqualisedLinear(width, 1)
        self.projected = embed(attributes, width) if attributes else None

    def forward(self, x: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the scores [B] of images x [B, 3, S, S] in [-1, 1], given their attributes [B, A] if conditional."""
        if self.attributes and attributes is None:
            raise ValueError(f"this discriminator is conditional: pass {self.attributes} attributes")
        x = self.blocks(activate(self.first(x)))  # [B, C, 4, 4]
        if self.group > 1:
            x = with_spread(x, self.group)
        features = activate(self.hidden(activate(self.last(x)).flatten(1)))
        score: Tensor = self.score(features)[:, 0]
        if self.projected is not None:
            direction = unit(self.projected(attributes)) / features.shape[1] ** 0.5
            score = score + (direction * features).sum(1)
        return score


def with_spread(x: Tensor, group: int) -> Tensor:
    """Append a channel with the mean standard deviation of all features over a group of images (arXiv 1710.10196).

    Images i, i + M, i + 2 M ... form a group, where M is the number of groups. If the number of images cannot be
    divided by `group`, groups are smaller.

    Args:
        x: feature maps [B, C, H, W].
        group: number of images in a group, at most.

    Returns:
        Feature maps [B, C + 1, H, W].
    """
    count = len(x)
    size = max(size for size in range(1, min(group, count) + 1) if count % size == 0)
    grouped = x.float().view(size, count // size, *x.shape[1:])
    spread = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # [groups]
    channel = spread.repeat(size).to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])
    return torch.cat([x, channel], dim=1)
