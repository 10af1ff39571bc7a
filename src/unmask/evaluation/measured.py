"""Fit the range of inputs in which a detector was measured to the validation split, at the end of a training."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.data.dataset import CropDataset
from unmask.data.manifest import STATISTIC
from unmask.data.pixels import to_float
from unmask.data.predictions import pooled
from unmask.media.quality import blockiness, sharpness
from unmask.metrics.measured import Cloud, Limits, far
from unmask.networks.encoded import Encoding
from unmask.networks.inputs import encode
from unmask.networks.layout import device_of
from unmask.runs.measured import MEASURES, write_cloud
from unmask.training.module import Module

SAMPLES = 1000  # maximum number of validation samples that are measured, spread evenly over the faces
FEWEST = 8  # minimum number of validation items


def measured_range(module: Module, data: DataModule, out: Path) -> Settings:
    """Return the entry `range` of metrics.json, and write the cloud of the features to the run folder.

    The limits are fitted to the medians of each face (or picture) of the validation split, real and fake, and to the
    bits per pixel of each file. The features are those of `encode`; for a network without this method, only the limits
    are fitted. The result is empty if the module is not a detector or segmenter, or if fewer than `FEWEST` validation
    items have samples, or if the samples are sound.
    """
    samples = data.samples["val"]
    rows = _rows(samples)
    if (
        not data.sampling.STORED
        or module.kind not in ("detector", "segmenter")
        or samples.table.loc[rows, "item"].nunique() < FEWEST
    ):
        return {}
    face = np.asarray(samples.table.loc[rows].groupby(["item", "track"]).ngroup(), np.int64)
    found, features = _seen(module, data, rows, face)
    found |= {"side": _sides(data, samples), "bits": _bits(data, samples)}
    kept = {name: values[np.isfinite(values) & (values > 0)] for name, values in found.items()}
    limits = {name: vars(Limits.fit(kept[name])) for name in MEASURES if len(kept[name]) >= FEWEST}
    distance = None
    if features is not None and np.isfinite(features).all() and len(np.unique(face)) >= FEWEST:
        write_cloud(out, Cloud.fit(features))
        distance = far(features, face)
    return {"range": {"limits": limits, "distance": distance, "faces": len(np.unique(face))}}


def _rows(samples: CropDataset) -> list[int]:
    """Return at most `SAMPLES` rows of the sample table, spread evenly over the faces."""
    groups = list(samples.table.groupby(["item", "track"], sort=True).indices.values())
    each = max(1, SAMPLES // max(len(groups), 1))
    some = [groups[at] for at in _spread(len(groups), SAMPLES)]
    return sorted(int(group[at]) for group in some for at in _spread(len(group), each))


def _spread(total: int, most: int) -> NDArray[np.int64]:
    """Return up to `most` evenly spaced positions in `range(total)`."""
    return (
        np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)) if total else np.zeros(0, int)
    )


@torch.inference_mode()
def _seen(
    module: Module, data: DataModule, rows: list[int], face: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float32] | None]:
    """Return median sharpness and blockiness of each face, and the features [N, F] of the samples (None without)."""
    network, samples = module.trained.eval(), data.samples["val"]
    sharp, block, features = list[float](), list[float](), list[torch.Tensor]()
    for start in range(0, len(rows), data.loader.batch_size):
        some = rows[start : start + data.loader.batch_size]
        x = _pixels(samples, some)
        for one in x[:, 0] if x.ndim == 5 else x:
            picture = one.numpy().transpose(1, 2, 0)
            sharp.append(sharpness(picture))
            block.append(blockiness(picture))
        if isinstance(network, Encoding):
            if samples.features is not None:  # of a frozen encoder, computed before the training
                found = samples.__getitems__([(0, row) for row in some])["features"]
            else:
                found = encode(network, _inputs(samples, some, x, device_of(network), data.loader.image_size))
            features.append(pooled(found).cpu())
    table = pd.DataFrame({"face": face, "sharpness": sharp, "blockiness": block}).groupby("face").median()
    return {name: table[name].to_numpy() for name in ("sharpness", "blockiness")}, torch.cat(
        features
    ).numpy() if features else None


def _inputs(
    samples: CropDataset, rows: list[int], x: torch.Tensor, device: torch.device, image_size: int
) -> dict[str, torch.Tensor]:
    """Return the inputs of a network for the samples in these rows, whose pixels are x."""
    inputs = {"x": x} if len(samples) != samples.span_count else samples.inputs(rows)
    return {name: to_float(value.to(device), image_size) for name, value in inputs.items()}


def _pixels(samples: CropDataset, rows: list[int]) -> torch.Tensor:
    """Return the pixels of validation samples, uint8, including self-blends if the split contains any."""
    if len(samples) == samples.span_count:
        return samples.pixels(rows)
    return samples.__getitems__([(0, row) for row in rows])["x"]


def _sides(data: DataModule, samples: CropDataset) -> NDArray[np.float64]:
    """Return the median shorter side of the box of each face, px."""
    crops = samples.store.crops
    crops = crops[crops["item"].isin(samples.table["item"])]
    box = np.stack(crops["box"].tolist()).astype(np.float64)
    side = np.minimum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    return np.asarray(crops.assign(side=side).groupby(["item", "track"])["side"].median().to_numpy(), np.float64)


def _bits(data: DataModule, samples: CropDataset) -> NDArray[np.float64]:
    """Return the bits per pixel of each item's file; empty if the manifest does not contain the file statistics."""
    items, names = data.items, [STATISTIC + name for name in ("bytes", "width", "height")]
    if not set(names) <= set(items.columns):
        return np.zeros(0)
    items = items[items["item"].isin(samples.table["item"])]
    size, width, height = (items[name].to_numpy(np.float64) for name in names)
    number = STATISTIC + "num_frames"
    frames = items[number].fillna(1).to_numpy(np.float64) if number in items.columns else np.ones(len(items))
    return np.asarray(8 * size / (width * height * frames))
