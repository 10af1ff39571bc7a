"""List and remove the files that a training writes to its run folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unmask.data.duplicates import DUPLICATES
from unmask.files import hold, remove_made
from unmask.runs.errors import RunError
from unmask.runs.measured import CLOUD

EXPORTS = "exports"  # folder in a run with the scores of its exported files
GENERATION = "generation.json"  # metrics of samples or swaps, which `unmask evaluate` writes
LOG = "train.log"  # Hydra's log: one line per epoch, and all messages of the run
HYDRA = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", LOG)
# Files that a run writes outside of .hydra; `rerun=true` removes only these files.
MADE = (
    "metrics.json", "metrics.csv", GENERATION, "nearest.png", "predictions-*.parquet", "report.html", DUPLICATES,
    "output.log", CLOUD,
    "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/frozen.ckpt",
    "checkpoints/*.ckpt.*.tmp",
    "explain/[0-9]*.png", "explain/explain.json", "feature_maps/[0-9]*.png", "feature_maps/feature_maps.json",
    "robustness/*/*.parquet", "samples/step-*.png",
    "samples/reconstructed.png", "samples/timelapse.mp4", "tensorboard/**/events.out.tfevents.*",
    "tensorboard/**/hparams.yaml",
)  # fmt: skip


def best_of(folder: Path) -> Path:
    """Return the path of a run's checkpoint with the weights that were selected by validation."""
    return folder / "checkpoints" / "best.ckpt"


def clear(folder: Path) -> None:
    """Remove the files that an earlier run wrote to this folder; all other files in it are kept."""
    remove_made(folder, MADE)
    if (folder / LOG).is_file():  # Hydra has opened the log, so it cannot be deleted
        os.truncate(folder / LOG, 0)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the run folder until the block ends or the process dies, by a lock on its log.

    On Windows and on file systems without locks, this does nothing.

    Raises:
        RunError: another process is training in this folder.
    """
    with (folder / LOG).open("a") as file:
        try:
            hold(file, alone=True, wait=False)
        except BlockingIOError:
            raise RunError(
                f"{folder}: another process is training in this folder. Wait until it has finished, or stop it and run "
                "this command again to resume"
            ) from None
        yield


@contextmanager
def removed_if_unused(folder: Path, chosen: bool) -> Iterator[None]:
    """On exit, remove the run folder if it contains only Hydra's files (after a rejected command or check=true).

    A folder whose log already had content on entry is kept: it belongs to another training, which may be running.

    Args:
        folder: the run folder, in which Hydra has just opened the log.
        chosen: whether the user chose the folder. If so, Hydra's files are removed, but the folder is kept.
    """
    new = not (folder / LOG).is_file() or not (folder / LOG).stat().st_size
    try:
        yield
    finally:
        written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        if new and written <= set(HYDRA):
            with suppress(OSError):  # Windows cannot delete an open log
                remove_made(folder, HYDRA)
                if not chosen:
                    folder.rmdir()
                    folder.parent.rmdir()  # fails if it contains other runs
