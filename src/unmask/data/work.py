"""Prepare one item and save the result on disk: the item's crops, or the reason why it has no crops."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unmask.data.manifest import SIZE
from unmask.data.parts import measured, read_about, write_part
from unmask.data.recipe import Recipe
from unmask.files import file_hash, printable
from unmask.media.crops import Crops
from unmask.media.kinds import Statistics
from unmask.parallel import workers

Task = tuple[str, str, str | None]  # item, path, mask


@dataclass
class Work:
    """A function for worker processes: it prepares one item and writes the result to disk."""

    folder: Path
    root: Path
    recipe: Recipe

    def __call__(self, task: Task) -> str | None:
        """Make and save the crops of one item; return the reason if the item is rejected, else None."""
        item, path, mask = task
        if (about := read_about(self.folder, item)) is not None:  # prepared by another call meanwhile
            return about["rejected"]
        file = self.root / path
        try:
            crops, reason = self.recipe(file, None if mask is None else self.root / mask), None
            columns = measured(crops) | {"sha256": file_hash(file)}
        except ValueError as error:
            crops, reason, columns = None, str(error), {}
        except OSError as error:  # deleted since it was listed, or not readable
            crops, reason, columns = None, f"cannot be read ({error.strerror})", {}
        keep(self.folder, item, crops, columns | file_size(file), reason)
        return reason


def record(
    folder: Path, root: Path, results: Iterator[tuple[Task, str | workers.TaskError | None]]
) -> Iterator[str | None]:
    """Yield for each item the reason why it was rejected, or None.

    Items that crashed or hung are saved as rejected, so that they are not retried.
    """
    for (item, path, _), result in results:
        if isinstance(result, workers.TaskError):
            keep(folder, item, None, file_size(root / path), str(result))
            yield str(result)
        else:
            yield result


def keep(folder: Path, item: str, crops: Crops | None, columns: Statistics, reason: str | None) -> None:
    """Save the crops of an item, or the reason why it has no crops.

    Raises:
        workers.Stop: the disk is full, or the folder cannot be written.
    """
    try:
        write_part(folder, item, crops, columns, None if reason is None else printable(reason))
    except OSError as error:  # the item is not the cause, for example if the disk is full
        raise workers.Stop(
            f"cannot write to {folder} ({error}); fix the cause and rerun the command to resume"
        ) from error


def file_size(file: Path) -> Statistics:
    """Return a file's size as a column of the table of items; empty if the file cannot be read."""
    try:
        return {SIZE: float(file.stat().st_size)}
    except OSError:  # missing or not readable; this is also the reason why the item is rejected
        return {}
