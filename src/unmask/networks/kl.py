"""A convolutional autoencoder with a spatial latent, as in latent diffusion (arXiv 2112.10752), and codecs for it.

A codec maps images to latents and back: `encode` maps images [B, 3, S, S] in [-1, 1] to latents [B, C, S / f, S / f],
and `decode` maps latents to images.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn


class Codec(Protocol):
    """Maps images to latents and back."""

    def encode(self, x: Tensor) -> Tensor:
        """Return latents [B, C, h, w] of images [B, 3, S, S] in [-1, 1]."""

    def decode(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in [-1, 1] of latents [B, C, h, w]."""


class KLEncoder(nn.Module):
    """Map images [B, 3, S, S] in [0, 1] to means, then log-variances, of latents [B, 2 C h w].

    Args:
        image_size: S in px.
        inside: number of channels C of the latents.
        channels: channels of each stage; the side is halved from each stage to the next.
        layers: number of residual blocks per stage.
        groups: number of groups of the group norm.
    """

    def __init__(
        self,
        image_size: int = 64,
        inside: int = 4,
        channels: Sequence[int] = (32, 64, 64),
        layers: int = 1,
        groups: int = 16,
    ) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import Encoder

        side = latent_side(image_size, channels)
        self.image_size, self.outputs = image_size, 2 * inside * side**2
        self.network: nn.Module = Encoder(
            3, inside, ("DownEncoderBlock2D",) * len(channels), tuple(channels), layers, groups, double_z=True,
            mid_block_add_attention=False,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return means and log-variances [B, 2 C h w] of images x [B, 3, S, S] in [0, 1]."""
        found: Tensor = self.network(2 * x - 1)
        return found.flatten(1)


class KLDecoder(nn.Module):
    """Map latents [B, C h w] to images [B, 3, S, S] in [0, 1].

    Args:
        image_size: S in px.
        inside: number of channels C of the latents.
        channels: channels of each stage, as in the encoder.
        layers: number of residual blocks per stage.
        groups: number of groups of the group norm.
    """

    def __init__(
        self,
        image_size: int = 64,
        inside: int = 4,
        channels: Sequence[int] = (32, 64, 64),
        layers: int = 1,
        groups: int = 16,
    ) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import Decoder

        side = latent_side(image_size, channels)
        self.shape, self.latent = (inside, side, side), inside * side**2
        self.network: nn.Module = Decoder(
            inside, 3, ("UpDecoderBlock2D",) * len(channels), tuple(channels), layers, groups,
            mid_block_add_attention=False,
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in [0, 1] of latents z [B, C h w]."""
        found: Tensor = self.network(z.view(-1, *self.shape))
        return found.sigmoid()


class PublishedCodec(nn.Module):
    """The frozen AutoencoderKL of a published pipeline.

    Args:
        settings: its `config.json`, without the entries of the library.
        weights: the folder with its weights (safetensors). None if a run that was trained with this codec is opened:
            its checkpoint contains them.
    """

    def __init__(self, settings: Mapping[str, object], weights: str | None = None) -> None:
        super().__init__()
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        network = AutoencoderKL(**settings)
        if weights is not None:
            found = AutoencoderKL.from_pretrained(weights, local_files_only=True, use_safetensors=True)
            network.load_state_dict(found.state_dict())
        self.network = network.requires_grad_(False)

    def encode(self, x: Tensor) -> Tensor:
        """Return latents [B, C, h, w] of images x [B, 3, S, S] in [-1, 1]."""
        means: Tensor = self.network.encode(x).latent_dist.mean
        return means

    def decode(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] in [-1, 1] of latents z [B, C, h, w]."""
        images: Tensor = self.network.decode(z, return_dict=False)[0]
        return images


def settings_of(folder: Path) -> dict[str, object]:
    """Return the settings in the `config.json` of an AutoencoderKL, without the entries of the library.

    Raises:
        ValueError: the file is missing, or describes another class.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"module.codec.weights={folder}: {path} cannot be read ({error})") from None
    if not isinstance(found, dict) or found.get("_class_name") != "AutoencoderKL":
        raise ValueError(f"module.codec.weights={folder}: expected the folder of an AutoencoderKL of diffusers")
    return {str(key): value for key, value in found.items() if not str(key).startswith("_")}


def latent_side(image_size: int, channels: Sequence[int]) -> int:
    """Return the side of the latents.

    Raises:
        ValueError: it would not be a whole number.
    """
    factor = 1 << max(len(channels) - 1, 0)
    if not channels or image_size % factor:
        raise ValueError(
            f"image_size={image_size}, {len(channels)} entries in channels: expected a multiple of {factor} px"
        )
    return image_size // factor
