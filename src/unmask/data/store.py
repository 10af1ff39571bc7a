"""Crops and sound on disk: arrays in memory-mapped shards of about 1 GiB, and the two manifest tables.

A store is a folder:

    recipe.json      how the crops were made, and from which folder
    items.parquet    the manifest: one row per item
    crops.parquet    one row per stored crop and per recording, with its shard and its offset in the shard
    crops-00000.npy  the pixels, uint8 [N, 3, S, S]
    masks-00000.npy  the manipulation masks, at the same offsets; only if the recipe keeps masks
    sound-00000.npy  the recordings, one after the other, int16 [S], 16 kHz; only if the recipe keeps sound
    rejected.csv     items that could not be prepared, and the reasons
    duplicates.csv   pairs of items that look alike (data/duplicates.py)
    audit.json       whether file statistics alone separate real from fake
    checksums.json   CRC-32 of each table and shard (data/checksums.py)
    parts/           one file per item during preparation, from which a killed run resumes

Reading a clip from the memory map is about 20 times faster than decoding JPEG files. Crops are stored without loss.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import SAMPLES
from unmask.files import read_json

if TYPE_CHECKING:
    from unmask.media.crops import Crops

DTYPES = {"crops": np.uint8, "masks": np.uint8, "sound": np.int16}  # of each kind of shard
DUPLICATES = "duplicates.csv"
CHECKSUMS = "checksums.json"
FORMER = {"listed": "official_test", "given": "predefined"}  # column names in older stores -> new names
AGAIN = "prepare the data set again with rerun=true"
# Memory maps are closed after this number of bytes was read. Until then, the resident memory of the process may grow by
# up to 14 times this number, because the operating system reads ahead.
MAPPED_BYTES = 2**25


class StoreError(ValueError):
    """A store is missing, unfinished or made by another recipe; the message says which command to run."""


class CropStore:
    """A finished store of prepared crops, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[tuple[str, int], NDArray[np.integer]] = {}
        self._read_bytes = 0
        if not (folder / "crops.parquet").is_file():
            raise StoreError(f"no prepared crops in {folder}")

    @cached_property
    def items(self) -> pd.DataFrame:
        """The manifest's table of items."""
        return pd.read_parquet(self.folder / "items.parquet").rename(columns=FORMER)

    @cached_property
    def _stored(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "crops.parquet")

    @cached_property
    def crops(self) -> pd.DataFrame:
        """The manifest's table of crops, in order of item, track and frame."""
        return crops_of(self._stored)

    @cached_property
    def sounds(self) -> pd.DataFrame:
        """One row per recording: `item`, `shard`, `offset` and `samples` in the shard, `hash`; empty without sound."""
        return sounds_of(self._stored)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The settings with which the crops were made, from recipe.json."""
        return read_json(self.folder / "recipe.json", AGAIN)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the items, their labels and the stored pixels, 12 characters."""
        crops, items = self.crops, self.items
        rows = [
            *(f"{item} {hash_}" for item, hash_ in zip(self.sounds["item"], self.sounds["hash"], strict=True)),
            *(f"{item} {hash_}" for item, hash_ in zip(crops["item"], crops["hash"], strict=True)),
            *(f"{item} {label}" for item, label in zip(items["item"], items["label"], strict=True)),
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_shards": {}, "_read_bytes": 0}  # each process opens its own memory map

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the crops at these shard numbers [N] and offsets [N] -> uint8 [N, 3, S, S]."""
        return self._read("crops", shard, offset)

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the masks at these shard numbers [N] and offsets [N] -> uint8 [N, 1, S, S], 255 where manipulated.

        Raises:
            StoreError: the recipe kept no masks.
        """
        if not self.has(shard_path(self.folder, 0, "masks").name):
            raise StoreError(f"{self.folder} contains no masks: prepare with data.recipe.masks=true")
        return self._read("masks", shard, offset)

    def sound(
        self, shard: NDArray[np.integer], start: NDArray[np.integer], length: NDArray[np.integer]
    ) -> list[NDArray[np.int16]]:
        """Return pieces of recordings, given their shards [N], first samples in the shard [N] and lengths [N]."""
        found = list[NDArray[np.int16]]()
        for number, first, count in zip(shard.tolist(), start.tolist(), length.tolist(), strict=True):
            with self._shard("sound", number) as array:
                found.append(np.array(array[first : first + count], np.int16))
            del array
        self._count_read(sum(piece.nbytes for piece in found))
        return found

    def has(self, name: str) -> bool:
        """Return whether the store contains a file, such as `masks-00000.npy`."""
        return (self.folder / name).is_file()

    def cache_advice(self, window: int | None) -> str | None:
        """Return a warning if an epoch would download shards repeatedly; None for a store on disk.

        Args:
            window: the number of shards that are shuffled together; None shuffles all of them.
        """
        return None

    def _read(self, kind: str, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        out = np.zeros((0, 3 if kind == "crops" else 1, 0, 0), np.uint8)
        for number in np.unique(shard):
            at = np.flatnonzero(shard == number)
            with self._shard(kind, int(number)) as array:
                if not len(out):
                    out = np.empty((len(shard), *array.shape[1:]), np.uint8)
                out[at] = array[offset[at]]
            del array  # unmaps a shard that the class does not keep open
        self._count_read(out.nbytes)
        return out

    def _count_read(self, nbytes: int) -> None:
        """Close the memory maps once in a while; see `MAPPED_BYTES`."""
        self._read_bytes += nbytes
        if self._read_bytes > MAPPED_BYTES:
            self._shards.clear()
            self._read_bytes = 0

    def of_item(self, item: str, frames: list[int] | None = None) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
        """Return one item's rows of the crop table and their pixels [N, 3, S, S]; `frames` None means all frames."""
        rows = self.crops[self.crops["item"] == item]
        if frames is not None:
            rows = rows[rows["frame"].isin(frames)]
        return rows, self.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())

    @contextmanager
    def _shard(self, kind: str, number: int) -> Iterator[NDArray[np.integer]]:
        """Yield the memory map of a shard: uint8 [crops, 3 or 1, S, S] or, of sound, int16 [S]."""
        if (kind, number) not in self._shards:
            self._shards[kind, number] = np.load(shard_path(self.folder, number, kind), mmap_mode="r")
        yield self._shards[kind, number]


class MemoryStore:
    """Crops that are held in memory and have the interface of a store, for files that belong to no data set.

    Args:
        crops: {item: its crops}; all crops have the same size. The labels are unknown and set to 0.

    Attributes:
        sounds: see `CropStore.sounds`.
    """

    def __init__(self, crops: "Mapping[str, Crops]") -> None:
        self._pixels: NDArray[np.uint8] = np.concatenate([one.pixels for one in crops.values()])
        columns = [
            pd.DataFrame({"item": name, "track": one.track, "frame": one.frame, "time": one.time})
            for name, one in crops.items()
        ]
        self.crops = pd.concat(columns, ignore_index=True).assign(shard=0, offset=np.arange(len(self._pixels)))
        self.items = pd.DataFrame({"item": list(crops), "label": 0, "method": "unknown"})
        heard = {name: one.sound for name, one in crops.items() if one.sound is not None}
        self._sound = list(heard.values())
        long = [len(sound) for sound in self._sound]
        self.sounds = pd.DataFrame({"item": list(heard), "shard": np.arange(len(long)), "offset": 0, SAMPLES: long})
        self.sounds = self.sounds.assign(track=0, frame=0, time=0.0)

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the crops at these shard numbers [N] and offsets [N] -> uint8 [N, 3, S, S]."""
        return np.asarray(self._pixels[offset])

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Raise a StoreError, because masks are not kept in memory."""
        raise StoreError("crops in memory have no masks")

    def sound(
        self, shard: NDArray[np.integer], start: NDArray[np.integer], length: NDArray[np.integer]
    ) -> list[NDArray[np.int16]]:
        """Return pieces of recordings, given their numbers [N], first samples [N] and lengths [N]."""
        parts = zip(shard.tolist(), start.tolist(), length.tolist(), strict=True)
        return [self._sound[number][first : first + count] for number, first, count in parts]

    def strips(self, item: str, frames: list[int], track: int) -> list[NDArray[np.uint8]]:
        """Return the crops of one face (`track`) of an item in these frames, each [S, S, 3]."""
        rows = self.crops[(self.crops["item"] == item) & (self.crops["track"] == track)]
        place = dict(zip(rows["frame"], rows["offset"], strict=True))
        return [self._pixels[place[frame]].transpose(1, 2, 0) for frame in frames]


def crops_of(stored: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of crops in the table of a store, without the recordings."""
    if SAMPLES not in stored:
        return stored
    return stored[stored[SAMPLES] == 0].drop(columns=SAMPLES).reset_index(drop=True)


def sounds_of(stored: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of recordings in the table of a store, without the crops."""
    if SAMPLES not in stored:
        return stored.iloc[:0].assign(**{SAMPLES: np.zeros(0, np.int64)})
    return stored[stored[SAMPLES] > 0].reset_index(drop=True)


def shard_path(folder: Path, number: int, kind: str = "crops") -> Path:
    """Return the path of one shard of `crops`, `masks` or `sound`."""
    return folder / f"{kind}-{number:05d}.npy"
