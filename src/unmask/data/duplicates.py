"""Find near-duplicate items, and reject unrelated near-duplicates in different splits.

Exact copies have the same bytes and are found by `manifest.check_leaks`. Re-encoded copies have different bytes and
are found here, by comparing crops (data/perceptual.py). A fake looks like its source, and two fakes of one source look
alike, so pairs that are related according to the manifest (`manifest.relations`) are only reported. In an unrelated
pair, one item is a copy of the other, or a fake made from it. If the two are in different splits, the splits leak.

duplicates.csv in a store has one row per pair: the items `a`, `b`, their labels `label_a`, `label_b`, and whether they
are `related`. `distance` is the lowest number of different hash bits (of 64) between two crops, and `correlation` the
highest correlation. `share` is the larger of two shares: the crops of `a` that match a crop of `b`, and vice versa.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data import perceptual
from unmask.data.manifest import ManifestError, components, relations
from unmask.data.store import DUPLICATES as DUPLICATES
from unmask.data.store import CropStore
from unmask.files import write_text

# Minimum `share` of a pair. If clips of FaceForensics++ are re-encoded (x264 at CRF 23 to 35, half size, without the
# first 40 frames), at least 0.16 of the crops match a crop of the original. The other crops do not match, because the
# face box moves a little. Crops of different clips never match.
SHARE = 0.1
MOST, FEWEST = 250_000, 8  # approximate number of crops compared in total; minimum per item
READ = 256  # crops per read
SHOWN = 10  # pairs listed in a message

# Columns of duplicates.csv.
COLUMNS = {
    "a": str, "b": str, "label_a": int, "label_b": int, "related": bool, "distance": int, "correlation": float,
    "share": float,
}  # fmt: skip

Pixels = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.uint8]]


def read(store: CropStore) -> pd.DataFrame:
    """Return a store's look-alike pairs from its duplicates.csv; find them if the file is missing or damaged."""
    try:
        pairs = pd.read_csv(store.folder / DUPLICATES, dtype=COLUMNS, keep_default_na=False)
    except (FileNotFoundError, ValueError):  # pandas' parser and decoding errors are ValueErrors
        pairs = pd.DataFrame()
    if list(pairs) == list(COLUMNS):
        return pairs
    return find(store.items, store.crops, store.pixels)


def write(folder: Path) -> None:
    """Find the look-alike pairs of a new store and write duplicates.csv, so that training need not find them."""
    write_text(folder / DUPLICATES, read(CropStore(folder)).to_csv(index=False))


def find(items: pd.DataFrame, crops: pd.DataFrame, pixels: Pixels) -> pd.DataFrame:
    """Return the pairs of items that look alike, sorted by name.

    Args:
        items: `item`, `label`, `groups` and `source`.
        crops: `item`, `shard`, `offset`.
        pixels: maps shards and offsets, both [N], to crops uint8 [N, 3, S, S].

    Returns:
        The columns of duplicates.csv.
    """
    if crops.empty:  # nothing was prepared, or only sound
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    crops = _thinned(crops)
    owner, names = pd.factorize(crops["item"], sort=True)
    thumbs = np.concatenate([*_thumbnails(crops, pixels), np.zeros((0, perceptual.SIDE, perceptual.SIDE), np.uint8)])
    a, b, bits, match = perceptual.near(thumbs, owner)
    swap = owner[a] > owner[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    found = pd.DataFrame({"crop_a": a, "crop_b": b, "one": owner[a], "two": owner[b], "distance": bits, "match": match})
    pairs = found.groupby(["one", "two"], as_index=False).agg(
        a_crops=("crop_a", "nunique"), b_crops=("crop_b", "nunique"),
        distance=("distance", "min"), correlation=("match", "max"),
    )  # fmt: skip
    total = np.bincount(owner, minlength=len(names))
    pairs["share"] = np.maximum(pairs["a_crops"] / total[pairs["one"]], pairs["b_crops"] / total[pairs["two"]])
    pairs = pairs[pairs["share"] >= SHARE].reset_index(drop=True)
    pairs["a"], pairs["b"] = (np.asarray(names, object)[pairs[column].to_numpy(np.int64)] for column in ("one", "two"))
    label, related = items.set_index("item")["label"], relations(items)
    pairs["label_a"], pairs["label_b"] = pairs["a"].map(label), pairs["b"].map(label)
    pairs["related"] = [related(a, b) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    pairs = pairs.round({"correlation": 4, "share": 3})
    return pairs[list(COLUMNS)]


def joined(items: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Add a column `twin` to items: the same value for unrelated items that look alike, None for all other items.

    Protocols that assign items to splits put items with the same `twin` into the same split.
    """
    unrelated = pairs[~pairs["related"].astype(bool)]
    of = components(zip(unrelated["a"], unrelated["b"], strict=True))
    return items.assign(twin=items["item"].map(of).astype(object))


def placed(pairs: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs in which both items have a split, with new columns `split_a` and `split_b`."""
    split = items.set_index("item")["split"].dropna()
    pairs = pairs.assign(split_a=pairs["a"].map(split), split_b=pairs["b"].map(split))
    return pairs.dropna(subset=["split_a", "split_b"]).reset_index(drop=True)


def leaks(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of unrelated items in different splits; `pairs` is the result of `placed`."""
    return pairs[~pairs["related"].astype(bool) & (pairs["split_a"] != pairs["split_b"])]


def check(pairs: pd.DataFrame, folder: Path) -> None:
    """Raise an error if two unrelated items that look alike are in different splits.

    Args:
        pairs: the result of `placed`.
        folder: the store's folder; the message refers to its `duplicates.csv` for the full list.

    Raises:
        ManifestError: such pairs exist; the message lists them.
    """
    if len(found := leaks(pairs)):
        lines = "\n".join(f"  {line}" for line in listed(found))
        raise ManifestError(
            f"the splits leak: {_count(len(found))} of unrelated items look alike but are in different splits:\n"
            f"{lines}\nThe full list is in {folder / DUPLICATES}. Remove one item of each pair, put both in the "
            "same split, or accept them with data.split.allow_duplicates=true"
        )


def listed(pairs: pd.DataFrame, most: int = SHOWN) -> Iterator[str]:
    """Yield one line for each of the `most` closest pairs, then one line with the number of pairs not listed."""
    nearest = pairs.sort_values(["distance", "correlation"], ascending=[True, False], kind="stable")
    for row in nearest.head(most).to_dict("records"):
        a, b = (f"{row[x]} ({row[f'split_{x}']})" for x in "ab")
        what = "related" if row["related"] else "not known to be related"
        labels = "" if row["label_a"] == row["label_b"] else "; one is real, one is fake"
        bits = f"{row['distance']} of 64 hash bits differ"
        yield f"{a} and {b}: {bits}, correlation of the pixels {row['correlation']:.3f}; {what}{labels}"
    if len(pairs) > most:
        yield f"and {len(pairs) - most} more"


def words(pairs: pd.DataFrame) -> str:
    """Return a sentence with the numbers of related and other `pairs` (from `placed`); "" if there are no pairs."""
    other = pairs[~pairs["related"].astype(bool)]
    apart, mixed = len(leaks(pairs)), int((other["label_a"] != other["label_b"]).sum())
    accepted = ", accepted by data.split.allow_duplicates=true" if apart else ""
    told = []
    if len(other) < len(pairs):
        told.append(f"{len(pairs) - len(other)} related (a fake and its original, or items of one group)")
    if len(other):
        told.append(f"{len(other)} not known to be related")
        told.append(f"of these, {apart} in different splits{accepted} and {mixed} of one real and one fake item")
    return f"{_count(len(pairs))} of similar items: {'; '.join(told)}" if told else ""


def _count(number: int) -> str:
    return f"{number} pair{'s' * (number != 1)}"


def _thinned(crops: pd.DataFrame) -> pd.DataFrame:
    """Return evenly spaced crops of each item, about `MOST` in total."""
    keep = max(FEWEST, MOST // max(crops["item"].nunique(), 1))
    group = crops.groupby("item", sort=False)["item"]
    number, size = group.cumcount().to_numpy(), group.transform("size").to_numpy()
    chosen = (number * keep // np.maximum(size, keep)) != ((number - 1) * keep // np.maximum(size, keep))
    kept: pd.DataFrame = crops.loc[(size <= keep) | chosen]
    return kept


def _thumbnails(crops: pd.DataFrame, pixels: Pixels) -> Iterator[NDArray[np.uint8]]:
    shard, offset = crops["shard"].to_numpy(np.int64), crops["offset"].to_numpy(np.int64)
    for at in range(0, len(crops), READ):
        yield perceptual.thumbnails(pixels(shard[at : at + READ], offset[at : at + READ]))
