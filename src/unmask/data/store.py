"""Crops on disk: uint8 arrays [N, 3, S, S] in shards of about 1 GiB that are read by memory map, and the two tables.

A store is a folder:

    recipe.json      how the crops were made, of which data set
    items.parquet    the manifest: one row an item
    crops.parquet    one row a stored crop, with its shard and its place there
    crops-00000.npy  the pixels
    rejected.csv     what could not be prepared, and why
    parts/           one file an item while preparing; a killed run goes on from them

An mmap read of a clip is about 20 times faster than decoding JPEG files, and exact.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import CROP_COLUMNS

SHARD_BYTES = 2**30
SCALARS = ("track", "frame", "time", "prob")
LISTS = ("box", "landmarks")


class StoreError(ValueError):
    """A store is missing, unfinished or of another recipe; the message says what to run."""


class CropStore:
    """A finished store, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[int, NDArray[np.uint8]] = {}
        if not (folder / "crops.parquet").is_file():
            raise StoreError(f"no prepared crops in {folder}")

    @cached_property
    def items(self) -> pd.DataFrame:
        """The manifest's table of items."""
        return pd.read_parquet(self.folder / "items.parquet")

    @cached_property
    def crops(self) -> pd.DataFrame:
        """The manifest's table of crops, in order of item, track and frame."""
        return pd.read_parquet(self.folder / "crops.parquet")

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """How the crops were made."""
        return dict(json.loads((self.folder / "recipe.json").read_text()))

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_shards": {}}  # a memory map is opened anew in each process

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Crops at these places, all [N] -> uint8 [N, 3, S, S]."""
        if len(shard) == 0:
            return np.zeros((0, 3, 0, 0), np.uint8)
        first = self._open(int(shard[0]))
        out = np.empty((len(shard), *first.shape[1:]), np.uint8)
        for number in np.unique(shard):
            at = np.flatnonzero(shard == number)
            out[at] = self._open(int(number))[offset[at]]
        return out

    def of_item(self, item: str, frames: list[int] | None = None) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
        """The rows and pixels [N, 3, S, S] of one item, of these frame numbers or all."""
        rows = self.crops[self.crops["item"] == item]
        if frames is not None:
            rows = rows[rows["frame"].isin(frames)]
        return rows, self.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())

    def _open(self, number: int) -> NDArray[np.uint8]:
        if number not in self._shards:
            self._shards[number] = np.load(shard_path(self.folder, number), mmap_mode="r")
        return self._shards[number]


class MemoryStore:
    """The crops of one file that belongs to no data set, read like a store; its label is not known and stands at 0."""

    def __init__(self, item: str, crops: Any) -> None:
        count = len(crops.pixels)
        self._pixels: NDArray[np.uint8] = crops.pixels
        self.crops = pd.DataFrame({"item": item, "track": crops.track, "frame": crops.frame, "time": crops.time})
        self.crops = self.crops.assign(shard=0, offset=np.arange(count))
        self.items = pd.DataFrame({"item": [item], "label": [0], "method": ["unknown"]})

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Crops at these places, all [N] -> uint8 [N, 3, S, S]."""
        return np.asarray(self._pixels[offset])

    def strips(self, item: str, frames: list[int]) -> list[NDArray[np.uint8]]:
        """The crops of these frame numbers, each [S, S, 3]."""
        place = {int(frame): at for at, frame in enumerate(self.crops["frame"])}
        return [self._pixels[place[frame]].transpose(1, 2, 0) for frame in frames]


def shard_path(folder: Path, number: int) -> Path:
    """The file of one shard."""
    return folder / f"crops-{number:05d}.npy"


def part_path(folder: Path, item: str) -> Path:
    """Where one item's crops lie while preparing."""
    return folder / "parts" / f"{hashlib.sha256(item.encode()).hexdigest()[:20]}.npz"


def write_part(folder: Path, item: str, crops: Any, statistics: dict[str, Any], rejected: str | None) -> None:
    """Keep what became of one item: its crops (arrays as attributes, see media.recipe.Crops), or why it has none."""
    path = part_path(folder, item)
    about = json.dumps({"item": item, "rejected": rejected, "statistics": statistics})
    arrays: dict[str, Any] = (
        {} if crops is None else {name: getattr(crops, name) for name in (*SCALARS, *LISTS, "pixels")}
    )
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, about=np.array(about), **arrays)
    temporary.replace(path)


def read_part(folder: Path, item: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """What was kept of an item, or None where it was not finished."""
    path = part_path(folder, item)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as part:
        arrays = {name: part[name] for name in part.files if name != "about"}
        return json.loads(str(part["about"])), arrays


def merge(folder: Path, items: pd.DataFrame, shard_bytes: int = SHARD_BYTES) -> None:
    """Join the parts of all items, in the order of the table, into shards and tables; then remove the parts.

    The result depends on the items and their pixels alone, not on the order in which they were prepared.
    """
    tables, about = [], []
    for number, members in enumerate(_plan(folder, items["item"].tolist(), shard_bytes)):
        tables.append(_write_shard(folder, number, members))
    for item in items["item"]:
        part = read_part(folder, item)
        assert part is not None
        about.append(part[0])
    crops = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CROP_COLUMNS)
    items = items.assign(rejected=[entry["rejected"] for entry in about])
    statistics = pd.DataFrame([entry["statistics"] for entry in about], index=items.index)
    items = pd.concat([items, statistics], axis=1)
    write_parquet(items, folder / "items.parquet")
    rejected = items.loc[items["rejected"].notna(), ["item", "path", "rejected"]]
    rejected.to_csv(folder / "rejected.csv", index=False)
    write_parquet(crops, folder / "crops.parquet")  # last: its presence says that the store is whole
    shutil.rmtree(folder / "parts")


def _plan(folder: Path, items: list[str], shard_bytes: int) -> Iterator[list[tuple[str, int]]]:
    """Items that have crops with how many, as many in a shard as fit; an item is never divided."""
    members: list[tuple[str, int]] = []
    size = 0
    for item in items:
        part = read_part(folder, item)
        assert part is not None, item
        if part[0]["rejected"] is not None:
            continue
        pixels = part[1]["pixels"]
        if members and size + pixels.nbytes > shard_bytes:
            yield members
            members, size = [], 0
        members.append((item, len(pixels)))
        size += pixels.nbytes
    if members:
        yield members


def _write_shard(folder: Path, number: int, members: list[tuple[str, int]]) -> pd.DataFrame:
    """Write one shard file and return its rows of the crop table."""
    path = shard_path(folder, number)
    temporary = path.with_suffix(".tmp")
    total, offset, rows = sum(count for _, count in members), 0, []
    out: np.memmap[Any, np.dtype[np.uint8]] | None = None
    for item, count in members:
        part = read_part(folder, item)
        assert part is not None
        pixels = part[1]["pixels"]
        if out is None:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(total, *pixels.shape[1:]))
        out[offset : offset + count] = pixels
        rows.append(_rows(item, part[1], number, offset))
        offset += count
    assert out is not None
    out.flush()
    del out
    temporary.replace(path)
    return pd.concat(rows, ignore_index=True)


def _rows(item: str, arrays: dict[str, NDArray[Any]], shard: int, offset: int) -> pd.DataFrame:
    count = len(arrays["pixels"])
    table = pd.DataFrame({"item": item, **{name: arrays[name] for name in SCALARS}})
    table["box"] = pd.Series(list(arrays["box"].reshape(count, 4)), dtype=object)
    table["landmarks"] = pd.Series(list(arrays["landmarks"].reshape(count, 10)), dtype=object)
    table["shard"], table["offset"] = shard, np.arange(offset, offset + count)
    table["hash"] = [hashlib.blake2b(crop.tobytes(), digest_size=8).hexdigest() for crop in arrays["pixels"]]
    return table[CROP_COLUMNS]


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that a reader finds the old one or the new one, never half of it."""
    temporary = path.with_suffix(".tmp")
    table.to_parquet(temporary, index=False)
    temporary.replace(path)
