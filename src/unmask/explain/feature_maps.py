"""Feature maps: what chosen layers of a network compute for a frame, channel by channel.

A bright pixel means that the channel has a high value there; it does not mean that this place is forged.
"""

from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.explain.gradcam import Combining, Maps, as_maps, prefix_tokens

TILE, GAP, COLUMNS = 96, 4, 4  # px, px, number of tiles in a row
CHANNELS = 15  # maximum number of channels that are shown; the input is one more tile
LISTED = 12  # maximum number of layers that an error message lists


class LayerError(ValueError):
    """A network has no layer with this name, or the layer has no feature maps."""


def feature_maps(network: nn.Module, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Maps]:
    """Return the feature maps that some layers compute for one sample.

    The network is not modified: a copy runs in eval mode.

    Args:
        network: a detector network.
        x: a frame [1, 3, H, W] or a clip [1, T, 3, H, W] in [0, 1].
        layers: names of layers, as in `network.named_modules()`; None for the first and the last convolution.

    Returns:
        {layer: feature maps [C, h, w]}, in the order of `layers`. For a clip, they are the maps of its middle frame.
        For a layer that is called several times, they are the maps of its first call.

    Raises:
        LayerError: see `LayerError`; the message lists layers with similar names.
    """
    found, convolutions = _spatial_outputs(network, x)
    if layers is None:
        layers = list(dict.fromkeys([*convolutions[:1], *convolutions[-1:]]))
    for name in layers:
        if name not in found:
            raise LayerError(_unknown(name, network, list(found)))
    return {name: found[name] for name in layers}


def _spatial_outputs(network: nn.Module, x: Tensor) -> tuple[dict[str, Maps], list[str]]:
    """Run the network once; return the feature maps of each layer that has any, by name, in order of execution.

    Also return the names of those of these layers that are convolutions.
    """
    model = deepcopy(network).eval()
    tokens, found, convolutions = prefix_tokens(model), dict[str, Maps](), list[str]()

    def note(name: str, part: nn.Module, output: object) -> None:
        maps = None if name in found else _middle(output, tokens)
        if maps is not None:
            found[name] = np.asarray(maps.float().cpu().numpy(), np.float32).copy()
            if isinstance(part, nn.Conv2d | nn.Conv3d):
                convolutions.append(name)

    for name, part in model.named_modules():
        if name:
            part.register_forward_hook(lambda part, _, output, name=name: note(name, part, output))
    with torch.no_grad():
        (model.on_whole_frames() if isinstance(model, Combining) else model)(x)
    return found, convolutions


def _middle(output: object, tokens: int | None) -> Tensor | None:
    """Return the middle frame's feature maps [C, h, w] from a layer's output; None if the output contains no maps.

    Args:
        output: maps [N, C, h, w] of N frames, maps [1, C, T, h, w] of a 3-D convolution, or tokens [N, L, C].
        tokens: number of tokens before the patch tokens; None if the network is not a vision transformer.
    """
    if not isinstance(output, Tensor) or output.ndim not in (3, 4, 5):
        return None
    if output.ndim == 5:
        output = output[:, :, output.shape[2] // 2]
    if output.ndim == 3:
        patches = 0 if tokens is None else output.shape[1] - tokens
        if patches < 1 or round(patches**0.5) ** 2 != patches:
            return None
    maps = as_maps(output[len(output) // 2][None], tokens or 0)[0]
    return maps if min(maps.shape[1:]) > 1 else None


def _unknown(name: str, network: nn.Module, known: list[str]) -> str:
    """Say why a layer cannot be shown, and list layers with similar names."""
    exists = name in dict(network.named_modules())
    why = "the output of this layer is not a grid of features" if exists else "the network has no such layer"
    near = get_close_matches(name, known, n=LISTED, cutoff=0.6)
    more = f"did you mean {', '.join(near)}?" if near else f"expected some of {', '.join(known[:LISTED])}"
    rest = "" if near or len(known) <= LISTED else f" and {len(known) - LISTED} more"
    return f"feature_maps={name}: {why}; {more}{rest}"


def strongest(maps: Maps, most: int = CHANNELS) -> list[int]:
    """Return the numbers of the channels that vary most over an image, strongest first.

    Args:
        maps: feature maps [N, C, h, w] of N samples. The strength of a channel is the standard deviation of its values
            over positions, averaged over samples; equal channels are ordered by number.
        most: maximum number of channels.
    """
    strength = maps.std((2, 3)).mean(0)
    return [int(channel) for channel in np.argsort(-strength, kind="stable")[:most]]


def scaled(maps: Maps) -> Maps:
    """Scale each channel of feature maps [N, C, h, w] to [0, 1], jointly for all N samples; constant channels get 0."""
    low, high = maps.min((0, 2, 3), keepdims=True), maps.max((0, 2, 3), keepdims=True)
    return np.asarray((maps - low) / np.where(high > low, high - low, 1), np.float32)


def grid(frame: NDArray[np.uint8], maps: Maps) -> NDArray[np.uint8]:
    """Draw a frame [H, W, 3] and its feature maps [K, h, w] in [0, 1] as tiles, row by row; return RGBA pixels.

    The colours are viridis, which people with colour-blindness can read. The gaps are transparent, so that they have
    the colour of the page.
    """
    tiles = [cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_AREA)]
    for one in maps:
        grey = np.round(255 * one).astype(np.uint8)
        colour = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1]
        shrink = cv2.INTER_AREA if max(one.shape) > TILE else cv2.INTER_NEAREST
        tiles.append(cv2.resize(colour, (TILE, TILE), interpolation=shrink))
    rows, columns, step = -(-len(tiles) // COLUMNS), min(COLUMNS, len(tiles)), TILE + GAP
    sheet = np.zeros((rows * step - GAP, columns * step - GAP, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = step * (number // COLUMNS), step * (number % COLUMNS)
        sheet[top : top + TILE, left : left + TILE] = np.dstack([tile, np.full((TILE, TILE), 255, np.uint8)])
    return sheet
