"""The denoising U-Net of diffusion: residual blocks, attention at chosen sides, told the time and the attributes.

Of DDPM (arXiv 2006.11239, appendix B), in diffusers' UNet2DModel. Unlike the paper's it may begin with patches, so that
no layer works at full resolution (arXiv 2301.11093, section 3.2): a quarter of the work at `patch=2`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Denoiser(nn.Module):
    """Noisy picture and time -> what is to be learnt of them: the noise or the velocity, as the recipe says.

    Conditional on attributes: their embedding is added to the time's; a learned one stands for attributes that are not
    told (arXiv 2207.12598).

    Args:
        image_size: S, px, a multiple of patch x 2^(stages - 1).
        channels: of each stage, from the finest; the side is halved between two.
        layers: residual blocks of a stage.
        attention: sides in px of the stages with self-attention, counted after patching.
        patch: side in px of the squares that become channels before the first layer; 1 for none.
        groups: of group norm; they divide all channels.
        head: channels of one head of attention.
        dropout: share of a residual block's activations that are dropped.
        attributes: how many attributes pictures are made by; 0 for none.
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
        # Here and not above: it takes seconds, and whoever needs no denoiser need not wait.
        from diffusers.models.unets.unet_2d import UNet2DModel

        self.image_size, self.patch, self.attributes = image_size, patch, attributes
        seen = [side in attention for side in sides]
        self.unet: nn.Module = UNet2DModel(
            sample_size=sides[0],
            in_channels=3 * patch**2,
            out_channels=3 * patch**2,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if looks else "DownBlock2D" for looks in seen),
            up_block_types=tuple("AttnUpBlock2D" if looks else "UpBlock2D" for looks in reversed(seen)),
            add_attention=seen[-1],  # between the two halves
            attention_head_dim=head,
            norm_num_groups=groups,
            dropout=dropout,
            class_embed_type="identity" if attributes else None,
        )
        width = 4 * channels[0]  # of UNet2DModel's embedding of time
        if attributes:
            self.embed = nn.Sequential(nn.Linear(attributes, width), nn.SiLU(), nn.Linear(width, width))
            self.unknown = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, t: Tensor, attributes: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """What is predicted of each picture.

        Args:
            x: noisy pictures [B, 3, S, S], about [-1, 1] without the noise.
            t: time [B], 0 the least noise.
            attributes: [B, A] in [0, 1] where it is conditional; None where nothing is told.
            known: whether they are told, bool [B]; None for yes.
        """
        condition = self._condition(len(x), attributes, known) if self.attributes else None
        squares = pixel_unshuffle(x, self.patch)  # [B, 3 P^2, S / P, S / P]
        found: Tensor = self.unet(squares, t, class_labels=condition, return_dict=False)[0]
        return pixel_shuffle(found, self.patch)

    def _condition(self, count: int, attributes: Tensor | None, known: Tensor | None) -> Tensor:
        """What is added to the time's embedding [B, width]."""
        if attributes is None:
            return self.unknown.expand(count, -1)
        told: Tensor = self.embed(2 * attributes - 1)  # none of them is not the same as nothing told
        return told if known is None else torch.where(known[:, None], told, self.unknown)


def stage_sides(image_size: int, stages: int, patch: int) -> list[int]:
    """Px of each stage, from the finest.

    Raises:
        ValueError: a side is no whole number.
    """
    factor = patch * 2 ** (stages - 1) if patch >= 1 and stages >= 1 else 0
    if not factor or image_size < factor or image_size % factor:
        raise ValueError(
            f"image_size={image_size}, patch={patch}, {stages} channels: expected a size that is a multiple of "
            f"{factor or 'patch x 2^(stages - 1)'}, fewer channels or patch=1"
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
        raise ValueError(f"attention={wrong}: the stages' sides are {', '.join(map(str, sides))} px; choose of these")
    if wrong := [width for width in channels if width % groups]:
        raise ValueError(f"channels={wrong}: not multiples of groups={groups}; change either")
    looking = [width for width, side in zip(channels, sides, strict=True) if side in attention]
    if wrong := [width for width in looking if width % head]:
        raise ValueError(f"channels={wrong}: where there is attention, a multiple of head={head}; change either")
