"""From a data set's files to its store: every item through the recipe once, in parallel, whatever becomes of some.

Each item's crops are one file below parts/ until all are there; then they are merged. So a killed call resumes where it
was, several calls (`shard`) may prepare apart, and the store is the same to the byte in each case. Calls that work on
one folder at once do no harm: while one prepares, none merges or starts over. On a file system without locks only the
last of these does not hold.

Files are taken to stay as they are. One that has another size than when it was prepared is warned about and its old
crops are used, until rerun=true.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from unmask.data import duplicates
from unmask.data.audit import audit
from unmask.data.manifest import SIZE
from unmask.data.parts import About, DamagedPart, part_path, read_about, unmerge
from unmask.data.recipe import Recipe
from unmask.data.shards import finish, merge, reasons, write_rejected
from unmask.data.store import AGAIN, CHECKSUMS, DUPLICATES, CropStore, StoreError
from unmask.data.work import Task, Work, keep, record
from unmask.files import ClaimError, claim, lock, printable, remove_made, write_text
from unmask.parallel import workers

# What a store's folder holds; `rerun=true` removes this and nothing else.
MADE = (
    "recipe.json", "items.parquet", "crops.parquet", "crops-*.npy", "masks-*.npy", "rejected.csv", "audit.json",
    DUPLICATES, CHECKSUMS, "parts/*.npz", "features/*.npy", "features/*.crc32",
    "*.tmp", "parts/*.tmp", "features/*.tmp",
)  # fmt: skip
WARN_SHARE, FAIL_SHARE = 0.1, 0.5  # of items that could not be prepared

Shard = tuple[int, int]  # which of how many, from 1
Progress = Callable[[Iterator[str | None], int], Iterator[str | None]]


def prepare(
    items: pd.DataFrame,
    root: Path,
    folder: Path,
    recipe: Recipe,
    num_workers: int = 1,
    timeout: float = 600.0,
    rerun: bool = False,
    progress: Progress = lambda work, _: work,
    max_rejected: float = FAIL_SHARE,
    memory: float | None = None,
) -> CropStore:
    """Prepare every item that is not yet prepared and return the store.

    Args:
        items: the manifest's rows (`item`, `path`, ...).
        root: the data set's folder.
        folder: where the store is made; a killed call resumes where it was.
        recipe: file -> crops.
        num_workers: processes; 0 works in this one.
        timeout: seconds after which one item counts as hanging.
        rerun: start over.
        progress: wraps the iteration (reasons or None, one an item), given its length.
        max_rejected: share of the items that may fail.
        memory: GB that a process may hold (see `workers.run`); with num_workers=0 nothing is bounded.

    Raises:
        StoreError: more items could not be prepared; the others are kept, and the next call tries these again.
        DamagedPart: the crops of one item were damaged on the disk twice.
    """
    if rerun:
        _start_over(folder)

    def attempt() -> CropStore:
        prepare_parts(items, root, folder, recipe, num_workers, timeout, None, progress, memory)
        with lock(folder, alone=True):
            return _finished(items, root, folder, recipe) or _merge(items, folder, max_rejected)

    return _warn_changed(_finished(items, root, folder, recipe) or _again_if_damaged(attempt), root)


def _again_if_damaged(attempt: Callable[[], CropStore]) -> CropStore:
    """Try again where an item's crops were damaged on the disk: they are deleted, so only this item is prepared again.

    Raises:
        DamagedPart: it happened twice to the same item, so the disk does not keep what is written to it.
    """
    damaged: set[str] = set()
    while True:
        try:
            return attempt()
        except DamagedPart as error:
            if str(error) in damaged:
                raise
            damaged.add(str(error))
            warnings.warn(str(error), stacklevel=3)


def _start_over(folder: Path) -> None:
    try:
        with lock(folder, alone=True, wait=False):
            remove_made(folder, MADE)
    except BlockingIOError:
        raise StoreError(f"another process is working on {folder}; wait for it or stop it") from None


def prepare_parts(
    items: pd.DataFrame,
    root: Path,
    folder: Path,
    recipe: Recipe,
    num_workers: int = 1,
    timeout: float = 600.0,
    shard: Shard | None = None,
    progress: Progress = lambda work, _: work,
    memory: float | None = None,
) -> int:
    """Prepare the items, or of n shares of them the k-th, but merge nothing; how many of all items remain.

    The arguments are those of `prepare`, and `shard`: (k, n) takes every n-th item, from the k-th.

    Raises:
        StoreError: the folder is of other items or another recipe.
    """
    with lock(folder):
        if _finished(items, root, folder, recipe):
            return 0
        _claim(folder, _about(root, recipe))
        every = _tasks(items)
        mine = every if shard is None else every[shard[0] - 1 :: shard[1]]
        unusable = items.dropna(subset=["rejected"]).set_index("item")["rejected"].to_dict()  # by its name alone
        todo = [task for task in mine if read_about(folder, task[0]) is None and task[0] not in unusable]
        for item in (item for item, *_ in mine if item in unusable):
            keep(folder, item, None, {}, unusable[item])
        work = Work(folder, root, recipe)
        done = record(folder, root, workers.run(work, todo, num_workers, timeout, memory))
        for _ in progress(done, len(todo)):
            pass
        return sum(not part_path(folder, item).is_file() for item, *_ in every)


def _tasks(items: pd.DataFrame) -> list[Task]:
    """What is to be done for each item; the mask of a real file is black, whatever the manifest names."""
    return [
        (str(item), str(path), mask if isinstance(mask, str) and label == 1 else None)
        for item, path, mask, label in zip(items["item"], items["path"], items["mask"], items["label"], strict=True)
    ]


def reopen(root: Path, folder: Path, recipe: Recipe) -> None:
    """Open a folder for parts that are not made from files (`parts.write_part`); `merge_parts` makes a store of them.

    A store that is whole is unmerged, so that it can grow.

    Args:
        root: what they are made from.
        folder: where the store is made.
        recipe: whose crops they are.
    """
    _claim(folder, _about(root, recipe))
    if (folder / "crops.parquet").is_file():
        unmerge(folder)


def merge_parts(items: pd.DataFrame, folder: Path) -> CropStore:
    """Make a store of parts that lie in its folder, one an item."""
    with lock(folder, alone=True):
        return _merge(items, folder, max_rejected=1.0)


def parse_shard(text: str | None) -> Shard | None:
    """`3/16` -> (3, 16).

    Raises:
        ValueError: it is none of 1/n to n/n.
    """
    if text is None:
        return None
    which, _, many = str(text).partition("/")
    if not (which.isascii() and which.isdigit() and many.isascii() and many.isdigit() and 1 <= int(which) <= int(many)):
        raise ValueError(f"prepare.shard={text}: write which of how many, from 1, such as prepare.shard=3/16")
    return int(which), int(many)


def _about(root: Path, recipe: Recipe) -> dict[str, object]:
    return dict(json.loads(json.dumps(recipe.describe() | {"root": str(root.resolve()), "key": recipe.key})))


def _finished(items: pd.DataFrame, root: Path, folder: Path, recipe: Recipe) -> CropStore | None:
    """The store if it is made already."""
    if not (folder / "crops.parquet").is_file():
        return None
    store = CropStore(folder)
    if store.recipe != _about(root, recipe) or store.items["item"].tolist() != items["item"].tolist():
        raise StoreError(
            f"{folder} holds crops of {len(store.items)} items from {store.recipe.get('root')}, not of these "
            f"{len(items)} from {root.resolve()}; start over with rerun=true, or choose another place with "
            "data.prepared=DIR"
        )
    remove_made(folder, ("parts/*.npz", "parts/*.tmp"))  # where a call was killed with all else done
    return store


def _claim(folder: Path, about: dict[str, object]) -> None:
    """Write down what the folder is for, or see that it is for this."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    try:
        claim(folder / "recipe.json", about, AGAIN, alone=False)
    except ClaimError as error:
        other = (error.found or {}).get("root")
        raise StoreError(
            f"{folder} was started with files from {other}, not from {about['root']}; start over with "
            "rerun=true, or choose another place with data.prepared=DIR"
        ) from None


def _merge(items: pd.DataFrame, folder: Path, max_rejected: float) -> CropStore:
    about = [read_about(folder, item) for item in items["item"]]
    known: list[About] = [entry for entry in about if entry is not None]
    if gone := len(about) - len(known):
        raise StoreError(f"{gone} items in {folder} are gone again; run the same command once more")
    _check_rejected(items.assign(rejected=reasons(known, items)), folder, max_rejected)
    table, crops = merge(folder, items, known)
    write_text(folder / "audit.json", json.dumps(audit(table), indent=2))
    finish(folder, crops)
    duplicates.write(folder)
    return CropStore(folder)


def _check_rejected(items: pd.DataFrame, folder: Path, max_rejected: float) -> None:
    """Say so when much could not be prepared, before anything is merged."""
    bad = items[items["rejected"].notna()]
    share = len(bad) / max(len(items), 1)
    if share <= min(WARN_SHARE, max_rejected):
        return
    reasons = ", ".join(f"{count} x {reason}" for reason, count in bad["rejected"].value_counts().head(3).items())
    text = f"{len(bad)} of {len(items)} items could not be prepared ({reasons}); see {folder / 'rejected.csv'}"
    if share > max_rejected:
        write_rejected(items, folder)
        for item in bad["item"]:
            part_path(folder, item).unlink()
        limit = "half" if max_rejected == FAIL_SHARE else f"{max_rejected:.0%}"
        raise StoreError(
            f"{text}. That is more than {limit}: is data.root the right folder? The other {len(items) - len(bad)} "
            "are kept; the same command tries these again, prepare.max_rejected=1 continues without them"
        )
    warnings.warn(text, stacklevel=4)


def _warn_changed(store: CropStore, root: Path) -> CropStore:
    """Give a store back, and say so when files are not those that were prepared, as far as their size tells."""
    if SIZE not in store.items:
        return store
    changed = []
    for path, size in zip(store.items["path"], store.items[SIZE], strict=True):
        file = root / path
        if file.is_file() and file.stat().st_size != size:
            changed.append(path)
    if changed:
        warnings.warn(
            f"{len(changed)} files have another size than when they were prepared, such as {printable(changed[0])}; "
            "their old crops are used; rerun=true prepares all files again",
            stacklevel=3,
        )
    return store
