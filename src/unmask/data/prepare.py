"""Prepare the crops of a data set: run the recipe once on every item, in parallel.

Each item's crops are written to a separate file below parts/. Once all items are done, these files are merged. So a
killed call can be resumed, and several calls can share the work (`shard`). The store has the same bytes in each case.
Concurrent calls on one folder are safe, because no call merges or starts over while another call prepares items. On a
file system without locks, this is not guaranteed.

Files are assumed not to change. If the size of a file has changed since preparation, a warning is given, and the old
crops of the file are used until the data set is prepared again with rerun=true.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from unmask.data import duplicates
from unmask.data.audit import audit, preload
from unmask.data.manifest import SIZE
from unmask.data.parts import About, DamagedPart, part_path, read_about, unmerge
from unmask.data.recipe import Recipe
from unmask.data.shards import finish, merge, reasons, write_rejected
from unmask.data.store import AGAIN, CHECKSUMS, DUPLICATES, CropStore, StoreError
from unmask.data.work import Task, Work, keep, record
from unmask.files import ClaimError, claim, lock, printable, remove_made, write_text
from unmask.parallel import workers

# Contents of a store's folder; `rerun=true` removes only these files.
MADE = (
    "recipe.json", "items.parquet", "crops.parquet", "crops-*.npy", "masks-*.npy", "sound-*.npy", "rejected.csv",
    "audit.json", DUPLICATES, CHECKSUMS, "parts/*.npz", "features/*.npy", "features/*.crc32",
    "*.tmp", "parts/*.tmp", "features/*.tmp",
)  # fmt: skip
WARN_SHARE, FAIL_SHARE = 0.1, 0.5  # fractions of rejected items above which to warn and to fail

Shard = tuple[int, int]  # (k, n): the k-th of n shares of the items, counted from 1
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
        folder: where the store is made; a killed call is resumed there.
        recipe: turns a file into crops.
        num_workers: number of worker processes; 0 prepares in this process.
        timeout: maximum time per item, s; slower items are rejected. No limit with num_workers=0.
        rerun: whether to delete earlier results and start over.
        progress: maps (iterator over results, number of items) to an equal iterator that also shows the progress.
        max_rejected: maximum fraction of items that may fail.
        memory: GB that a process may use (see `workers.run`); no limit with num_workers=0.

    Raises:
        StoreError: too many items failed (the next call retries only these), or the folder belongs to other data.
        DamagedPart: the crops of the same item were damaged on disk twice.
    """
    if rerun:
        _start_over(folder)

    def attempt() -> CropStore:
        preload()  # meanwhile, this process mostly waits for its workers
        prepare_parts(items, root, folder, recipe, num_workers, timeout, None, progress, memory)
        with lock(folder, alone=True):
            return _finished(items, root, folder, recipe) or _merge(items, folder, max_rejected)

    return _warn_changed(_finished(items, root, folder, recipe) or _again_if_damaged(attempt), root)


def _again_if_damaged(attempt: Callable[[], CropStore]) -> CropStore:
    """Call `attempt`, and repeat it if it fails because crops are damaged.

    The damaged crops were deleted, so the next attempt prepares their item again.

    Raises:
        DamagedPart: the same item was damaged twice, so the disk does not store data reliably.
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
    """Prepare all items, or one share of them, without merging; return how many items of all shares remain.

    The arguments are those of `prepare`, plus `shard`: (k, n) prepares every n-th item, starting with the k-th.

    Raises:
        StoreError: the folder belongs to other items or another recipe.
    """
    with lock(folder):
        if _finished(items, root, folder, recipe):
            return 0
        _claim(folder, _about(root, recipe))
        every = _tasks(items)
        mine = every if shard is None else every[shard[0] - 1 :: shard[1]]
        unusable = items.dropna(subset=["rejected"]).set_index("item")["rejected"].to_dict()  # bad file names
        todo = [task for task in mine if read_about(folder, task[0]) is None and task[0] not in unusable]
        for item in (item for item, *_ in mine if item in unusable):
            keep(folder, item, None, {}, unusable[item])
        work = Work(folder, root, recipe)
        done = record(folder, root, workers.run(work, todo, num_workers, timeout, memory))
        for _ in progress(done, len(todo)):
            pass
        return sum(not part_path(folder, item).is_file() for item, *_ in every)


def _tasks(items: pd.DataFrame) -> list[Task]:
    """Return the task for each item; a real item gets no mask file, even if the manifest names one."""
    return [
        (str(item), str(path), mask if isinstance(mask, str) and label == 1 else None)
        for item, path, mask, label in zip(items["item"], items["path"], items["mask"], items["label"], strict=True)
    ]


def reopen(root: Path, folder: Path, recipe: Recipe) -> None:
    """Open a store's folder to add crops that are not made from files.

    Save the crops with `write_part`, then call `merge_parts`.

    A complete store is first converted back to one file per item (a part), so that items can be added.

    Args:
        root: the folder that recipe.json records as the origin of the crops.
        folder: where the store is made.
        recipe: the recipe of the crops.
    """
    _claim(folder, _about(root, recipe))
    if (folder / "crops.parquet").is_file():
        unmerge(folder)


def merge_parts(items: pd.DataFrame, folder: Path) -> CropStore:
    """Merge the parts in a folder (one file per item) into a store; any number of items may be rejected."""
    with lock(folder, alone=True):
        return _merge(items, folder, max_rejected=1.0)


def parse_shard(text: str | None) -> Shard | None:
    """Parse `3/16` to (3, 16).

    Raises:
        ValueError: the text is not one of 1/n to n/n.
    """
    if text is None:
        return None
    which, _, many = str(text).partition("/")
    if not (which.isascii() and which.isdigit() and many.isascii() and many.isdigit() and 1 <= int(which) <= int(many)):
        raise ValueError(f"prepare.shard={text}: expected INDEX/COUNT, counted from 1, such as 3/16")
    return int(which), int(many)


def _about(root: Path, recipe: Recipe) -> dict[str, object]:
    return dict(json.loads(json.dumps(recipe.describe() | {"root": str(root.resolve()), "key": recipe.key})))


def _finished(items: pd.DataFrame, root: Path, folder: Path, recipe: Recipe) -> CropStore | None:
    """Return the store, or None if it is not finished; raise StoreError if it has other items or another recipe."""
    if not (folder / "crops.parquet").is_file():
        return None
    store = CropStore(folder)
    if store.recipe != _about(root, recipe) or store.items["item"].tolist() != items["item"].tolist():
        raise StoreError(
            f"{folder} contains crops of {len(store.items)} items from {store.recipe.get('root')}, which differ "
            f"from the {len(items)} items in {root.resolve()} in their names or their recipe; start over with "
            "rerun=true, or choose another folder with data.prepared=DIR"
        )
    remove_made(folder, ("parts/*.npz", "parts/*.tmp"))  # left by a killed call
    return store


def _claim(folder: Path, about: dict[str, object]) -> None:
    """Record data set and recipe in recipe.json; raise StoreError if the file exists with a different content."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    try:
        claim(folder / "recipe.json", about, AGAIN, alone=False)
    except ClaimError as error:
        other = (error.found or {}).get("root")
        differs = f"not in {about['root']}" if other != about["root"] else "but with another recipe"
        raise StoreError(
            f"{folder} is used for crops of the files in {other}, {differs}; start over with "
            "rerun=true, or choose another folder with data.prepared=DIR"
        ) from None


def _merge(items: pd.DataFrame, folder: Path, max_rejected: float) -> CropStore:
    about = [read_about(folder, item) for item in items["item"]]
    known: list[About] = [entry for entry in about if entry is not None]
    if gone := len(about) - len(known):
        raise StoreError(f"the crops of {gone} items are missing in {folder}; rerun the command")
    _check_rejected(items.assign(rejected=reasons(known, items)), folder, max_rejected)
    table, crops = merge(folder, items, known)
    write_text(folder / "audit.json", json.dumps(audit(table), indent=2))
    finish(folder, crops)
    duplicates.write(folder)
    return CropStore(folder)


def _check_rejected(items: pd.DataFrame, folder: Path, max_rejected: float) -> None:
    """Warn if many items could not be prepared; raise StoreError if they are more than `max_rejected`."""
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
            "are kept. Rerun the command to retry the failed items, or accept them with prepare.max_rejected=1"
        )
    warnings.warn(text, stacklevel=4)


def _warn_changed(store: CropStore, root: Path) -> CropStore:
    """Return the store unchanged; warn if the size of some files has changed since they were prepared."""
    if SIZE not in store.items:
        return store
    changed = []
    for path, size in zip(store.items["path"], store.items[SIZE], strict=True):
        file = root / path
        if file.is_file() and file.stat().st_size != size:
            changed.append(path)
    if changed:
        warnings.warn(
            f"{len(changed)} files have changed in size since they were prepared, such as {printable(changed[0])}; "
            "their old crops are used; rerun=true prepares all files again",
            stacklevel=3,
        )
    return store
