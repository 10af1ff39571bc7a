"""A convolutional encoder, whose stages halve an image's side, and a decoder, whose stages double it again."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.networks.dcgan import doublings, widths


class ConvEncoder(nn.Module):
    """Encode images [B, 3, S, S] in [0, 1] as vectors [B, outputs].

    Args:
        image_size: S in px, a power of two of at least 8.
        outputs: length of the output vector; a variational autoencoder needs twice the length of its latent.
        filters: channels of the stage with the highest resolution; each later stage doubles them, up to 8 x `filters`.
    """

    def __init__(self, image_size: int = 64, outputs: int = 256, filters: int = 32) -> None:
        super().__init__()
        self.image_size, self.outputs = image_size, outputs
        channels = widths(filters, doublings(image_size))
        layers: list[nn.Module] = []
        for inside, outside in pairwise([3, *channels]):
            layers += [nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors [B, outputs] of images x [B, 3, S, S] in [0, 1]."""
        if x.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(f"expected input [B, 3, {self.image_size}, {self.image_size}], but got {list(x.shape)}")
        found: Tensor = self.layers(2 * x - 1)
        return found


class ConvDecoder(nn.Module):
    """Decode latents [B, latent] into images [B, 3, S, S] in [0, 1].

    Args:
        image_size: S in px, a power of two of at least 8.
        latent: length of the latent.
        filters: channels of the stage with the highest resolution; the stages are those of `ConvEncoder` in reverse.
    """

    def __init__(self, image_size: int = 64, latent: int = 128, filters: int = 32) -> None:
        super().__init__()
        self.image_size, self.latent = image_size, latent
        channels = widths(filters, doublings(image_size))[::-1]
        self.first = nn.Linear(latent, 16 * channels[0])
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.2)
            )
            for inside, outside in pairwise([*channels, channels[-1]])
        )
        self.last = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the images [B, 3, S, S] in [0, 1] that are decoded from latents z [B, latent]."""
        x = self.first(z).view(len(z), -1, 4, 4)
        for stage in self.stages:
            # Upsampling followed by a convolution avoids the chequerboard artefacts of transposed convolutions.
            x = stage(interpolate(x, scale_factor=2.0, mode="nearest"))
        picture: Tensor = self.last(x).sigmoid()
        return picture
