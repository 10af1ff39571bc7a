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

from unmask.data.manifest import CROP_COLUMNS, SAMPLES, crop_hash
from unmask.data.parts import SCALARS, About, read_part
from unmask.data.store import CHECKSUMS, DTYPES, DUPLICATES, shard_path
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
    for pattern in (*(f"{kind}-*" for kind in DTYPES), "*.tmp", DUPLICATES):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)
    shards = enumerate(_plan(items["item"].tolist(), about, shard_bytes))
    tables = [_write_shard(folder, number, members) for number, members in shards]
    crops = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=CROP_COLUMNS)
    if not any(entry["samples"] for entry in about):
        crops = crops[CROP_COLUMNS]
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
    shards = sorted(path for kind in DTYPES for path in folder.glob(f"{kind}-*.npy"))
    found = {path.name: checksum(path) for path in (folder / "items.parquet", *shards)}
    found["crops.parquet"] = zlib.crc32(table)
    write_text(folder / CHECKSUMS, json.dumps(found, indent=2))
    replace_file(folder / "crops.parquet", table)
    remove_made(folder, ("parts/*.npz", "parts/*.tmp"))


def _plan(items: list[str], about: Sequence[About], shard_bytes: int) -> Iterator[dict[str, About]]:
    """Yield {item: its result} for each shard; all crops and the sound of an item are in shards of one number."""
    members: dict[str, About] = {}
    size = 0
    for item, entry in zip(items, about, strict=True):
        if entry["shape"] is None:  # rejected
            continue
        nbytes = int(np.prod(entry["shape"])) + 2 * entry["samples"]
        if members and size + nbytes > shard_bytes:
            yield members
            members, size = {}, 0
        members[item] = entry
        size += nbytes
    if members:
        yield members


def _write_shard(folder: Path, number: int, members: dict[str, About]) -> pd.DataFrame:
    """Write one shard of crops, of masks and of sound, as far as there are any; return their rows of the crop table."""
    total = sum(entry["shape"][0] for entry in members.values() if entry["shape"])
    long = {"crops": total, "masks": total, "sound": sum(entry["samples"] for entry in members.values())}
    files: dict[str, NDArray[np.integer]] = {}
    ends, rows = dict.fromkeys(DTYPES, 0), []
    with ExitStack() as stack:
        for item in members:
            crops = read_part(folder, item)
            rows += _rows(item, crops, number, ends)
            for kind, array in (("crops", crops.pixels), ("masks", crops.masks), ("sound", crops.sound)):
                if array is None or not len(array):
                    continue
                if kind not in files:
                    path, shape = shard_path(folder, number, kind), (long[kind], *array.shape[1:])
                    files[kind] = stack.enter_context(_new_shard(path, shape, kind))
                files[kind][ends[kind] : ends[kind] + len(array)] = array
                ends[kind] += len(array)
    return pd.concat(rows, ignore_index=True)


@contextmanager
def _new_shard(path: Path, shape: tuple[int, ...], kind: str) -> Iterator[NDArray[np.integer]]:
    """Yield a memory-mapped array to fill; its file is moved to `path` when the `with` block ends."""
    with replacing(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=DTYPES[kind], shape=shape)
        reserve(temporary)
        yield array
        array.flush()


def _rows(item: str, crops: Crops, shard: int, starts: dict[str, int]) -> list[pd.DataFrame]:
    """Return an item's rows of the crop table; `starts` tells where its crops and its sound start in the shards."""
    count, found = len(crops.pixels), list[pd.DataFrame]()
    if count:
        table = pd.DataFrame({"item": item, **{name: vars(crops)[name] for name in SCALARS}})
        table["box"] = pd.Series(list(crops.box.reshape(count, 4)), dtype=object)
        table["landmarks"] = pd.Series(list(crops.landmarks.reshape(count, 10)), dtype=object)
        table["shard"], table["offset"] = shard, np.arange(starts["crops"], starts["crops"] + count)
        table["hash"], table[SAMPLES] = [crop_hash(crop) for crop in crops.pixels], 0
        found.append(table[[*CROP_COLUMNS, SAMPLES]])
    if crops.sound is not None:
        found.append(_sound_row(item, crops.sound, shard, starts["sound"]))
    return found


def _sound_row(item: str, sound: NDArray[np.int16], shard: int, start: int) -> pd.DataFrame:
    """Return the row of an item's sound, which starts at sample `start` of its shard."""
    row = {
        "item": item, "track": 0, "frame": 0, "time": 0.0, "box": np.zeros(4, np.float32),
        "landmarks": np.full(10, np.nan, np.float32), "prob": np.float32(np.nan), "shard": shard, "offset": start,
        "hash": crop_hash(sound), SAMPLES: len(sound),
    }  # fmt: skip
    return pd.DataFrame([row])[[*CROP_COLUMNS, SAMPLES]]


def _parquet(table: pd.DataFrame) -> memoryview:
    """Serialise a table as Parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getbuffer()
