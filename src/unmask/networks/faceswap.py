"""Face-swap autoencoder: one encoder shared by all people and one decoder per person.

This is the scheme of the first face-swapping programs (surveyed in arXiv 2005.05535, section 3.1). The encoder is
trained on everyone's faces, so that its bottleneck describes pose, expression and lighting; each decoder learns one
person's appearance. Two things are different here. Upsampling is a sub-pixel convolution initialised to
nearest-neighbour upsampling (arXiv 1707.02937), so that training does not start from a chequerboard pattern. There are
no normalisation layers, so that a swap does not depend on the other images in the batch.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from unmask.networks.dcgan import doublings, widths

SLOPE = 0.1  # negative slope of the leaky ReLUs


class SharedEncoder(nn.Module):
    """Encode images [B, 3, S, S] in [0, 1] as feature maps [B, C, 8, 8].

    Args:
        image_size: S in px, a power of two of at least 16.
        filters: channels of the stage with the highest resolution; the other stages have up to 8 x `filters`.
        latent: length of the bottleneck vector.
    """

    def __init__(self, image_size: int = 64, filters: int = 32, latent: int = 256) -> None:
        super().__init__()
        channels = widths(filters, doublings(image_size))
        self.channels = channels[-1]
        layers: list[nn.Module] = []
        for inside, outside in pairwise([3, *channels]):
            layers += [_initialised(nn.Conv2d(inside, outside, 5, 2, 2)), nn.LeakyReLU(SLOPE)]
        self.down = nn.Sequential(*layers, nn.Flatten())  # -> 4 px
        self.squeeze = nn.Linear(16 * self.channels, latent)
        self.spread = nn.Linear(latent, 16 * self.channels)
        self.up = Enlarge(self.channels, self.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature maps [B, C, 8, 8] of images x [B, 3, S, S] in [0, 1]."""
        flat = self.spread(self.squeeze(self.down(2 * x - 1)))
        found: Tensor = self.up(flat.view(len(x), self.channels, 4, 4))
        return found


class PersonDecoder(nn.Module):
    """Decode features [B, C, 8, 8] into images of one person [B, 3, S, S] and face masks [B, 1, S, S], both in [0, 1].

    Args:
        image_size: S in px, a power of two of at least 16.
        filters: channels of the stage with the highest resolution.
    """

    def __init__(self, image_size: int = 64, filters: int = 32) -> None:
        super().__init__()
        channels = widths(filters, doublings(image_size))[::-1]
        self.stages = nn.Sequential(*(Enlarge(inside, outside) for inside, outside in pairwise(channels)))
        self.last = nn.Conv2d(channels[-1], 4, 5, padding=2)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return images [B, 3, S, S] and face masks [B, 1, S, S] for feature maps z [B, C, 8, 8]."""
        made: Tensor = self.last(self.stages(z)).sigmoid()
        return made[:, :3], made[:, 3:]


class FaceSwapNetwork(nn.Module):
    """Render faces as other people with a shared encoder and one decoder per person.

    Args:
        image_size: S in px, a power of two of at least 16.
        people: number of people.
        filters: channels of the stage with the highest resolution.
        latent: length of the bottleneck vector.
    """

    def __init__(self, image_size: int = 64, people: int = 2, filters: int = 32, latent: int = 256) -> None:
        super().__init__()
        if people < 2 or image_size < 16:
            raise ValueError(f"people={people}, image_size={image_size}: expected at least 2 people and at least 16 px")
        self.image_size, self.people = image_size, people
        self.encoder = SharedEncoder(image_size, filters, latent)
        self.decoders = nn.ModuleList(PersonDecoder(image_size, filters) for _ in range(people))

    def forward(self, x: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Render each face as a given person.

        Args:
            x: faces [B, 3, S, S] in [0, 1].
            identity: index of the decoder for each face [B], 0 to people - 1.

        Returns:
            Images [B, 3, S, S] and masks [B, 1, S, S], both in [0, 1].
        """
        if x.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(f"expected input [B, 3, {self.image_size}, {self.image_size}], but got {list(x.shape)}")
        z, order = self.encoder(x), torch.argsort(identity, stable=True)
        parts, begin = [], 0
        for decoder, count in zip(self.decoders, torch.bincount(identity, minlength=self.people).tolist(), strict=True):
            if count:
                parts.append(decoder(z[order[begin : begin + count]]))
                begin += count
        back = torch.argsort(order)
        return torch.cat([picture for picture, _ in parts])[back], torch.cat([mask for _, mask in parts])[back]


class Enlarge(nn.Module):
    """Upsample feature maps [B, inside, H, W] to [B, outside, 2 H, 2 W] with a sub-pixel convolution."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = _initialised(nn.Conv2d(inside, 4 * outside, 3, padding=1))
        with torch.no_grad():  # each input pixel becomes four equal pixels, as in nearest-neighbour upsampling
            self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))
        self.act, self.shuffle = nn.LeakyReLU(SLOPE), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps x [B, inside, H, W], upsampled to [B, outside, 2 H, 2 W]."""
        larger: Tensor = self.shuffle(self.act(self.conv(x)))
        return larger


def _initialised(conv: nn.Conv2d) -> nn.Conv2d:
    """Apply He initialisation (arXiv 1502.01852), so that activations keep their scale without normalisation."""
    nn.init.kaiming_normal_(conv.weight, SLOPE)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
