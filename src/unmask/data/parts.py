"""Parts: during preparation, the result of each item is stored in its own file, so that a killed run can resume."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import TypedDict
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import ATTRIBUTE, ITEM_COLUMNS, STATISTIC
from unmask.data.store import DUPLICATES, CropStore
from unmask.data.stores import sound_of
from unmask.files import DamagedError, replacing
from unmask.media.crops import Crops
from unmask.media.kinds import Statistics

SCALARS = ("track", "frame", "time", "prob")
LISTS = ("box", "landmarks")
# [N, 3, S, S]; [N, 1, S, S] if the recipe keeps masks; [S] if it keeps sound
PIXELS = ("pixels", "masks", "sound")
# Columns of the table of items that come from the manifest, not from the files.
MANIFEST_COLUMNS = {*ITEM_COLUMNS, "official_test", "predefined"}

# Exceptions raised by reading a damaged archive.
UNREADABLE = (BadZipFile, ValueError, KeyError, EOFError, zlib.error, NotImplementedError)


class DamagedPart(DamagedError):
    """The file with the crops of one item was damaged before all such files were merged into the store."""


class About(TypedDict):
    """The result of preparing an item."""

    item: str
    rejected: str | None  # why the item has no crops
    columns: Statistics  # facts about the item's file, for the table of items
    shape: list[int] | None  # shape of the pixels [N, 3, S, S]
    samples: int  # number of samples of the sound; 0 without sound


def measured(crops: Crops) -> Statistics:
    """Return the `statistics` and `notes` of a file's crops as {column of the table of items: value}."""
    return {f"{STATISTIC}{name}": value for name, value in crops.statistics.items()} | crops.notes


def part_path(folder: Path, item: str) -> Path:
    """Return the path of the file that holds one item's result during preparation."""
    return folder / "parts" / f"{hashlib.sha256(item.encode()).hexdigest()[:20]}.npz"


def write_part(folder: Path, item: str, crops: Crops | None, columns: Statistics, rejected: str | None) -> None:
    """Save the result of one item: its crops or the reason why it has none, and columns for the table of items."""
    found = {} if crops is None else {name: vars(crops)[name] for name in (*SCALARS, *LISTS, *PIXELS)}
    arrays = {name: array for name, array in found.items() if array is not None}
    shape = None if crops is None else list(crops.pixels.shape)
    samples = 0 if crops is None or crops.sound is None else len(crops.sound)
    about = json.dumps(About(item=item, rejected=rejected, columns=columns, shape=shape, samples=samples))
    with replacing(part_path(folder, item)) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(about), **arrays)


def read_about(folder: Path, item: str) -> About | None:
    """Return the result of an item; None if the item is not finished."""
    try:
        with np.load(part_path(folder, item), allow_pickle=False) as part:
            about: About = json.loads(str(part["about"]))
    except (FileNotFoundError, *UNREADABLE):
        return None  # an incomplete file counts as missing
    return about if about.keys() == About.__required_keys__ else None  # so does a file of an earlier version


def read_part(folder: Path, item: str) -> Crops:
    """Return the crops of a finished item that was not rejected.

    Raises:
        DamagedPart: the file has changed since it was written. It is deleted, so that the next run prepares the item
            again.
    """
    path = part_path(folder, item)
    try:
        with np.load(path, allow_pickle=False) as part:
            return Crops(**{name: part[name] for name in (*SCALARS, *LISTS, *PIXELS) if name in part})
    except (*UNREADABLE, TypeError) as error:
        path.unlink(missing_ok=True)
        raise DamagedPart(f"{path} is damaged; rerun the command to prepare {item} again") from error


def stored_crops(rows: pd.DataFrame, pixels: NDArray[np.uint8], sound: NDArray[np.int16] | None = None) -> Crops:
    """Make `Crops`, without masks, from rows of the table of crops, their pixels [N, 3, S, S], and the sound [S]."""
    if sound is not None and rows.empty:
        return Crops.of_sound(sound, {})
    return Crops(
        track=rows["track"].to_numpy(),
        frame=rows["frame"].to_numpy(),
        time=rows["time"].to_numpy(),
        prob=rows["prob"].to_numpy(),
        box=np.stack(rows["box"].tolist()).reshape(-1, 4),
        landmarks=np.stack(rows["landmarks"].tolist()).reshape(-1, 5, 2),
        pixels=pixels,
        sound=sound,
    )


def unmerge(folder: Path) -> None:
    """Convert a complete store back to one part per item. Until all parts are written, the store stays complete."""
    store = CropStore(folder)
    (folder / "parts").mkdir(exist_ok=True)
    known = [name for name in store.items.columns if name not in MANIFEST_COLUMNS and not name.startswith(ATTRIBUTE)]
    for row in store.items.to_dict("records"):
        rows, pixels = store.of_item(row["item"])
        crops = stored_crops(rows, pixels, sound_of(store, row["item"]))
        columns = {name: row[name] for name in known if not pd.isna(row[name])}
        write_part(folder, row["item"], crops, columns, row["rejected"])
    (folder / "crops.parquet").unlink()
    (folder / DUPLICATES).unlink(missing_ok=True)
