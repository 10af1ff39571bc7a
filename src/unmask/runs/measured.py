"""The range of inputs in which a run's detector was measured, as the run folder stores it.

The entry `range` of `metrics.json` contains the limits and the maximum distance; `range.npz` contains the cloud.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unmask.config import Settings
from unmask.files import replacing
from unmask.metrics.measured import Cloud, Limits
from unmask.runs.errors import RunError

CLOUD = "range.npz"
#: Names of the measures: shorter side of the face or picture (px), variance of the Laplacian of the crop, blockiness of
#: the crop, and bits per pixel of the file.
MEASURES = ("side", "sharpness", "blockiness", "bits")
MOST = 64 * 2**20  # maximum decompressed size, bytes: real clouds are smaller; runs can come from untrusted sources


@dataclass(frozen=True)
class Measured:
    """The range in which a detector was measured.

    Attributes:
        limits: the limits of each measure in `MEASURES`, by name; an unknown measure is missing.
        cloud: the cloud of the features of the validation split; None for a network without features.
        distance: the maximum distance to the cloud; None without a cloud.
        faces: number of validation faces or pictures to which sharpness and blockiness were fitted.
    """

    limits: dict[str, Limits]
    cloud: Cloud | None
    distance: float | None
    faces: int


def write_cloud(folder: Path, cloud: Cloud) -> None:
    """Write a cloud to a run folder, as float32."""
    parts = (cloud.mean, cloud.axes, cloud.variance, cloud.rest)
    mean, axes, variance, rest = (np.asarray(part, np.float32) for part in parts)
    with replacing(folder / CLOUD) as part, part.open("wb") as file:
        np.savez_compressed(file, mean=mean, axes=axes, variance=variance, rest=rest)


def read_measured(folder: Path, metrics: Settings, cloud: bool = True) -> Measured | None:
    """Return the range of a run; None if the run does not store one.

    A run has no range if it was trained before ranges were stored or has too few validation items.

    Args:
        folder: the run folder.
        metrics: the content of its metrics.json.
        cloud: whether to read the cloud; an exported model contains it.

    Raises:
        RunError: the stored range is damaged.
    """
    known = metrics.get("range")
    if not known:
        return None
    try:
        limits = {name: Limits.from_settings(known["limits"][name]) for name in MEASURES if name in known["limits"]}
        distance = None if known.get("distance") is None else float(known["distance"])
        found = None if distance is None or not cloud else _read_cloud(folder / CLOUD)
        return Measured(limits, found, distance, int(known.get("faces", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise RunError(
            f"run={folder}: the range in metrics.json or {CLOUD} is damaged ({error}); train the run again (rerun=true)"
        ) from None


def _read_cloud(path: Path) -> Cloud:
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())  # decompressed
    if size > MOST:
        raise ValueError(f"{path.name} has {size:,} bytes after decompression, expected at most {MOST:,}")
    with np.load(path, allow_pickle=False) as stored:
        mean, axes, variance = (np.asarray(stored[name], np.float64) for name in ("mean", "axes", "variance"))
        rest = float(stored["rest"])
    if mean.ndim != 1 or axes.shape != (len(variance), len(mean)) or not (variance > 0).all() or not rest > 0:
        raise ValueError(f"{path.name}: expected a mean [F], axes [K, F] and positive variances [K]")
    return Cloud(mean, axes, variance, rest)
