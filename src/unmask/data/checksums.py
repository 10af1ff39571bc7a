"""Verify that the files of a store are unchanged, by their CRC-32 checksums.

Reading 1 GB takes about a second on one core, and shards are read in parallel, so the check takes only seconds.
The checksums detect accidental damage, not deliberate changes.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from unmask.data.manifest import SAMPLES, crop_hash
from unmask.data.store import AGAIN, CHECKSUMS, CropStore
from unmask.files import DamagedError, checksum, read_json


def damaged(folder: Path) -> list[str]:
    """Return the names of a store's missing or changed files; empty if the store has no checksums."""
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
    """Return the rows of the crop table whose `hash` does not match the stored pixels.

    This is slow, but it works for stores without checksums. For recordings, see `damaged_sounds`.
    """
    crops = store.crops
    bad = [False] * len(crops)
    for start in range(0, len(crops), 256):
        rows = crops.iloc[start : start + 256]
        pixels = store.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())
        for at, (crop, known) in enumerate(zip(pixels, rows["hash"], strict=True)):
            bad[start + at] = crop_hash(np.ascontiguousarray(crop)) != known
    return crops[np.array(bad, bool)]


def damaged_sounds(store: CropStore) -> pd.DataFrame:
    """Return the rows of the table of recordings whose `hash` does not match the stored samples."""
    sounds = store.sounds
    places = zip(*(sounds[name].to_numpy() for name in ("shard", "offset", SAMPLES)), strict=True)
    found = [store.sound(*(np.array([value]) for value in place))[0] for place in places]
    bad = [crop_hash(sound) != known for sound, known in zip(found, sounds["hash"], strict=True)]
    return sounds[np.array(bad, bool)]


def words(names: Sequence[str], folder: Path, command: str) -> str:
    """Return the error message for a damaged store: the damaged files, and the command that repairs the store."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"{folder} is damaged. Files that are missing or have changed since the preparation: {shown}. "
        "To prepare the data set again:\n"
        f"  {command} rerun=true"
    )
