"""A denoising U-Net for diffusion, conditioned on time and optionally on attributes, with attention in some stages.

This is the network of DDPM (arXiv 2006.11239, appendix B), built from diffusers' UNet2DModel. In addition, it can fold
images into patches, so that no layer works at full resolution (arXiv 2301.11093, section 3.2). With `patch=2`, a
forward pass needs a quarter of the computation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Denoiser(nn.Module):
    """Predict the noise or the velocity of noisy images; the noise schedule's `prediction_type` says which.

    To condition the network on attributes, their embedding is added to the time embedding. If an image's attributes are
    unknown, a learned embedding is added instead (arXiv 2207.12598).

    Args:
        image_size: side S of the images in px, a multiple of patch x 2^(stages - 1).
        channels: channels of each stage, highest resolution first; each stage has half the side of the previous stage.
        layers: number of residual blocks per stage.
        attention: the stages with self-attention, given by the sides of their feature maps in px (after patching).
        patch: side in px of the squares that are folded into channels before the first layer; 1 for no patching.
        groups: number of groups of the group norm; must divide every entry of `channels`.
        head: channels per attention head.
        dropout: dropout probability in the residual blocks.
        attributes: number of attributes to condition on; 0 for an unconditional network.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: Sequence[int] = (64, 128, 256),
        layers: int = 2,
        attention: Sequence[int] = (16, 8),
        patch: int = 1,
        groups: int = 32,
        head: int = 32,
        dropout: float = 0.0,
        attributes: int = 0,
    ) -> None:
        super().__init__()
        sides = stage_sides(image_size, len(channels), patch)
        _check(channels, layers, attention, sides, groups, head)
        # Imported here because the import takes seconds; only users of a denoiser should wait for it.
        from diffusers.models.unets.unet_2d import UNet2DModel

        self.patch, self.attributes, self.shape = patch, attributes, (3, image_size, image_size)
        seen = [side in attention for side in sides]
        self.unet: nn.Module = UNet2DModel(
            sample_size=sides[0],
            in_channels=3 * patch**2,
            out_channels=3 * patch**2,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if looks else "DownBlock2D" for looks in seen),
            up_block_types=tuple("AttnUpBlock2D" if looks else "UpBlock2D" for looks in reversed(seen)),
            add_attention=seen[-1],  # in the middle block, between the encoder half and the decoder half
            attention_head_dim=head,
            norm_num_groups=groups,
            dropout=dropout,
            class_embed_type="identity" if attributes else None,
        )
        width = 4 * channels[0]  # length of UNet2DModel's time embedding
        if attributes:
            self.embed = nn.Sequential(nn.Linear(attributes, width), nn.SiLU(), nn.Linear(width, width))
            self.unknown = nn.Parameter(torch.zeros(width))

    @property
    def condition(self) -> str | None:
        """The entry of a batch that the network is conditioned on; None if it is unconditional."""
        return "attributes" if self.attributes else None

    def forward(self, x: Tensor, t: Tensor, attributes: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Predict the noise or velocity of each image [B, 3, S, S].

        Args:
            x: noisy images [B, 3, S, S]; the clean images lie in about [-1, 1].
            t: time steps [B]; 0 is the least noise.
            attributes: [B, A] in [0, 1] for a conditional network; None if all attributes are unknown.
            known: bool [B], whether the attributes of each image are known; None if they are known for all images.
        """
        condition = self._condition(len(x), attributes, known) if self.attributes else None
        squares = pixel_unshuffle(x, self.patch)  # [B, 3 P^2, S / P, S / P]
        found: Tensor = self.unet(squares, t, class_labels=condition, return_dict=False)[0]
        return pixel_shuffle(found, self.patch)

    def _condition(self, count: int, attributes: Tensor | None, known: Tensor | None) -> Tensor:
        """Return the embedding [B, width] of the attributes, which is added to the time embedding."""
        if attributes is None:
            return self.unknown.expand(count, -1)
        embedded: Tensor = self.embed(2 * attributes - 1)  # an absent attribute (-1) must differ from an unknown one
        return embedded if known is None else torch.where(known[:, None], embedded, self.unknown)


def stage_sides(image_size: int, stages: int, patch: int) -> list[int]:
    """Return the side of each stage's feature maps in px, highest resolution first.

    Raises:
        ValueError: a side would not be a whole number.
    """
    factor = patch * 2 ** (stages - 1) if patch >= 1 and stages >= 1 else 0
    if not factor or image_size < factor or image_size % factor:
        raise ValueError(
            f"image_size={image_size}, patch={patch}, {stages} entries in channels: expected image_size to be a "
            f"multiple of {factor or 'patch x 2^(entries in channels - 1)'}; remove entries from channels, "
            "or set patch=1"
        )
    return [image_size // patch // 2**at for at in range(stages)]


def _check(
    channels: Sequence[int], layers: int, attention: Sequence[int], sides: Sequence[int], groups: int, head: int
) -> None:
    if layers < 1 or groups < 1 or head < 1 or min(channels) < 1:
        raise ValueError(
            f"channels={list(channels)}, layers={layers}, groups={groups}, head={head}: expected 1 or more"
        )
    if wrong := sorted(set(attention) - set(sides)):
        raise ValueError(
            f"attention={wrong}: expected some of {', '.join(map(str, sides))}, the sides of the stages in px"
        )
    if wrong := [width for width in channels if width % groups]:
        raise ValueError(f"channels={wrong}: expected multiples of groups={groups}")
    looking = [width for width, side in zip(channels, sides, strict=True) if side in attention]
    if wrong := [width for width in looking if width % head]:
        raise ValueError(f"channels={wrong}: expected multiples of head={head} where attention is used")
