"""DCGAN: a generator and a discriminator of strided convolutions (arXiv 1511.06434); larger images need more stages.

Convolutions have no biases, except in a discriminator without norm layers. A conditional generator concatenates an
embedding of the attributes to the latent (arXiv 1411.1784). A conditional discriminator has its own embedding of the
attributes: by default, it projects its features onto this embedding (arXiv 1802.05637); alternatively, the embedding
is a fourth channel of the image.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from unmask.networks.embeddings import AttributeEmbedding

NORMS = ("batch", "instance", "none")
CONDITIONS = ("projection", "concat")
SPREAD = 0.02  # standard deviation of the initial weights, as in the paper
# (number of attributes A, length F of the embedding) -> a module that maps attributes [B, A] to embeddings [B, F]
Embed = Callable[[int, int], nn.Module]


def doublings(image_size: int) -> int:
    """Return how many times a side of 4 px must be doubled to reach `image_size`."""
    stages = round(math.log2(max(image_size, 1))) - 2
    if image_size < 8 or 4 * 2**stages != image_size:
        raise ValueError(f"image_size={image_size}: expected a power of two of at least 8, such as 64 as in the paper")
    return stages


def widths(filters: int, stages: int) -> list[int]:
    """Return the channels of each stage, highest resolution first: `filters`, doubled per stage up to 8 x `filters`."""
    return [filters * min(2**at, 8) for at in range(stages)]


def _initialise(network: nn.Module) -> None:
    """Initialise as in the paper: weights from N(0, 0.02^2), weights of norm layers from N(1, 0.02^2), biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, SPREAD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.weight is not None:
            nn.init.normal_(layer.weight, 1.0, SPREAD)
            nn.init.zeros_(layer.bias)


class DCGANGenerator(nn.Module):
    """Generate images [B, 3, S, S] in [-1, 1] from latents [B, latent].

    Args:
        image_size: S in px, a power of two of at least 8; the paper uses 64.
        latent: length of the latent; the paper uses 100.
        filters: channels of the stage with the highest resolution; the other stages have up to 8 x `filters`.
        attributes: number of attributes that the generator is conditioned on; 0 for an unconditional generator.
        embedding: length of the vector into which the attributes are embedded.
        embed: how the attributes are embedded; see `networks.embeddings`.
    """

    def __init__(
        self,
        image_size: int = 64,
        latent: int = 100,
        filters: int = 64,
        attributes: int = 0,
        embedding: int = 32,
        embed: Embed = AttributeEmbedding,
    ) -> None:
        super().__init__()
        self.image_size, self.latent, self.attributes = image_size, latent, attributes
        self.embed = embed(attributes, embedding) if attributes else None
        channels = widths(filters, doublings(image_size))[::-1]
        inside = latent + (embedding if attributes else 0)
        layers: list[nn.Module] = [nn.ConvTranspose2d(inside, channels[0], 4, bias=False)]  # 1 px -> 4 px
        for wide, narrow in pairwise(channels):
            layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.mean: None = None  # latents are interpolated and are not truncated, see `networks.generators`
        _initialise(self)

    @property
    def inputs(self) -> int:
        """Number of random numbers per image: the length of the latent."""
        return self.latent

    def codes(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return z [B, latent]."""
        return z

    def render(self, codes: Tensor, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] for the latents `codes` [B, latent]; `z` has no other random numbers."""
        return self.forward(codes, attributes)

    def forward(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return images [B, 3, S, S] in [-1, 1] for latents z [B, latent] and, if conditional, attributes [B, A]."""
        if self.embed is not None:
            if attributes is None:
                raise ValueError(f"this generator is conditional: pass {self.attributes} attributes")
            z = torch.cat([z, self.embed(attributes)], dim=1)
        picture: Tensor = self.layers(z[:, :, None, None])
        return picture


class DCGANDiscriminator(nn.Module):
    """Compute scores [B] of images [B, 3, S, S] in [-1, 1]; larger scores mean real.

    Args:
        image_size: S in px, a power of two of at least 8.
        filters: channels of the stage with the highest resolution; the other stages have up to 8 x `filters`.
        attributes: number of attributes that the discriminator is conditioned on; 0 for an unconditional discriminator.
        condition: how attributes are used: `projection` (the features are projected onto the attributes' embedding) or
            `concat` (the embedding is a fourth channel of the image).
        norm: `batch`, as in the paper; `instance` or `none` for WGAN-GP, whose penalty is computed per image
            (arXiv 1704.00028, section 4).
        spectral: whether to divide each weight matrix by its largest singular value (arXiv 1802.05957); use it with the
            hinge loss.
        embed: how the attributes are embedded; see `networks.embeddings`.
    """

    def __init__(
        self,
        image_size: int = 64,
        filters: int = 64,
        attributes: int = 0,
        condition: str = "projection",
        norm: str = "batch",
        spectral: bool = False,
        embed: Embed = AttributeEmbedding,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm={norm}: expected one of {', '.join(NORMS)}")
        if condition not in CONDITIONS:
            raise ValueError(f"condition={condition}: expected one of {', '.join(CONDITIONS)}")
        self.image_size, self.attributes = image_size, attributes
        channels = widths(filters, doublings(image_size))
        concat = bool(attributes) and condition == "concat"
        self.drawn = embed(attributes, image_size**2) if concat else None
        self.projected = embed(attributes, channels[-1]) if attributes and not concat else None
        bias = norm == "none"
        layers: list[nn.Module] = [nn.Conv2d(3 + concat, channels[0], 4, 2, 1, bias=bias), nn.LeakyReLU(0.2)]
        for narrow, wide in pairwise(channels):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=bias), *_norm(norm, wide), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)  # -> 4 px
        self.last = nn.Conv2d(channels[-1], 1, 4, bias=bias)
        _initialise(self)
        if spectral:
            for layer in [*self.modules()]:
                if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                    spectral_norm(layer)

    def forward(self, x: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the scores [B] of images x [B, 3, S, S] in [-1, 1], given their attributes [B, A] if conditional."""
        if self.attributes and attributes is None:
            raise ValueError(f"this discriminator is conditional: pass {self.attributes} attributes")
        if self.drawn is not None:
            x = torch.cat([x, self.drawn(attributes).view(-1, 1, self.image_size, self.image_size)], dim=1)
        features = self.layers(x)  # [B, C, 4, 4]
        score: Tensor = self.last(features).flatten()
        if self.projected is not None:
            score = score + (self.projected(attributes) * features.mean((2, 3))).sum(1)
        return score


def _norm(kind: str, channels: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels, affine=True)]
