"""Merge the parts of a store, one file per item, into shards and tables."""

import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import CROP_COLUMNS, crop_hash
from unmask.data.parts import SCALARS, About, read_part
from unmask.data.store import CHECKSUMS, DUPLICATES, shard_path
from unmask.files import checksum, printable, remove_made, replace_file, replacing, reserve, write_text
from unmask.media.crops import Crops

SHARD_BYTES = 2**30


def merge(
    folder: Path, items: pd.DataFrame, about: Sequence[About], shard_bytes: int = SHARD_BYTES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merge the parts of all items into shards and a table of items; call `finish` to complete the store.

    The result depends only on the items and their pixels. The order in which items were prepared, and files left by a
    killed merge, have no effect.

    Args:
        folder: the store's folder.
        items: the manifest's rows.
        about: the result of each item, in the order of `items`.
        shard_bytes: maximum size of a shard; only a shard with a single item may be larger.

    Returns:
        The tables of items and of crops.
    """
    for leftover in {*folder.glob("crops-*"), *folder.glob("masks-*"), *folder.glob("*.tmp"), *folder.glob(DUPLICATES)}:
        leftover.unlink()
    shards = enumerate(_plan(items["item"].tolist(), about, shard_bytes))
    tables = [_write_shard(folder, number, members) for number, members in shards]
    crops = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CROP_COLUMNS)
    items = items.assign(rejected=reasons(about, items))
    items = pd.concat([items, pd.DataFrame([entry["columns"] for entry in about], index=items.index)], axis=1)
    replace_file(folder / "items.parquet", _parquet(items))
    write_rejected(items, folder)
    return items, crops


def reasons(about: Sequence[About], items: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason why each item could not be prepared; None for prepared items."""
    return pd.Series([entry["rejected"] for entry in about], index=items.index)


def write_rejected(items: pd.DataFrame, folder: Path) -> None:
    """Write rejected.csv: the items that could not be prepared, with reasons. Unprintable characters are escaped."""
    rejected = items.loc[items["rejected"].notna(), ["item", "path", "rejected"]].map(printable)
    write_text(folder / "rejected.csv", rejected.to_csv(index=False))


def finish(folder: Path, crops: pd.DataFrame) -> None:
    """Write the checksums, then the table of crops. A store is complete when its table of crops exists."""
    table = _parquet(crops)
    shards = sorted([*folder.glob("crops-*.npy"), *folder.glob("masks-*.npy")])
    found = {path.name: checksum(path) for path in (folder / "items.parquet", *shards)}
    found["crops.parquet"] = zlib.crc32(table)
    write_text(folder / CHECKSUMS, json.dumps(found, indent=2))
    replace_file(folder / "crops.parquet", table)
    remove_made(folder, ("parts/*.npz", "parts/*.tmp"))


def _plan(items: list[str], about: Sequence[About], shard_bytes: int) -> Iterator[dict[str, list[int]]]:
    """Yield {item: shape of its crops} for each shard; all crops of an item are in the same shard."""
    members: dict[str, list[int]] = {}
    size = 0
    for item, entry in zip(items, about, strict=True):
        if (shape := entry["shape"]) is None:  # rejected
            continue
        nbytes = int(np.prod(shape))
        if members and size + nbytes > shard_bytes:
            yield members
            members, size = {}, 0
        members[item] = shape
        size += nbytes
    if members:
        yield members


def _write_shard(folder: Path, number: int, members: dict[str, list[int]]) -> pd.DataFrame:
    """Write one shard of crops, and a shard of masks if there are masks; return the shard's rows of the crop table."""
    total = sum(shape[0] for shape in members.values())
    files: dict[str, NDArray[np.uint8]] = {}
    offset, rows = 0, []
    with ExitStack() as stack:
        for item in members:
            crops = read_part(folder, item)
            count = len(crops.pixels)
            for kind, pixels in (("crops", crops.pixels), ("masks", crops.masks)):
                if pixels is None:
                    continue
                if kind not in files:
                    path, shape = shard_path(folder, number, kind), (total, *pixels.shape[1:])
                    files[kind] = stack.enter_context(_new_shard(path, shape))
                files[kind][offset : offset + count] = pixels
            rows.append(_rows(item, crops, number, offset))
            offset += count
    return pd.concat(rows, ignore_index=True)


@contextmanager
def _new_shard(path: Path, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield a memory-mapped array to fill; its file is moved to `path` when the `with` block ends."""
    with replacing(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        reserve(temporary)
        yield array
        array.flush()


def _rows(item: str, crops: Crops, shard: int, offset: int) -> pd.DataFrame:
    """Return an item's rows of the crop table; the item's crops start at `offset` in the shard."""
    count = len(crops.pixels)
    table = pd.DataFrame({"item": item, **{name: vars(crops)[name] for name in SCALARS}})
    table["box"] = pd.Series(list(crops.box.reshape(count, 4)), dtype=object)
    table["landmarks"] = pd.Series(list(crops.landmarks.reshape(count, 10)), dtype=object)
    table["shard"], table["offset"] = shard, np.arange(offset, offset + count)
    table["hash"] = [crop_hash(crop) for crop in crops.pixels]
    return table[CROP_COLUMNS]


def _parquet(table: pd.DataFrame) -> memoryview:
    """Serialise a table as Parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getbuffer()
