"""From a data set's files to its store: every item through the recipe once, in parallel, whatever becomes of some."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from unmask.data import workers
from unmask.data.audit import audit
from unmask.data.manifest import file_hash
from unmask.data.store import CropStore, StoreError, merge, part_path, write_parquet, write_part

WARN_SHARE, FAIL_SHARE = 0.1, 0.5  # of items that could not be prepared


class Recipe(Protocol):
    """How a file becomes crops: see media.recipe.FaceCrops."""

    @property
    def key(self) -> str:
        """A name for this recipe's crops."""

    def describe(self) -> dict[str, object]:
        """All that decides the pixels."""

    def __call__(self, path: Path) -> Any:
        """The crops of one file; a ValueError is the reason why there are none."""


@dataclass
class _Work:
    """What a worker does with one item; the result lies on disk, only the reason for a rejection comes back."""

    folder: Path
    root: Path
    recipe: Recipe

    def __call__(self, task: tuple[str, str]) -> str | None:
        item, path = task
        file = self.root / path
        try:
            crops = self.recipe(file)
        except ValueError as error:
            write_part(self.folder, item, None, _bytes_and_hash(file), str(error))
            return str(error)
        write_part(self.folder, item, crops, crops.statistics | _bytes_and_hash(file), None)
        return None


def prepare(
    items: pd.DataFrame,
    root: Path,
    folder: Path,
    recipe: Recipe,
    num_workers: int = 1,
    timeout: float = 600.0,
    rerun: bool = False,
    progress: Callable[[Iterator[str | None], int], Iterator[str | None]] = lambda work, _: work,
) -> CropStore:
    """Prepare every item that is not yet prepared and return the store.

    Args:
        items: the manifest's rows (`item`, `path`, ...).
        root: the data set's folder.
        folder: where the store is made; a killed call goes on where it was.
        recipe: file -> crops.
        num_workers: processes; 0 works in this one.
        timeout: seconds after which one item counts as hanging.
        rerun: start over.
        progress: wraps the iteration (reasons or None, one an item), given its length.

    Raises:
        StoreError: more than half of the items could not be prepared.
    """
    if rerun and folder.exists():
        shutil.rmtree(folder)
    about = recipe.describe() | {"root": str(root.resolve()), "key": recipe.key}
    if (folder / "crops.parquet").is_file():
        store = CropStore(folder)
        if store.recipe == json.loads(json.dumps(about)) and store.items["item"].tolist() == items["item"].tolist():
            return store
        raise StoreError(
            f"{folder} holds crops of {len(store.items)} items from {store.recipe['root']}, not of these {len(items)} "
            f"from {root.resolve()}; start over with rerun=true, or choose another place with data.prepared=DIR"
        )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(about, indent=2))
    named = zip(items["item"].astype(str), items["path"].astype(str), strict=True)
    todo = [(item, path) for item, path in named if not part_path(folder, item).is_file()]
    work = _Work(folder, root, recipe)
    done = _record(folder, root, workers.run(work, todo, num_workers, timeout))
    for _ in progress(done, len(todo)):
        pass
    merge(folder, items)
    store = CropStore(folder)
    _judge(store)
    (folder / "audit.json").write_text(json.dumps(audit(store.items), indent=2))
    return store


def _record(folder: Path, root: Path, results: Iterator[tuple[tuple[str, str], Any]]) -> Iterator[str | None]:
    """Give each item's reason or None; what took its worker along is written down here."""
    for (item, path), result in results:
        if isinstance(result, workers.TaskError):
            write_part(folder, item, None, _bytes_and_hash(root / path), str(result))
            yield str(result)
        else:
            yield result


def _bytes_and_hash(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    return {"bytes": float(file.stat().st_size), "sha256": file_hash(file)}


def _judge(store: CropStore) -> None:
    """Say so when much could not be prepared."""
    bad = store.items[store.items["rejected"].notna()]
    share = len(bad) / max(len(store.items), 1)
    if share <= WARN_SHARE:
        return
    reasons = ", ".join(f"{count} x {reason}" for reason, count in bad["rejected"].value_counts().head(3).items())
    text = (
        f"{len(bad)} of {len(store.items)} items could not be prepared ({reasons}); see {store.folder / 'rejected.csv'}"
    )
    if share > FAIL_SHARE:
        (store.folder / "crops.parquet").unlink()
        raise StoreError(text + ". That is more than half: is data.root the right folder?")
    warnings.warn(text, stacklevel=3)


__all__ = ["Recipe", "prepare", "write_parquet"]
