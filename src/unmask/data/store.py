"""Crops on disk: uint8 arrays [N, 3, S, S] in shards of about 1 GiB that are read by memory map, and the two tables.

A store is a folder:

    recipe.json      how the crops were made, of which data set
    items.parquet    the manifest: one row an item
    crops.parquet    one row a stored crop, with its shard and its place there
    crops-00000.npy  the pixels
    masks-00000.npy  what was manipulated, in the same places; only where the recipe keeps masks
    rejected.csv     what could not be prepared, and why
    duplicates.csv   pairs of items that look alike (data/duplicates.py)
    audit.json       whether the files alone tell real from fake
    checksums.json   CRC-32 of each table and shard (data/checksums.py)
    parts/           one file an item while preparing; a killed run goes on from them

An mmap read of a clip is about 20 times faster than decoding JPEG files, and exact.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import ATTRIBUTE, CROP_COLUMNS, ITEM_COLUMNS, crop_hash
from unmask.files import DamagedError, checksum, printable, read_json, remove_made, replace_file, reserve

SHARD_BYTES = 2**30
AGAIN = "prepare the data set again with rerun=true"
DUPLICATES = "duplicates.csv"
CHECKSUMS = "checksums.json"
# So many are read before maps are opened anew. Around what is read the system maps up to 14 times as many, and all of
# it stays with the process.
MAPPED_BYTES = 2**25
SCALARS = ("track", "frame", "time", "prob")
LISTS = ("box", "landmarks")
NOT_MEASURED = {*ITEM_COLUMNS, "listed", "given"}  # columns of items that are no statistics
PIXELS = ("pixels", "masks")  # [N, 3, S, S], and [N, 1, S, S] where the recipe keeps masks


class StoreError(ValueError):
    """A store is missing, unfinished or of another recipe; the message says what to run."""


class DamagedPart(DamagedError):
    """The crops of one item changed on the disk before the store was merged."""


class CropStore:
    """A finished store, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[tuple[str, int], NDArray[np.uint8]] = {}
        self._read_bytes = 0
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
        return read_json(self.folder / "recipe.json", AGAIN)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve characters that stand for the items, their labels and the stored pixels: other data has others."""
        crops, items = self.crops, self.items
        rows = [
            *(f"{item} {hash_}" for item, hash_ in zip(crops["item"], crops["hash"], strict=True)),
            *(f"{item} {label}" for item, label in zip(items["item"], items["label"], strict=True)),
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_shards": {}, "_read_bytes": 0}  # a memory map is opened anew in each process

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Crops at these places, all [N] -> uint8 [N, 3, S, S]."""
        return self._read("crops", shard, offset)

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """What was manipulated in these crops, all [N] -> uint8 [N, 1, S, S], 255 where it was.

        Raises:
            StoreError: the recipe kept no masks.
        """
        if not shard_path(self.folder, 0, "masks").is_file():
            raise StoreError(f"{self.folder} holds no masks: prepare with data.recipe.masks=true")
        return self._read("masks", shard, offset)

    def _read(self, kind: str, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        if len(shard) == 0:
            return np.zeros((0, 3 if kind == "crops" else 1, 0, 0), np.uint8)
        first = self._open(kind, int(shard[0]))
        out = np.empty((len(shard), *first.shape[1:]), np.uint8)
        for number in np.unique(shard):
            at = np.flatnonzero(shard == number)
            out[at] = self._open(kind, int(number))[offset[at]]
        self._read_bytes += out.nbytes
        if self._read_bytes > MAPPED_BYTES:
            self._shards.clear()
            self._read_bytes = 0
        return out

    def of_item(self, item: str, frames: list[int] | None = None) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
        """The rows and pixels [N, 3, S, S] of one item, of these frame numbers or all."""
        rows = self.crops[self.crops["item"] == item]
        if frames is not None:
            rows = rows[rows["frame"].isin(frames)]
        return rows, self.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())

    def _open(self, kind: str, number: int) -> NDArray[np.uint8]:
        if (kind, number) not in self._shards:
            self._shards[kind, number] = np.load(shard_path(self.folder, number, kind), mmap_mode="r")
        return self._shards[kind, number]


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

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Refused: of a file it is not known what was manipulated."""
        raise StoreError("a single file has no masks")

    def strips(self, item: str, frames: list[int], track: int) -> list[NDArray[np.uint8]]:
        """The crops of one face in these frames, each [S, S, 3]."""
        rows = self.crops[self.crops["track"] == track]
        place = dict(zip(rows["frame"], rows["offset"], strict=True))
        return [self._pixels[place[frame]].transpose(1, 2, 0) for frame in frames]


def shard_path(folder: Path, number: int, kind: str = "crops") -> Path:
    """The file of one shard of `crops` or of `masks`."""
    return folder / f"{kind}-{number:05d}.npy"


def part_path(folder: Path, item: str) -> Path:
    """Where one item's crops lie while preparing."""
    return folder / "parts" / f"{hashlib.sha256(item.encode()).hexdigest()[:20]}.npz"


def write_part(folder: Path, item: str, crops: Any, statistics: dict[str, Any], rejected: str | None) -> None:
    """Keep what became of one item: its crops (arrays as attributes, see media.recipe.Crops), or why it has none."""
    names = (*SCALARS, *LISTS, *PIXELS)
    found = {} if crops is None else {name: getattr(crops, name) for name in names}
    arrays: dict[str, Any] = {name: array for name, array in found.items() if array is not None}
    shape = None if crops is None else crops.pixels.shape
    about = json.dumps({"item": item, "rejected": rejected, "statistics": statistics, "shape": shape})
    path = part_path(folder, item)
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        np.savez(file, about=np.array(about), **arrays)
    temporary.replace(path)


def read_about(folder: Path, item: str) -> dict[str, Any] | None:
    """What became of an item (`rejected`, `statistics`, `shape` of its pixels), or None where it was not finished."""
    try:
        with np.load(part_path(folder, item), allow_pickle=False) as part:
            return dict(json.loads(str(part["about"])))
    except (FileNotFoundError, BadZipFile, ValueError, KeyError, EOFError, zlib.error, NotImplementedError):
        return None  # a half-written file is as good as none


def read_part(folder: Path, item: str) -> dict[str, NDArray[Any]]:
    """The arrays of an item that was finished and has crops.

    Raises:
        DamagedPart: its file changed since it was written; it is deleted, so that the item counts as not prepared.
    """
    path = part_path(folder, item)
    try:
        with np.load(path, allow_pickle=False) as part:
            return {name: part[name] for name in (*SCALARS, *LISTS, *PIXELS) if name in part}
    except (BadZipFile, ValueError, KeyError, EOFError, zlib.error, NotImplementedError) as error:
        path.unlink(missing_ok=True)
        raise DamagedPart(f"{path} is damaged; the same command prepares {item} again") from error


def merge(
    folder: Path, items: pd.DataFrame, about: list[dict[str, Any]], shard_bytes: int = SHARD_BYTES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the parts of all items, in the order of the table, into shards and tables; `finish` makes a store of them.

    The result depends on the items and their pixels alone, not on the order in which they were prepared, nor on what
    a killed merge left.

    Args:
        folder: of the store.
        items: the manifest's rows.
        about: what became of each.
        shard_bytes: a shard is no larger, but for an item that is larger itself.

    Returns:
        The tables of items and of crops.
    """
    for leftover in {*folder.glob("crops-*"), *folder.glob("masks-*"), *folder.glob("*.tmp"), *folder.glob(DUPLICATES)}:
        leftover.unlink()
    shards = enumerate(_plan(items["item"].tolist(), about, shard_bytes))
    tables = [_write_shard(folder, number, members) for number, members in shards]
    crops = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CROP_COLUMNS)
    items = items.assign(rejected=[entry["rejected"] for entry in about])
    items = pd.concat([items, pd.DataFrame([entry["statistics"] for entry in about], index=items.index)], axis=1)
    write_parquet(items, folder / "items.parquet")
    write_rejected(items, folder)
    return items, crops


def write_rejected(items: pd.DataFrame, folder: Path) -> None:
    """List in rejected.csv what could not be prepared, with its reason; names are printable, as people read this."""
    rejected = items.loc[items["rejected"].notna(), ["item", "path", "rejected"]].map(printable)
    rejected.to_csv(folder / "rejected.csv", index=False)


def finish(folder: Path, crops: pd.DataFrame) -> None:
    """Write the checksums and then the table of crops, whose presence says that the store is whole."""
    table = parquet(crops)
    shards = sorted([*folder.glob("crops-*.npy"), *folder.glob("masks-*.npy")])
    found = {path.name: checksum(path) for path in (folder / "items.parquet", *shards)}
    found["crops.parquet"] = zlib.crc32(table)
    write_text(json.dumps(found, indent=2), folder / CHECKSUMS)
    replace_file(folder / "crops.parquet", table)
    remove_made(folder, ("parts/*.npz", "parts/*.tmp"))


def take_apart(folder: Path) -> None:
    """Make parts of a whole store again; it counts as whole until all are there."""
    store = CropStore(folder)
    (folder / "parts").mkdir(exist_ok=True)
    known = [name for name in store.items.columns if name not in NOT_MEASURED and not name.startswith(ATTRIBUTE)]
    for row in store.items.to_dict("records"):
        rows, pixels = store.of_item(row["item"])
        crops = SimpleNamespace(**{name: rows[name].to_numpy() for name in SCALARS}, pixels=pixels, masks=None)
        crops.box = np.stack(rows["box"].tolist()).reshape(-1, 4)
        crops.landmarks = np.stack(rows["landmarks"].tolist()).reshape(-1, 5, 2)
        statistics = {name: row[name] for name in known if not pd.isna(row[name])}
        write_part(folder, row["item"], crops, statistics, row["rejected"])
    (folder / "crops.parquet").unlink()
    (folder / DUPLICATES).unlink(missing_ok=True)


def _plan(items: list[str], about: list[dict[str, Any]], shard_bytes: int) -> Iterator[dict[str, list[int]]]:
    """Items that have crops with the shape of their pixels, as many in a shard as fit; an item is never divided."""
    members: dict[str, list[int]] = {}
    size = 0
    for item, entry in zip(items, about, strict=True):
        if entry["rejected"] is not None:
            continue
        nbytes = int(np.prod(entry["shape"]))
        if members and size + nbytes > shard_bytes:
            yield members
            members, size = {}, 0
        members[item] = entry["shape"]
        size += nbytes
    if members:
        yield members


def _write_shard(folder: Path, number: int, members: dict[str, list[int]]) -> pd.DataFrame:
    """Write one shard, its crops and their masks if there are any, and return its rows of the crop table."""
    total = sum(shape[0] for shape in members.values())
    places = {kind: _temporary(shard_path(folder, number, kind)) for kind in ("crops", "masks")}
    files: dict[str, NDArray[np.uint8]] = {}
    offset, rows = 0, []
    for item in members:
        arrays = read_part(folder, item)
        count = len(arrays["pixels"])
        for kind, name in (("crops", "pixels"), ("masks", "masks")):
            if name not in arrays:
                continue
            if kind not in files:
                shape = (total, *arrays[name].shape[1:])
                files[kind] = np.lib.format.open_memmap(places[kind], mode="w+", dtype=np.uint8, shape=shape)
                reserve(places[kind])
            files[kind][offset : offset + count] = arrays[name]
        rows.append(_rows(item, arrays, number, offset))
        offset += count
    for kind in list(files):
        files.pop(kind).flush()  # type: ignore[attr-defined]
        places[kind].replace(shard_path(folder, number, kind))
    return pd.concat(rows, ignore_index=True)


def _rows(item: str, arrays: dict[str, NDArray[Any]], shard: int, offset: int) -> pd.DataFrame:
    count = len(arrays["pixels"])
    table = pd.DataFrame({"item": item, **{name: arrays[name] for name in SCALARS}})
    table["box"] = pd.Series(list(arrays["box"].reshape(count, 4)), dtype=object)
    table["landmarks"] = pd.Series(list(arrays["landmarks"].reshape(count, 10)), dtype=object)
    table["shard"], table["offset"] = shard, np.arange(offset, offset + count)
    table["hash"] = [crop_hash(crop) for crop in arrays["pixels"]]
    return table[CROP_COLUMNS]


def parquet(table: pd.DataFrame) -> memoryview:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getbuffer()


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that a reader finds the old one or the new one, never half of it."""
    replace_file(path, parquet(table))


def write_text(text: str, path: Path) -> None:
    """Write a file of text in one step, as `write_parquet` does a table."""
    replace_file(path, text.encode())


def _temporary(path: Path) -> Path:
    """Where a file is written before it gets its name; no other process, on whatever machine, has the same."""
    return path.with_name(f"{path.name}.{uuid4().hex}.tmp")
