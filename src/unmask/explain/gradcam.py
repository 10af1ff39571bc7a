"""Heat maps: where in a picture lay what moved the score.

Grad-CAM (arXiv 1610.02391) by pytorch-grad-cam, for any detector network; a network that returns maps is its own heat
map. A heat map shows what the network looked at. It does not show where a forgery is, and it proves nothing.
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

OPACITY = 0.6  # of the hottest place in an overlay


@runtime_checkable
class Freezable(Protocol):
    """A network with a part that is not trained where it is `frozen`."""

    frozen: bool


@runtime_checkable
class Naming(Protocol):
    """A network that names the layer to explain by."""

    @property
    def cam_layer(self) -> nn.Module:
        """The layer."""


@runtime_checkable
class Prefixed(Protocol):
    """A vision transformer with tokens before those of the patches."""

    num_prefix_tokens: int


@runtime_checkable
class Blocks(Protocol):
    """A network of blocks, one after the other."""

    blocks: nn.Sequential


def heat_maps(network: nn.Module, x: Tensor, toward: int = 1) -> Maps:
    """Where lay the evidence.

    The network stays as it is: a copy is differentiated, in eval mode, frozen parts too, and the call works inside
    inference mode. Samples are taken one by one, which bounds the memory.

    Args:
        network: x -> logit [B], or -> maps [B, 1, H, W], which then are the heat maps, by their sigmoid. One whose last
            spatial layer is none to explain by names another one by an attribute or property `cam_layer`.
        x: [B, 3, H, W] or [B, T, 3, H, W] in [0, 1].
        toward: 1 for evidence that speaks for fake, 0 for real.

    Returns:
        [B, (T,) H, W] in [0, 1]; by Grad-CAM, 1 is a sample's hottest place, and a sample without any such evidence has
        zeros. The frames of a clip share one scale.

    Raises:
        ValueError: the network has no spatial layer that its logit depends on.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        # cuDNN differentiates recurrent layers in training mode only, hence without it.
        model = thawed(network)
        samples = x.detach().clone().float()
        if x.ndim == 4 and model(samples[:1]).ndim == 4:
            with torch.no_grad():
                return np.stack([model(one[None])[0, 0].sigmoid().float().cpu().numpy() for one in samples])
        maps = np.stack([_grad_cam(model, one if x.ndim == 5 else one[None], x.ndim == 5, toward) for one in samples])
        return maps if x.ndim == 5 else maps[:, 0]


def overlay(frame: Picture, heat: Maps) -> Picture:
    """Lay a heat map [h, w] in [0, 1] over a frame [H, W, 3]; where nothing is hot, the frame is left alone."""
    height, width = frame.shape[:2]
    heat = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = (OPACITY * heat)[..., None]
    mixed: Picture = np.round(frame * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def thawed(network: nn.Module) -> nn.Module:
    """A copy in eval mode that can be differentiated through and through, also where the network is frozen."""
    copy = deepcopy(network).eval().requires_grad_(True)
    for part in copy.modules():
        if isinstance(part, Freezable) and part.frozen is True:  # it would switch gradients off in its forward
            part.frozen = False
    return copy


class _Frames(nn.Module):
    """A network of clips as one of frames [T, 3, H, W], which is what Grad-CAM takes, with a logit for all of them."""

    def __init__(self, network: nn.Module, clips: bool) -> None:
        super().__init__()
        self.network, self.clips = network, clips

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.network(x[None] if self.clips else x)
        return logit


def _grad_cam(model: nn.Module, frames: Tensor, clips: bool, toward: int) -> Maps:
    """The maps [T, H, W] of one sample [T, 3, H, W]."""
    # What they import, a training without heat maps does not need.
    from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget  # type: ignore[import-untyped]

    model = _Frames(model, clips)
    layer = find_layer(model, frames)
    with GradCAM(model, [layer], reshape_transform=lambda output: as_maps(output, _prefix(model))) as cam:
        maps: Maps = cam(frames, [BinaryClassifierOutputTarget(toward)])  # each frame by its own maximum
        features, gradients = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
    heat = (features * gradients.mean((2, 3), keepdim=True)).sum(1).relu().flatten(1).amax(1).numpy()  # [T]
    scale: Maps = heat / heat.max() if heat.max() > 0 else heat
    return np.asarray(np.clip(maps * scale[:, None, None], 0, 1), np.float32)


def find_layer(network: nn.Module, frames: Tensor) -> nn.Module:
    """The layer to explain by: the one that the network names, or else the last one whose output is spatial.

    In a vision transformer the last spatial one would be the patches, before any layer has looked at them. There it is
    the input of the last attention, since behind that a classifier may read the class token alone, and the patches
    have no gradient.

    Raises:
        ValueError: there is none.
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
            if min(as_maps(output).shape[1:]) > 1:  # one channel is a weighting of places, not what was seen there
                found.append(module)

    handles = [part.register_forward_hook(note) for part in network.modules()]
    network(frames)
    for handle in handles:
        handle.remove()
    if not found:
        raise ValueError("the network has no layer whose output is spatial; let it name one as `cam_layer`")
    return found[-1]


def as_maps(output: Tensor, prefix: int = 0) -> Tensor:
    """A layer's output as maps [N, C, h, w].

    Args:
        output: maps; or [N, h, w, C], as Swin has them; or tokens [N, prefix + h * w, C] of square pictures.
        prefix: tokens before those of the patches.
    """
    if output.ndim == 3:
        tokens = output[:, prefix:]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    channels_last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.permute(0, 3, 1, 2) if channels_last else output


def _prefix(network: nn.Module) -> int:
    return max((part.num_prefix_tokens for part in network.modules() if isinstance(part, Prefixed)), default=0)
