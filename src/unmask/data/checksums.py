"""Whether a store is still as it was written: a CRC-32 of each file, which finds every accidental change of a disk.

Reading 1 GB takes about a second on one core, and the shards are read in parallel: seconds before a training of hours.
A checksum protects from damage, not from somebody who writes checksums too.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from unmask.data.manifest import crop_hash
from unmask.data.store import AGAIN, CHECKSUMS, CropStore
from unmask.files import DamagedError, checksum, read_json


def damaged(folder: Path) -> list[str]:
    """The files of a store that are missing or changed, by name; none of a store that was written without checksums."""
    path = folder / CHECKSUMS
    if not path.is_file():
        return []
    try:
        known: Mapping[str, int] = read_json(path, AGAIN)
    except DamagedError:
        return [CHECKSUMS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: checksum(folder / name) if (folder / name).is_file() else None, known)
        return sorted(name for name, value in zip(known, found, strict=True) if value != known[name])


def damaged_crops(store: CropStore) -> pd.DataFrame:
    """The rows of the crop table whose stored hash is not that of their pixels; slower, and needs no checksums."""
    crops = store.crops
    bad = [False] * len(crops)
    for start in range(0, len(crops), 256):
        rows = crops.iloc[start : start + 256]
        pixels = store.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())
        for at, (crop, known) in enumerate(zip(pixels, rows["hash"], strict=True)):
            bad[start + at] = crop_hash(np.ascontiguousarray(crop)) != known
    return crops[bad]


def words(names: Sequence[str], folder: Path, command: str) -> str:
    """What is damaged, and the command that repairs it."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{folder} is damaged: {shown} changed since it was prepared. To prepare it again:\n  {command} rerun=true"
