"""The generator of StyleGAN2: a mapping network, modulated convolutions, noise, and skip connections of RGB images.

The architecture is configuration F of arXiv 1912.04958 without custom kernels. `networks/stylegan2_discriminator.py`
contains the discriminator.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate

from unmask.networks.dcgan import Embed, doublings
from unmask.networks.embeddings import AttributeEmbedding
from unmask.networks.equalised import EqualisedLinear, activate, smooth, stage_channels, unit

SLOWER = 0.01  # factor of the learning rate of the mapping network, as in the paper


class Mapping(nn.Module):
    """Map latents [B, L] and attributes to styles [B, L], in float32.

    Args:
        latent: length L of latents and styles.
        layers: number of fully connected layers.
        attributes: number of attributes; 0 for an unconditional network.
        embed: how the attributes are embedded; see `networks.embeddings`.
    """

    def __init__(self, latent: int, layers: int, attributes: int, embed: Embed) -> None:
        super().__init__()
        self.attributes = attributes
        self.embed = embed(attributes, latent) if attributes else None
        sides = [latent * (2 if attributes else 1)] + [latent] * layers
        self.layers = nn.ModuleList(EqualisedLinear(a, b, SLOWER) for a, b in pairwise(sides))

    def forward(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the styles [B, L] of latents z [B, L] and, if conditional, attributes [B, A]."""
        with torch.autocast(z.device.type, enabled=False):
            x = unit(z.float())
            if self.embed is not None:
                if attributes is None:
                    raise ValueError(f"this generator is conditional: pass {self.attributes} attributes")
                x = torch.cat([x, unit(self.embed(attributes.float()))], dim=1)
            for layer in self.layers:
                x = activate(layer(x))
        return x


class ModulatedConv(nn.Module):
    """A convolution whose weights are scaled for each image by its style and then normalised (arXiv 1912.04958, 2.2).

    Instead of the weights, the input channels are scaled by the style and the output channels by the norm, which gives
    the same result with one convolution for all images of the batch.

    Args:
        inside: number of input channels.
        outside: number of output channels.
        kernel: side of the kernel, px; an odd number, and 3 if `up`.
        style: length of the styles.
        demodulate: whether to scale the weights of each output channel to the norm 1.
        up: whether to double the side, by a transposed convolution and a low-pass filter.
    """

    def __init__(
        self, inside: int, outside: int, kernel: int, style: int, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inside, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.scale, self.pad = 1 / math.sqrt(inside * kernel**2), kernel // 2
        self.demodulate, self.up = demodulate, up

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Convolve feature maps x [B, inside, S, S] with the weights for the styles [B, style]."""
        with torch.autocast(x.device.type, enabled=False):  # 8 bits of a bfloat16 are too few for norms
            scales = self.affine(style.float())
            norms = self._norms(scales) if self.demodulate else None
        weight = self.weight * self.scale
        x = x * scales[:, :, None, None].to(x.dtype)
        if self.up:
            x = smooth(conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4.0)
        else:
            x = conv2d(x, weight, padding=self.pad)
        return x if norms is None else x * norms[:, :, None, None].to(x.dtype)

    def _norms(self, scales: Tensor) -> Tensor:
        """Return 1 / norm of each output channel's scaled weights [B, outside]."""
        squares = (self.weight * self.scale).square().sum((2, 3))  # [outside, inside]
        return (scales.square() @ squares.T + 1e-8).rsqrt()


class StyledConv(nn.Module):
    """A modulated convolution, followed by noise, a bias and the activation.

    Args:
        inside: number of input channels.
        outside: number of output channels.
        style: length of the styles.
        up: whether to double the side.
    """

    def __init__(self, inside: int, outside: int, style: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inside, outside, 3, style, up=up)
        self.strength = nn.Parameter(torch.zeros(()))  # of the noise; 0 at the start, as in the paper
        self.bias = nn.Parameter(torch.zeros(outside, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Return feature maps [B, outside, S, S]; the noise is [B, 1, S, S]."""
        x = self.conv(x, style)
        return activate(x + (noise * self.strength).to(x.dtype) + self.bias.to(x.dtype))


class ToRGB(nn.Module):
    """A modulated convolution of 1 x 1 px that returns an RGB image, without demodulation.

    Args:
        inside: number of input channels.
        style: length of the styles.
    """

    def __init__(self, inside: int, style: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inside, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in float32."""
        found: Tensor = self.conv(x, style).float() + self.bias
        return found


class StyleGAN2Generator(nn.Module):
    """Generate images [B, 3, S, S] of about [-1, 1] from normal random numbers.

    All random numbers of an image are its input z [B, inputs]: its latent, a second latent and a number that decides at
    which layer the styles of the second latent replace those of the first (style mixing, in training only), and the
    noise of all layers.

    Args:
        image_size: S in px, a power of two of at least 8.
        latent: length L of latents and styles; 512 in the paper.
        mapping: number of layers of the mapping network; 8 in the paper.
        filters: channels of the stage with the highest resolution; lower resolutions have twice as many per stage.
        most: maximum number of channels of a stage.
        mixing: probability that an image of the training has the styles of two latents (arXiv 1812.04948, section 3.1).
        scale: the images are multiplied by this number; 1 in the paper. With 0.25, as in the code of StyleGAN3
            (github.com/NVlabs/stylegan3), the images of the first steps are not saturated.
        attributes: number of attributes that the generator is conditioned on; 0 for an unconditional generator.
        embed: how the attributes are embedded; see `networks.embeddings`.
    """

    mean: Tensor  #: running mean of the styles [L], the centre of truncation

    def __init__(
        self,
        image_size: int = 64,
        latent: int = 512,
        mapping: int = 8,
        filters: int = 64,
        most: int = 512,
        mixing: float = 0.9,
        scale: float = 1.0,
        attributes: int = 0,
        embed: Embed = AttributeEmbedding,
    ) -> None:
        super().__init__()
        if latent < 1 or mapping < 1 or filters < 1 or most < 1 or not 0 <= mixing <= 1 or scale <= 0:
            raise ValueError(
                f"latent={latent}, mapping={mapping}, filters={filters}, most={most}, mixing={mixing}, scale={scale}: "
                "expected numbers of 1 or more, mixing from 0 to 1, and a scale above 0"
            )
        self.image_size, self.latent, self.attributes = image_size, latent, attributes
        self.mixing, self.scale = mixing, scale
        channels = stage_channels(filters, most, doublings(image_size) + 1)[::-1]
        self.mapping = Mapping(latent, mapping, attributes, embed)
        self.start = nn.Parameter(torch.randn(channels[0], 4, 4))
        pairs = [(channels[0], channels[0], False)]
        for wide, narrow in pairwise(channels):
            pairs += [(wide, narrow, True), (narrow, narrow, False)]
        self.convs = nn.ModuleList(StyledConv(a, b, latent, up) for a, b, up in pairs)
        self.outputs = nn.ModuleList(ToRGB(width, latent) for width in channels)
        self.sides = [4] + [4 << at for at in range(1, len(channels)) for _ in range(2)]  # px, of the noise
        self.register_buffer("mean", torch.zeros(latent))

    @property
    def inputs(self) -> int:
        """Number of random numbers per image: two latents, one number for mixing, and the noise of all layers."""
        return 2 * self.latent + 1 + sum(side * side for side in self.sides)

    @property
    def layers(self) -> int:
        """Number of layers with a style: all convolutions with noise, and the last output."""
        return len(self.convs) + 1

    def forward(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] for random numbers z [B, inputs] and, if conditional, attributes [B, A]."""
        return self.render(self.codes(z, attributes), z)

    def codes(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the styles of each layer [B, layers, L]; in training mode, they can come from two latents."""
        first, second, place, _ = torch.split(z, [self.latent, self.latent, 1, z.shape[1] - 2 * self.latent - 1], dim=1)
        styles: Tensor = self.mapping(first, attributes)[:, None].expand(-1, self.layers, -1)
        if not self.training or self.mixing == 0:
            return styles
        others = self.mapping(second, attributes)[:, None]
        return torch.where(self._mixed(place)[:, :, None], others, styles)

    def _mixed(self, place: Tensor) -> Tensor:
        """Return whether each layer has the second latent's style [B, layers], from normal values [B, 1].

        A share `mixing` of the images changes its style at one of the layers from the second on, all equally likely.
        """
        share = torch.special.ndtr(place) / self.mixing  # uniform in [0, 1 / mixing]
        start = torch.where(share < 1, 1 + (share * (self.layers - 1)).floor(), self.layers)
        return torch.arange(self.layers, device=place.device) >= start

    def render(self, codes: Tensor, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] with the styles `codes` [B, layers, L] and the noise in z [B, inputs]."""
        noise = torch.split(z[:, 2 * self.latent + 1 :], [side * side for side in self.sides], dim=1)
        maps = [part.view(-1, 1, side, side) for part, side in zip(noise, self.sides, strict=True)]
        x = self.convs[0](self.start.expand(len(z), -1, -1, -1), codes[:, 0], maps[0])
        picture: Tensor = self.outputs[0](x, codes[:, 1])
        for at in range(1, len(self.convs), 2):
            x = self.convs[at](x, codes[:, at], maps[at])
            x = self.convs[at + 1](x, codes[:, at + 1], maps[at + 1])
            # Bilinear interpolation is the paper's filter of 4 px, except at the border.
            larger = interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
            picture = larger + self.outputs[(at + 1) // 2](x, codes[:, at + 2])
        return self.scale * picture
