"""Fill a folder with rendered files: record the arguments in it, and render the files that do not exist yet."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2

from unmask.files import UNFINISHED, ClaimError, claim, write_text

NOTE = "demo.json"
Work = TypeVar("Work")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Jobs(Generic[Work]):
    """The files to render into a folder.

    Attributes:
        every: All pieces of work, such as clips.
        exists: A function that returns whether the files of a piece of work exist.
        job: A function that renders the files of one piece of work; files must appear only when they are complete.
    """

    every: Sequence[Work]
    exists: Callable[[Work], bool]
    job: Callable[[Work], None]


def fill(
    root: Path, arguments: Mapping[str, int | float], jobs: Jobs[Work], workers: int, progress: Progress | None
) -> None:
    """Check or record the arguments with `claim_for_demo`, then render the files that do not exist yet.

    Args:
        root: a new folder, or the folder of an earlier call with the same arguments.
        arguments: all arguments that determine the content of the files.
        jobs: the files to render.
        workers: number of processes.
        progress: called with (pieces of work done, total); None for no call.

    Raises:
        ValueError: the folder has files but no `demo.json`, or was filled with different arguments.
    """
    claim_for_demo(root, arguments)
    for leftover in root.glob(f"**/{UNFINISHED}"):  # from a killed call
        leftover.unlink()
    missing = [piece for piece in jobs.every if not jobs.exists(piece)]
    done = len(jobs.every) - len(missing)
    if progress:
        progress(done, len(jobs.every))
    for _ in _spread(jobs.job, missing, workers):
        done += 1
        if progress:
            progress(done, len(jobs.every))


def claim_for_demo(root: Path, arguments: Mapping[str, int | float]) -> None:
    """Record the arguments in a new folder's `demo.json`, or check that an existing `demo.json` has the same arguments.

    Raises:
        ValueError: the folder has files but no `demo.json`, or was filled with different arguments.
    """
    try:
        claim(root / NOTE, arguments, "delete the folder and render again", end="\n")
    except ClaimError as error:
        if (found := error.found) is None:
            raise ValueError(f"{root} is not empty and has no {NOTE}; choose a new folder for the demo data") from None
        keys = sorted({*found, *arguments})
        other = "; ".join(
            f"{k}: expected {arguments.get(k)}, found {found.get(k)}" for k in keys if found.get(k) != arguments.get(k)
        )
        raise ValueError(
            f"{root} contains demo data made with other arguments ({other}); delete this folder, or choose another one "
            "for all demo data with the environment variable UNMASK_DATA"
        ) from None


def write(path: Path, text: str) -> None:
    """Write a small text file, unless a file with the same content exists."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _spread(job: Callable[[Work], None], work: Sequence[Work], workers: int) -> Iterator[None]:
    """Do all pieces of work in this process or in several processes; yield after each finished piece."""
    workers = min(workers, len(work))
    if workers < 2:
        yield from map(job, work)
        return
    # Processes are spawned, because a fork would copy locks that threads of the caller hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(job, work)
