"""A denoising U-Net that is conditioned on text by cross-attention, as in latent diffusion (arXiv 2112.10752)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from unmask.networks.denoiser import stage_sides


class Attention:
    """Attention of diffusers' transformer blocks, which is computed in float32 on a CPU.

    There, PyTorch's attention in bfloat16 with its backward pass takes about ten times as long for a few tokens.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
    ) -> Tensor:
        """Return the result [B, N, width] for states [B, N, width] that look at states [B, M, ...], or at themselves.

        Args:
            attn: diffusers' layer, with its projections.
            hidden_states: the states that look.
            encoder_hidden_states: the states that are looked at; None for the same states.
            attention_mask: not used; all states are looked at.
        """
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen)
        q, k, v = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in parts)  # [B, heads, N, head]
        if q.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                found = scaled_dot_product_attention(q.float(), k.float(), v.float())
        else:
            found = scaled_dot_product_attention(q, k, v)
        result: Tensor = attn.to_out[0](found.transpose(1, 2).flatten(2).to(q.dtype))
        return result


class TextDenoiser(nn.Module):
    """Predict the noise or the velocity of noisy latents; the noise schedule's `prediction_type` says which.

    The network is diffusers' UNet2DConditionModel: residual blocks, and cross-attention from the latents to the words
    of the caption. One vector of the whole caption is added to that of the time step (arXiv 2205.11487). An unknown
    caption is an empty one (arXiv 2207.12598).

    Args:
        text: captions, UTF-8 bytes [B, N] -> vectors [B, words, text.width].
        image_size: side of the latents, a multiple of 2^(stages - 1).
        inside: number of channels of the latents.
        channels: channels of each stage, highest resolution first; each stage has half the side of the previous stage.
        layers: number of residual blocks per stage.
        attention: the stages with cross-attention, given by the sides of their feature maps.
        groups: number of groups of the group norm; must divide every entry of `channels`.
        head: channels per attention head; must divide every entry of `channels`.
        pooled: whether to add a vector of the whole caption to that of the time step.
    """

    condition = "caption"  #: entry of a batch that the network is conditioned on

    def __init__(
        self,
        text: nn.Module,
        image_size: int = 16,
        inside: int = 4,
        channels: Sequence[int] = (64, 128, 256),
        layers: int = 1,
        attention: Sequence[int] = (16, 8, 4),
        groups: int = 16,
        head: int = 32,
        pooled: bool = True,
    ) -> None:
        super().__init__()
        sides = stage_sides(image_size, len(channels), 1)
        _check_channels(channels, groups, head)
        if unknown := sorted(set(attention) - set(sides)):
            raise ValueError(
                f"attention={unknown}: expected some of {', '.join(map(str, sides))}, the sides of the stages"
            )
        # Imported here because the import takes seconds; only users of this network should wait for it.
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        self.text, self.shape = text, (inside, image_size, image_size)
        seen = [side in attention for side in sides]
        self.unet: nn.Module = UNet2DConditionModel(
            sample_size=image_size,
            in_channels=inside,
            out_channels=inside,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("CrossAttnDownBlock2D" if looks else "DownBlock2D" for looks in seen),
            up_block_types=tuple("CrossAttnUpBlock2D" if looks else "UpBlock2D" for looks in reversed(seen)),
            # In spite of its name, this is the number of heads.
            attention_head_dim=tuple(width // head for width in channels),
            cross_attention_dim=int(text.width),  # type: ignore[arg-type]
            norm_num_groups=groups,
            addition_embed_type="text" if pooled else None,
            addition_embed_type_num_heads=math.gcd(int(text.width), 8),  # type: ignore[arg-type]
        )
        self.unet.set_attn_processor(Attention())

    def forward(self, x: Tensor, t: Tensor, caption: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Predict the noise or velocity of latents [B, C, S, S].

        Args:
            x: noisy latents.
            t: time steps [B]; 0 is the least noise.
            caption: UTF-8 bytes [B, N], padded with zeros; None if all captions are unknown.
            known: bool [B], whether the caption of each image is known; None if all are.
        """
        if caption is None:
            caption = torch.zeros(len(x), 1, dtype=torch.uint8, device=x.device)
        if known is not None:
            caption = caption * known[:, None]
        found: Tensor = self.unet(x, t, encoder_hidden_states=self.text(caption), return_dict=False)[0]
        return found


def _check_channels(channels: Sequence[int], groups: int, head: int) -> None:
    if wrong := [width for width in channels if width % groups or width % head]:
        raise ValueError(f"channels={wrong}: expected multiples of groups={groups} and of head={head}")
