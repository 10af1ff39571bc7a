"""Draw heat maps and feature maps of some test items at the end of training, and write files that the report reads.

explain/explain.json   the items, why each was chosen, and the result of the sanity check; written last
explain/0.png ...      one image per item: the detector's input, the heat map over it, and the true mask if known
feature_maps/feature_maps.json   the layers, their shapes, the channels shown, and the items; written last
feature_maps/0.png ...           one image per layer and item: the detector's input and the layer's channels
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from unmask.data.datamodule import DataModule
from unmask.data.dataset import CropDataset
from unmask.data.pixels import to_float
from unmask.files import replacing, write_text
from unmask.networks.inputs import inputs_of
from unmask.networks.layout import device_of
from unmask.reporting import examples
from unmask.reporting.feature_maps import FOLDER, JSON
from unmask.reporting.gather import HEAT

FRAMES = 4  # maximum number of frames of a clip that are shown


def explain(
    network: nn.Module,
    localises: bool,
    predictions: pd.DataFrame | None,
    data: DataModule,
    out: Path,
    count: int,
    layers: Sequence[str] | None = None,
) -> None:
    """Write the heat maps of `count` test items, and the feature maps of two of them, to a run's folder.

    The run is already finished, so an error only causes a warning.

    Args:
        network: the trained detector network, on its device.
        localises: whether the network is a localiser, which returns a logit for each pixel.
        predictions: predictions of the test split. If None, as for a generator, nothing is written; nor for sound.
        data: the data module.
        out: the run's folder.
        count: number of items; 0 for none.
        layers: layers whose feature maps are drawn; None for the first and the last convolution.
    """
    if count < 1 or predictions is None or not predictions["logit"].notna().any():
        return
    if not data.sampling.STORED or inputs_of(network) != ("x",):
        return
    writers: dict[str, Callable[[], None]] = {
        "heat maps": lambda: _write(network, localises, predictions, data, out / HEAT, count),
        "feature maps": lambda: _write_feature_maps(
            network, examples.of_each_class(predictions, localises, count), predictions, data, out / FOLDER, layers
        ),
    }
    for name, write in writers.items():
        try:
            write()
        except Exception as error:
            warnings.warn(
                f"drawing the {name} failed ({type(error).__name__}: {error}); the run itself finished", stacklevel=2
            )


def require_layers(network: nn.Module, data: DataModule, count: int, layers: object) -> None:
    """Check that the chosen layers have feature maps, so that an error is raised before training, not after it.

    Args:
        network: the network to be trained.
        data: the data module, whose samples have the size of the network's input.
        count: number of items to explain, the value of the key `explain`.
        layers: the value of the key `feature_maps`.

    Raises:
        ValueError: `layers` is not a list of layers that have feature maps, or `count` is 0, so no maps are drawn.
    """
    if not layers and isinstance(layers, list | None):
        return
    if not isinstance(layers, list):
        raise ValueError(f"feature_maps={layers}: expected a list of layers, such as [{layers}], or null")
    if count < 1:
        raise ValueError(
            f"feature_maps=[{','.join(map(str, layers))}]: has no effect with explain={count}; set explain to 1 or more"
        )
    from unmask.explain.feature_maps import feature_maps

    feature_maps(network, data.blank(), [str(layer) for layer in layers])


def _write(
    network: nn.Module, localises: bool, predictions: pd.DataFrame, data: DataModule, folder: Path, count: int
) -> None:
    from unmask.explain.gradcam import heat_maps  # imported here because runs without heat maps do not need it
    from unmask.explain.sanity import ALIKE, agreement

    begun = time.monotonic()
    chosen = examples.explained(predictions, count, localises)
    samples = data.samples["test"]
    rows = [_row(samples.table, predictions, choice.item) for choice in chosen]
    if not rows:
        return
    x = to_float(samples.pixels(rows), data.loader.image_size).to(next(network.parameters()).device)
    masks = _masks(samples, rows, data.loader.image_size) if localises else None
    maps = heat_maps(network, x)
    alike = agreement(network, x, maps)
    folder.mkdir(exist_ok=True)
    entries = []
    for number, choice in enumerate(chosen):
        picture = _strip(x[number], maps[number], None if masks is None else masks[number])
        with replacing(folder / f"{number}.png") as part:
            Image.fromarray(picture).save(part, "PNG")
        entries.append({"item": choice.item, "why": choice.why, "prob": choice.prob, "file": f"{number}.png"})
    about = {
        "items": entries,
        "localiser": localises,
        "agreement": None if math.isnan(alike) else alike,
        "limit": ALIKE,
        "seconds": time.monotonic() - begun,
    }
    write_text(folder / "explain.json", json.dumps(about, indent=2))


def _write_feature_maps(
    network: nn.Module,
    chosen: Sequence[examples.Choice],
    predictions: pd.DataFrame,
    data: DataModule,
    folder: Path,
    layers: Sequence[str] | None,
) -> None:
    """Write the feature maps of each layer for the chosen items."""
    from unmask.explain.feature_maps import feature_maps, grid, scaled, strongest

    samples = data.samples["test"]
    pixels = samples.pixels([_row(samples.table, predictions, choice.item) for choice in chosen])
    x = to_float(pixels, data.loader.image_size).to(device_of(network))
    names = None if layers is None else [str(layer) for layer in layers]
    found = [feature_maps(network, one[None], names) for one in x]
    if not found[0]:  # no layers were chosen, or the network has no convolutions
        return
    folder.mkdir(exist_ok=True)
    entries, number = [], 0
    for layer in found[0]:
        maps = np.stack([one[layer] for one in found])  # [N, C, h, w]
        channels = strongest(maps)
        shown = []
        for frame, tiles, choice in zip(_middle_frames(x), scaled(maps[:, channels]), chosen, strict=True):
            with replacing(folder / f"{number}.png") as part:
                Image.fromarray(grid(frame, tiles)).save(part, "PNG")
            shown.append({"item": choice.item, "why": choice.why, "prob": choice.prob, "file": f"{number}.png"})
            number += 1
        entries.append({"layer": layer, "shape": maps.shape[1:], "channels": channels, "shown": shown})
    write_text(folder / JSON, json.dumps({"layers": entries}, indent=2))


def _middle_frames(x: torch.Tensor) -> NDArray[np.uint8]:
    """Return the frames [N, H, W, 3] of a batch of frames, or the middle frames of a batch of clips."""
    frames = x[:, x.shape[1] // 2] if x.ndim == 5 else x
    return np.asarray(frames.cpu().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


def _masks(samples: CropDataset, rows: list[int], side: int) -> NDArray[np.float32]:
    """Return the manipulation masks [N, S, S] in [0, 1] of the samples in these rows."""
    mask = samples.__getitems__([(0, row) for row in rows])["mask"]
    return np.asarray(to_float(mask, side)[:, 0].numpy(), np.float32)


def _row(samples: pd.DataFrame, predictions: pd.DataFrame, item: str) -> int:
    """Find an item's sample with the highest logit; return its row number in the table `samples`."""
    scored = predictions[predictions["item"] == item].dropna(subset=["logit"])
    best = scored.iloc[int(scored["logit"].to_numpy().argmax())]
    same = [(samples[key] == best[key]).to_numpy() for key in ("item", "track", "frame")]
    return int(np.flatnonzero(np.logical_and.reduce(same))[0])


def _strip(x: torch.Tensor, maps: NDArray[np.float32], mask: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Draw an image [3, H, W] beside its heat map, or frames of a clip [T, 3, H, W] above their heat maps.

    If a mask is given, it is drawn over the first frame as a further tile.
    """
    from unmask.explain.gradcam import overlay

    clip = x.ndim == 4
    frames = (x if clip else x[None]).cpu().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    heat = maps if clip else maps[None]
    at = np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))
    columns = [[frames[number], overlay(frames[number], heat[number])] for number in at]
    if mask is not None:
        columns[0].append(overlay(frames[0], mask))
    return np.hstack([np.vstack(column) for column in columns]) if clip else np.hstack(columns[0])
