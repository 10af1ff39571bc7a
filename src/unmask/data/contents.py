"""Open the prepared crops of a source and divide them into splits."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from unmask.data import duplicates
from unmask.data.manifest import check_leaks
from unmask.data.prepared import Prepared
from unmask.data.split import Split
from unmask.data.store import CropStore
from unmask.data.stores import JoinedStore

Member = tuple[Prepared, Split]


class Contents(NamedTuple):
    """The contents of one or several data sets.

    Attributes:
        items: the manifest, with the columns `split` and `dataset`.
        store: the crops of all data sets.
        stores: the crops of each data set.
        duplicates: the pairs of items that look alike.
    """

    items: pd.DataFrame
    store: CropStore | JoinedStore
    stores: list[CropStore]
    duplicates: pd.DataFrame


def open_contents(members: Sequence[Member], blended: bool = False) -> Contents:
    """Open the stores, divide their items into splits, and reject leaks between the splits.

    Args:
        members: the prepared crops of each data set, and the rule by which it is divided.
        blended: whether fakes are left out of training and validation, because self-blends replace them.

    Raises:
        StoreError: crops are missing or do not match the data set's files; the message says which command to run.
        ManifestError: the splits leak, or a data set cannot be divided by its protocol.
    """
    stores, items, pairs = list[CropStore](), [], []
    for prepared, split in members:
        store = prepared.store
        alike = duplicates.read(store)
        found = store.items if split.allow_duplicates else duplicates.joined(store.items, alike)
        store.items, crops = split.divide(found, store.crops, prepared.source)
        if crops is not None:
            store.crops = crops
        stores.append(store)
        items.append(_used(store.items, split, blended).assign(dataset=prepared.source.name))
        pairs.append(alike)
    whole = stores[0] if len(stores) == 1 else JoinedStore(stores)
    table = pd.concat(items, ignore_index=True)
    _check_leaks(members, table, _hashes(whole))
    placed = duplicates.placed(pd.concat(pairs, ignore_index=True), table)
    for prepared, split in members:
        if not split.allow_duplicates:
            own = table.loc[table["dataset"] == prepared.source.name, "item"]
            duplicates.check(placed[placed["a"].isin(own)], prepared.folder)
    return Contents(table, whole, stores, placed)


def _hashes(store: CropStore | JoinedStore) -> pd.DataFrame:
    """Return the item and the hash of each stored crop and recording."""
    used = [table[["item", "hash"]] for table in (store.crops, store.sounds) if len(table)]
    return pd.concat(used, ignore_index=True) if used else store.crops


def _used(items: pd.DataFrame, split: Split, blended: bool) -> pd.DataFrame:
    """Return the items; for fakes that the settings exclude, the new `split` is None."""
    fake, chosen = items["label"] == 1, items["split"].copy()
    if blended:
        chosen[fake & chosen.isin(["train", "val"])] = None
    if split.only:
        chosen[fake] = None
    return items.assign(split=chosen)


def _check_leaks(members: Sequence[Member], items: pd.DataFrame, crops: pd.DataFrame) -> None:
    """Reject leaks within and between data sets; if a protocol promises disjoint groups, also reject shared groups."""
    of = [items[items["dataset"] == prepared.source.name] for prepared, _ in members]
    promised = [
        split.rule(rows, prepared.source) in prepared.source.DISJOINT
        for (prepared, split), rows in zip(members, of, strict=True)
    ]
    check_leaks(items, crops, all(promised))
    for rows, kept in zip(of, promised, strict=True):
        if kept and not all(promised):
            check_leaks(rows, None, True)
