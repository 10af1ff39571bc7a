"""Heat maps of the image regions that contributed to the score.

They use Grad-CAM (arXiv 1610.02391) from pytorch-grad-cam, for any detector network; the maps of a localiser are used
as they are. A heat map shows what the network looked at. It does not show where a forgery is, and it proves nothing.
"""

from copy import deepcopy
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Maps = NDArray[np.float32]
Picture = NDArray[np.uint8]

OPACITY = 0.6  # of the highest heat value in an overlay


@runtime_checkable
class Freezable(Protocol):
    """A network with a part that is not trained if `frozen` is true."""

    frozen: bool


@runtime_checkable
class Naming(Protocol):
    """A network that names its layer for Grad-CAM."""

    @property
    def cam_layer(self) -> nn.Module:
        """The layer for Grad-CAM."""


@runtime_checkable
class Prefixed(Protocol):
    """A vision transformer with prefix tokens before the patch tokens."""

    num_prefix_tokens: int


@runtime_checkable
class Blocks(Protocol):
    """A network of sequential blocks."""

    blocks: nn.Sequential


def heat_maps(network: nn.Module, x: Tensor, toward: int = 1) -> Maps:
    """Compute heat maps of the evidence for one class.

    The network is not modified: gradients are computed on a copy in eval mode, frozen parts included, and the function
    also works in inference mode. Samples are processed one at a time, which bounds the memory.

    Args:
        network: x -> logit [B], or -> maps [B, 1, H, W], whose sigmoid is then the heat map. If its last spatial layer
            is unsuitable for Grad-CAM, it can name another one as an attribute or property `cam_layer`.
        x: [B, 3, H, W] or [B, T, 3, H, W] in [0, 1].
        toward: 1 for evidence for fake, 0 for real.

    Returns:
        [B, (T,) H, W] in [0, 1]; with Grad-CAM, the maximum of a sample is 1, and a sample without such evidence is all
        zeros. The frames of a clip share one scale.

    Raises:
        ValueError: the network has no spatial layer that its logit depends on.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        # cuDNN is disabled because it supports the backward pass of recurrent layers only in training mode.
        model = thawed(network)
        samples = x.detach().clone().float()
        if x.ndim == 4 and model(samples[:1]).ndim == 4:
            with torch.no_grad():
                return np.stack([model(one[None])[0, 0].sigmoid().float().cpu().numpy() for one in samples])
        maps = np.stack([_grad_cam(model, one if x.ndim == 5 else one[None], x.ndim == 5, toward) for one in samples])
        return maps if x.ndim == 5 else maps[:, 0]


def overlay(frame: Picture, heat: Maps) -> Picture:
    """Overlay a heat map [h, w] in [0, 1] on a frame [H, W, 3]; where the heat is 0, the frame is unchanged."""
    height, width = frame.shape[:2]
    heat = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = (OPACITY * heat)[..., None]
    mixed: Picture = np.round(frame * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def thawed(network: nn.Module) -> nn.Module:
    """Return a copy in eval mode with gradients enabled everywhere, also in frozen parts."""
    copy = deepcopy(network).eval().requires_grad_(True)
    for part in copy.modules():
        if isinstance(part, Freezable) and part.frozen is True:  # it would disable gradients in its forward
            part.frozen = False
    return copy


class _Frames(nn.Module):
    """Wrap a network for clips to take frames [T, 3, H, W], as Grad-CAM requires, and return one logit for them."""

    def __init__(self, network: nn.Module, clips: bool) -> None:
        super().__init__()
        self.network, self.clips = network, clips

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.network(x[None] if self.clips else x)
        return logit


def _grad_cam(model: nn.Module, frames: Tensor, clips: bool, toward: int) -> Maps:
    """Compute the maps [T, H, W] of one sample [T, 3, H, W]."""
    # Imported here because runs without heat maps do not need it.
    from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget  # type: ignore[import-untyped]

    model = _Frames(model, clips)
    layer = find_layer(model, frames)
    with GradCAM(model, [layer], reshape_transform=lambda output: as_maps(output, _prefix(model))) as cam:
        maps: Maps = cam(frames, [BinaryClassifierOutputTarget(toward)])  # each frame is scaled by its own maximum
        features, gradients = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
    heat = (features * gradients.mean((2, 3), keepdim=True)).sum(1).relu().flatten(1).amax(1).numpy()  # [T]
    scale: Maps = heat / heat.max() if heat.max() > 0 else heat
    return np.asarray(np.clip(maps * scale[:, None, None], 0, 1), np.float32)


def find_layer(network: nn.Module, frames: Tensor) -> nn.Module:
    """Find the layer for Grad-CAM: the one that the network names, or else the last one with a spatial output.

    In a vision transformer, the last spatial output would be the patch embedding, before any block. There the input of
    the last attention is used instead: after it, a classifier may read only the class token, so that the patch tokens
    have no gradient.

    Raises:
        ValueError: there is no such layer.
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
        raise ValueError("the network has no layer whose output is spatial; let it name one as `cam_layer`")
    return found[-1]


def as_maps(output: Tensor, prefix: int = 0) -> Tensor:
    """Convert the output of a layer to maps [N, C, h, w].

    Args:
        output: maps [N, C, h, w]; [N, h, w, C], as in Swin; or tokens [N, prefix + h * w, C] of square images.
        prefix: number of tokens before the patch tokens.
    """
    if output.ndim == 3:
        tokens = output[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    channels_last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.permute(0, 3, 1, 2) if channels_last else output


def _prefix(network: nn.Module) -> int:
    return max((part.num_prefix_tokens for part in network.modules() if isinstance(part, Prefixed)), default=0)
