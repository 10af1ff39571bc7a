"""Heat maps of the image regions that contributed to the score.

A localiser, which scores each pixel, predicts its heat maps. A video transformer computes its own heat maps. For any
other detector, they are computed with Grad-CAM (arXiv 1610.02391); a test compares them with those of pytorch-grad-cam,
whose import takes longer than scoring a file. A heat map shows what the network looked at. It does not show where a
forgery is, and it is not proof.
"""

from copy import deepcopy
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.networks.inputs import SeveralInputs

Maps = NDArray[np.float32]
Picture = NDArray[np.uint8]

OPACITY = 0.6  # opacity of an overlay where the heat has its maximum, 1


@runtime_checkable
class Freezable(Protocol):
    """A module that does not compute gradients for its encoder if `frozen` is true."""

    frozen: bool


@runtime_checkable
class Naming(Protocol):
    """A network that tells Grad-CAM which layer to use."""

    @property
    def cam_layer(self) -> nn.Module:
        """The layer whose output Grad-CAM uses."""


@runtime_checkable
class Combining(Protocol):
    """A network that combines the logits of several views of a frame, such as crops."""

    def on_whole_frames(self) -> nn.Module:
        """Return the network that scores a single view; heat maps apply it to the full frame."""


@runtime_checkable
class Explaining(Protocol):
    """A clip network that computes its own heat maps: Grad-CAM needs a layer with spatial output, and it has none."""

    def evidence_maps(self, x: Tensor, toward: int) -> Tensor:
        """Return heat maps [B, T, h, w] >= 0 of clips [B, T, 3, H, W]: evidence for fake (`toward` 1) or real (0)."""


@runtime_checkable
class Prefixed(Protocol):
    """A vision transformer that has prefix tokens, such as the class token, before the patch tokens."""

    num_prefix_tokens: int


@runtime_checkable
class Blocks(Protocol):
    """A network that consists of sequential blocks."""

    blocks: nn.Sequential


def heat_maps(network: nn.Module, x: Tensor, toward: int = 1) -> Maps:
    """Compute heat maps of the evidence for one class.

    The network is not modified: gradients are computed on a copy in eval mode, also for frozen layers.
    The function also works in inference mode. Samples are processed one at a time, which limits the memory.

    Args:
        network: x -> logits [B], or x -> pixel logits [B, 1, H, W]. The sigmoid of pixel logits is the heat map. A
            network with a method `evidence_maps` computes its own heat maps. Otherwise, Grad-CAM is used. If the
            network's last spatial layer is unsuitable for Grad-CAM, the network can name another layer by an attribute
            or property `cam_layer`.
        x: frames [B, 3, H, W] or clips [B, T, 3, H, W] in [0, 1].
        toward: 1 for evidence for fake, 0 for evidence for real; pixel logits always show evidence for fake.

    Returns:
        Heat maps [B, H, W] of frames or [B, T, H, W] of clips, in [0, 1]. Unless they come from pixel logits, the
        maximum of each sample is 1, or 0 if nothing supports the class; the frames of a clip share one scale.

    Raises:
        ValueError: the network has no layer with a spatial output on which its logit depends, or has several inputs.
    """
    if isinstance(network, SeveralInputs):
        raise ValueError(f"{type(network).__name__} has several inputs, and a heat map shows only one of them")
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        # cuDNN is disabled because it supports the backward pass of recurrent layers only in training mode.
        model = thawed(network)
        model = model.on_whole_frames() if isinstance(model, Combining) else model
        samples = x.detach().clone().float()
        if x.ndim == 4 and model(samples[:1]).ndim == 4:
            with torch.no_grad():
                return np.stack([model(one[None])[0, 0].sigmoid().float().cpu().numpy() for one in samples])
        if isinstance(model, Explaining):
            return np.stack([_own_maps(model, one, toward) for one in samples])
        maps = np.stack([_grad_cam(model, one if x.ndim == 5 else one[None], x.ndim == 5, toward) for one in samples])
        return maps if x.ndim == 5 else maps[:, 0]


def overlay(frame: Picture, heat: Maps) -> Picture:
    """Draw a heat map [h, w] in [0, 1] over a frame [H, W, 3]; where the heat is 0, the frame is unchanged."""
    height, width = frame.shape[:2]
    heat = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = (OPACITY * heat)[..., None]
    mixed: Picture = np.round(frame * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def thawed(network: nn.Module) -> nn.Module:
    """Return a copy of the network in eval mode, with gradients enabled everywhere, even in frozen parts."""
    copy = deepcopy(network).eval().requires_grad_(True)
    for part in copy.modules():
        if isinstance(part, Freezable) and part.frozen is True:  # otherwise its forward pass would disable gradients
            part.frozen = False
    return copy


class _Frames(nn.Module):
    """A wrapper that lets a clip network take the frames [T, 3, H, W] of one clip as a batch, as Grad-CAM requires.

    The network returns one logit for all frames. A frame network is called without a change.
    """

    def __init__(self, network: nn.Module, clips: bool) -> None:
        super().__init__()
        self.network, self.clips = network, clips

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.network(x[None] if self.clips else x)
        return logit


def _grad_cam(model: nn.Module, frames: Tensor, clips: bool, toward: int) -> Maps:
    """Compute the heat maps [T, H, W] of one sample [T, 3, H, W] with Grad-CAM; T is 1 for a frame."""
    model = _Frames(model, clips)
    layer = find_layer(model, frames)
    kept: list[Tensor] = []

    def keep(module: nn.Module, _: tuple[object, ...], output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    with layer.register_forward_hook(keep):
        logit = model(frames)
        (logit if toward == 1 else -logit).sum().backward()
    prefix, output = prefix_tokens(model) or 0, kept[-1]
    features = as_maps(output.detach(), prefix).float()
    gradients = as_maps(output.new_zeros(output.shape) if output.grad is None else output.grad, prefix).float()
    return _scaled((features * gradients.mean((2, 3), keepdim=True)).sum(1).relu(), frames.shape[-2:])


def _scaled(heat: Tensor, size: torch.Size) -> Maps:
    """Resize heat maps [T, h, w] to `size`: each from 0 to its share of the highest heat of all T maps."""
    peak = heat.flatten(1).amax(1)
    share: Maps = (peak / peak.max() if peak.max() > 0 else peak).cpu().numpy()
    resized = [np.asarray(cv2.resize(_to_one(one), (size[1], size[0])), np.float32) for one in heat.cpu().numpy()]
    maps = np.stack([_to_one(one) for one in resized]) * share[:, None, None]
    return np.asarray(np.clip(maps, 0, 1), np.float32)


def _to_one(heat: Maps) -> Maps:
    low, high = heat.min(), heat.max()
    return np.asarray((heat - low) / max(high - low, 1e-7), np.float32)


def _own_maps(model: Explaining, clip: Tensor, toward: int) -> Maps:
    """Return the heat maps that a network computes itself for a clip [T, 3, H, W], resized to [T, H, W], at most 1."""
    maps = model.evidence_maps(clip[None], toward).float()  # [1, T, h, w]
    maps = interpolate(maps, clip.shape[-2:], mode="bilinear", align_corners=False)[0]
    found: Maps = (maps / maps.amax().clamp(min=torch.finfo(maps.dtype).tiny)).cpu().numpy()
    return found


def find_layer(network: nn.Module, frames: Tensor) -> nn.Module:
    """Find the layer for Grad-CAM: the layer that the network names, or else the last layer with a spatial output.

    In a vision transformer, the last layer with a spatial output would be the patch embedding, which precedes all
    blocks. The norm before the last attention is used instead. Layers after this attention are unsuitable: if the
    classifier reads only the class token, the patch tokens of these layers have no gradient.

    Raises:
        ValueError: no layer has a spatial output.
    """
    for part in network.modules():
        if isinstance(part, Naming) and isinstance(part.cam_layer, nn.Module):
            return part.cam_layer
    for part in network.modules():
        if isinstance(part, Prefixed) and isinstance(part, Blocks):
            return part.blocks[-1].get_submodule("norm1")
    found: list[nn.Module] = []

    def note(module: nn.Module, _: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad and len(output) == len(frames):
            if min(as_maps(output).shape[1:]) > 1:  # a single channel is an attention map, not features
                found.append(module)

    handles = [part.register_forward_hook(note) for part in network.modules()]
    network(frames)
    for handle in handles:
        handle.remove()
    if not found:
        raise ValueError(
            "found no layer with a spatial output in the network; if there is one, assign it to the network's "
            "attribute `cam_layer`"
        )
    return found[-1]


def as_maps(output: Tensor, prefix: int = 0) -> Tensor:
    """Convert the output of a layer to feature maps [N, C, h, w].

    Args:
        output: maps [N, C, h, w], maps [N, h, w, C] as in Swin, or tokens [N, prefix + h * w, C] of square images.
        prefix: number of tokens before the patch tokens.
    """
    if output.ndim == 3:
        tokens = output[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    channels_last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.permute(0, 3, 1, 2) if channels_last else output


def prefix_tokens(network: nn.Module) -> int | None:
    """Return the number of tokens before the patch tokens; None if the network is not a vision transformer."""
    return max((part.num_prefix_tokens for part in network.modules() if isinstance(part, Prefixed)), default=None)
