"""The interface of stores, from which samples read crops, and a store that joins the stores of several data sets."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.manifest import SAMPLES
from unmask.data.store import CropStore

APART = 100_000  # more shards than any store has; keeps the shard numbers of joined stores apart


class Store(Protocol):
    """The interface of a store: its crops and the two tables of its manifest."""

    @property
    def items(self) -> pd.DataFrame:
        """The manifest's table of items."""

    @property
    def crops(self) -> pd.DataFrame:
        """The table of crops: `item`, `track`, `frame`, `time`, `shard`, `offset`."""

    @property
    def sounds(self) -> pd.DataFrame:
        """The table of recordings: `item`, `shard`, `offset`, `samples`; empty without sound."""

    def sound(
        self, shard: NDArray[np.integer], start: NDArray[np.integer], length: NDArray[np.integer]
    ) -> list[NDArray[np.int16]]:
        """Return pieces of recordings, given their shards [N], first samples in the shard [N] and lengths [N]."""

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the crops at these shard numbers [N] and offsets [N] -> uint8 [N, 3, S, S]."""

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the masks at these shard numbers [N] and offsets [N] -> uint8 [N, 1, S, S], 255 where manipulated."""


def store_folder(prepared: Path, name: str, key: str) -> Path:
    """Return the folder of a data set's crops: `<prepared>/<name>/<key of the recipe>`."""
    return prepared / name / key


def of_item(store: Store, item: str, frames: Sequence[int]) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Return one item's rows of the crop table in these frames, and their pixels [N, 3, S, S]."""
    rows = store.crops[(store.crops["item"] == item) & store.crops["frame"].isin(frames)]
    return rows, store.pixels(rows["shard"].to_numpy(), rows["offset"].to_numpy())


def sound_of(store: Store, item: str) -> NDArray[np.int16] | None:
    """Return an item's whole recording [S]; None if it has no sound."""
    rows = store.sounds[store.sounds["item"] == item]
    if rows.empty:
        return None
    (sound,) = store.sound(*(rows[name].to_numpy(np.int64) for name in ("shard", "offset", SAMPLES)))
    return sound


class JoinedStore:
    """The stores of several data sets, read as one; all crops must have the same size.

    Args:
        stores: one per data set.
    """

    def __init__(self, stores: Sequence[CropStore]) -> None:
        self.stores = list(stores)
        self.items = pd.concat([store.items for store in stores], ignore_index=True)
        self.crops = _moved([store.crops for store in stores])
        self.sounds = _moved([store.sounds for store in stores])

    @property
    def fingerprint(self) -> str:
        """Hash of the fingerprints of all stores, 12 characters."""
        return hashlib.sha256("\n".join(store.fingerprint for store in self.stores).encode()).hexdigest()[:12]

    def pixels(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the crops at these shard numbers [N] and offsets [N] -> uint8 [N, 3, S, S]."""
        return self._read("pixels", shard, offset)

    def masks(self, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the masks at these shard numbers [N] and offsets [N] -> uint8 [N, 1, S, S], 255 where manipulated."""
        return self._read("masks", shard, offset)

    def sound(
        self, shard: NDArray[np.integer], start: NDArray[np.integer], length: NDArray[np.integer]
    ) -> list[NDArray[np.int16]]:
        """Return pieces of recordings, given their shards [N], first samples in the shard [N] and lengths [N]."""
        return [
            self.stores[int(shard[at]) // APART].sound(
                shard[at : at + 1] % APART, start[at : at + 1], length[at : at + 1]
            )[0]
            for at in range(len(shard))
        ]

    def _read(self, kind: str, shard: NDArray[np.integer], offset: NDArray[np.integer]) -> NDArray[np.uint8]:
        whose = np.asarray(shard) // APART
        found: NDArray[np.uint8] | None = None
        for number in np.unique(whose):
            at, store = np.flatnonzero(whose == number), self.stores[int(number)]
            read = store.pixels if kind == "pixels" else store.masks
            part = read(shard[at] % APART, offset[at])
            if found is None:
                found = np.empty((len(shard), *part.shape[1:]), np.uint8)
            found[at] = part
        return np.zeros((0, 3 if kind == "pixels" else 1, 0, 0), np.uint8) if found is None else found


def _moved(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the tables of several stores; the shard numbers of store k are shifted by k * `APART`."""
    moved = [table.assign(shard=table["shard"] + APART * at) for at, table in enumerate(tables)]
    used = [table for table in moved if len(table)]
    return pd.concat(used or moved, ignore_index=True)
