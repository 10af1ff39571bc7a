"""Runs whose weights another training uses, as teachers or as initial weights: their test items must stay unseen."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from unmask.config import Settings
from unmask.runs.identity import ORIGINS
from unmask.runs.predictions import ITEMS
from unmask.runs.run import Run


def require_unseen(module: Settings, items: Iterable[str]) -> None:
    """Check that no detector that a training uses was trained or selected on the test items of the training.

    Runs of other kinds, such as autoencoders, do not store their items, so they are not checked.

    Args:
        module: the checked config of the module.
        items: names of the test items.

    Raises:
        ValueError: some items were in the training or validation split of a run.
    """
    names = list(items)
    for key, folder in _origins(module):
        if (run := Run(Path(folder))).detects:
            require_unseen_by(key, run, names)


def require_unseen_by(key: str, run: Run, items: Iterable[str]) -> None:
    """Check that a run was neither trained nor selected on these test items.

    Args:
        key: the key of the config that names the run, for the message.
        run: a finished run of a detector.
        items: names of the test items.

    Raises:
        ValueError: some items were in the training or validation split of the run, or this cannot be checked.
    """
    tables, names = {split: run.predictions(split) for split in ("val", "test")}, list(items)
    known = set(pd.concat(tables.values())["dataset"])
    same = sorted(known & {item.partition("/")[0] for item in names})
    if same and any(ITEMS in table.attrs["protocol"] for table in tables.values()):
        raise ValueError(
            f"{key}={run.folder}: the pack does not contain the names of its items, so it cannot be checked whether "
            f"test items of {same[0]} were in its training split; use the run folder, or a pack that was published "
            "with names=true"
        )
    unseen = set(tables["test"]["item"])
    seen = sorted(item for item in names if item.partition("/")[0] in known and item not in unseen)
    if seen:
        raise ValueError(
            f"{key}={run.folder}: {len(seen)} test items, such as {seen[0]}, were in the training or validation "
            "split of this run, so test figures would be too good; train both runs on the same splits (data.split)"
        )


def _origins(module: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, run folder) for each run in a part of `ORIGINS`, such as `module.loss.run`."""
    for part in ORIGINS:
        node = module.get(part)
        run = node.get("run") if isinstance(node, dict) else None
        for folder in [] if run is None else [run] if isinstance(run, str) else list(run):
            yield f"module.{part}.run", folder
