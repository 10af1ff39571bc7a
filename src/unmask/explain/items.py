"""Compute heat maps of some test items at the end of training, and write files that the report reads.

explain/explain.json   the items, why each was chosen, and the result of the sanity check; written last
explain/0.png ...      one image per item: the detector's input, the heat map over it, and the true mask if known
"""

import json
import math
import time
import warnings
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
from unmask.reporting import examples
from unmask.reporting.gather import HEAT

FRAMES = 4  # maximum number of frames of a clip that are shown


def explain(
    network: nn.Module, localises: bool, predictions: pd.DataFrame | None, data: DataModule, out: Path, count: int
) -> None:
    """Write the heat maps of `count` test items to a run's folder.

    The run is already finished, so an error only causes a warning.

    Args:
        network: the trained detector network, on its device.
        localises: whether the network itself returns maps.
        predictions: predictions of the test split; None (for a generator): nothing is written.
        data: the data module.
        out: the run's folder.
        count: number of items; 0 for none.
    """
    if count < 1 or predictions is None or not predictions["logit"].notna().any():
        return
    try:
        _write(network, localises, predictions, data, out / HEAT, count)
    except Exception as error:
        warnings.warn(f"heat maps failed ({type(error).__name__}: {error}); the run itself finished", stacklevel=2)


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


def _masks(samples: CropDataset, rows: list[int], side: int) -> NDArray[np.float32]:
    """Return the manipulation masks [N, S, S] in [0, 1] of the samples in these rows."""
    mask = samples.__getitems__([(0, row) for row in rows])["mask"]
    return np.asarray(to_float(mask, side)[:, 0].numpy(), np.float32)


def _row(samples: pd.DataFrame, predictions: pd.DataFrame, item: str) -> int:
    """Return the row number, in `samples`, of the item's sample that has the highest logit."""
    scored = predictions[predictions["item"] == item].dropna(subset=["logit"])
    best = scored.iloc[int(scored["logit"].to_numpy().argmax())]
    same = [(samples[key] == best[key]).to_numpy() for key in ("item", "track", "frame")]
    return int(np.flatnonzero(np.logical_and.reduce(same))[0])


def _strip(x: torch.Tensor, maps: NDArray[np.float32], mask: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """Place an image [3, H, W] beside its heat map, or a clip [T, 3, H, W] above its heat maps; then add the mask."""
    from unmask.explain.gradcam import overlay

    clip = x.ndim == 4
    frames = (x if clip else x[None]).cpu().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    heat = maps if clip else maps[None]
    at = np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))
    columns = [[frames[number], overlay(frames[number], heat[number])] for number in at]
    if mask is not None:
        columns[0].append(overlay(frames[0], mask))
    return np.hstack([np.vstack(column) for column in columns]) if clip else np.hstack(columns[0])
