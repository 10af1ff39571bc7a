"""Heat maps of some test items, made while the trained model is at hand; the report shows what lies in the folder.

explain/explain.json   what is shown, why, and the sanity figure; written last
explain/0.png ...      an item each: what the detector was shown, the heat map over it, and a true mask
"""

import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from unmask.data.augment import to_float
from unmask.files import read_json
from unmask.reporting import choose
from unmask.reporting.run import HeatMap, HeatMaps

FOLDER, FRAMES = "explain", 4  # of a clip, so many frames are shown


def explain(
    module: Any, predictions: pd.DataFrame | None, data: Any, out: Path, count: int, device: torch.device
) -> None:
    """Write the heat maps of `count` test items into a run's folder.

    A training is finished whether or not it can be explained: a failure is a warning.

    Args:
        module: the trained detector.
        predictions: of the test split; nothing is written where there are none, as for a generator.
        data: the data module.
        out: the run's folder.
        count: of items; 0 for none.
        device: where the module runs.
    """
    if count < 1 or predictions is None or not predictions["logit"].notna().any():
        return
    try:
        _write(module.to(device), predictions, data, out / FOLDER, count)
    except Exception as error:
        warnings.warn(f"no heat maps ({type(error).__name__}: {error}); the run itself is finished", stacklevel=2)


def read(out: Path) -> HeatMaps | None:
    """What `explain` left in a run's folder, for a page."""
    path = out / FOLDER / "explain.json"
    if not path.is_file():
        return None
    about = read_json(path, "delete it; the report is then written without heat maps")
    shown = [
        HeatMap(entry["item"], entry["why"], entry["prob"], (path.parent / entry["file"]).read_bytes())
        for entry in about["items"]
    ]
    agreement = math.nan if about["agreement"] is None else about["agreement"]
    return HeatMaps(shown, about["localiser"], agreement, about["limit"])


def _write(module: Any, predictions: pd.DataFrame, data: Any, folder: Path, count: int) -> None:
    from unmask.explain.gradcam import heat_maps  # what it imports, a training without heat maps does not need
    from unmask.explain.sanity import ALIKE, agreement

    begun = time.monotonic()
    localiser = hasattr(module, "maps")
    chosen = choose.explained(predictions, count, localiser)
    samples = data.samples["test"]
    samples.features = None  # the pixels are wanted, whatever the training read
    rows = [_row(samples.table, predictions, choice.item) for choice in chosen]
    if not rows:
        return
    batch = samples.__getitems__([(0, row) for row in rows])
    x = to_float(batch["x"], data.image_size).to(module.device)
    masks = to_float(batch["mask"], data.image_size)[:, 0].numpy() if localiser else None
    maps = heat_maps(module.network, x)
    alike = agreement(module.network, x, maps)
    folder.mkdir(exist_ok=True)
    entries = []
    for number, choice in enumerate(chosen):
        picture = _strip(x[number], maps[number], None if masks is None else masks[number])
        Image.fromarray(picture).save(folder / f"{number}.png")
        entries.append({"item": choice.item, "why": choice.why, "prob": choice.prob, "file": f"{number}.png"})
    about = {
        "items": entries,
        "localiser": localiser,
        "agreement": None if math.isnan(alike) else alike,
        "limit": ALIKE,
        "seconds": time.monotonic() - begun,
    }
    (folder / "explain.json").write_text(json.dumps(about, indent=2))


def _row(samples: pd.DataFrame, predictions: pd.DataFrame, item: str) -> int:
    """The sample of an item that speaks most for fake."""
    scored = predictions[predictions["item"] == item].dropna(subset=["logit"])
    best = scored.iloc[int(scored["logit"].to_numpy().argmax())]
    same = [(samples[key] == best[key]).to_numpy() for key in ("item", "track", "frame")]
    return int(np.flatnonzero(np.logical_and.reduce(same))[0])


def _strip(x: torch.Tensor, maps: NDArray[np.float32], mask: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """A picture [3, H, W] or a clip [T, 3, H, W] beside or above its heat map, and the mask beside that."""
    from unmask.explain.gradcam import overlay

    clip = x.ndim == 4
    frames = (x if clip else x[None]).cpu().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    heat = maps if clip else maps[None]
    at = np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))
    columns = [[frames[number], overlay(frames[number], heat[number])] for number in at]
    if mask is not None:
        columns[0].append(overlay(frames[0], mask))
    return np.hstack([np.vstack(column) for column in columns]) if clip else np.hstack(columns[0])
