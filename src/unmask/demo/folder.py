"""A folder of rendered files: claimed for its arguments, filled, taken up again where a call ended."""

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
    """What is to be done in a folder.

    Attributes:
        every: All pieces of work.
        exists: Whether a piece is done.
        job: Does one piece; its files appear only when they are complete.
    """

    every: Sequence[Work]
    exists: Callable[[Work], bool]
    job: Callable[[Work], None]


def fill(
    root: Path, arguments: Mapping[str, int | float], jobs: Jobs[Work], workers: int, progress: Progress | None
) -> None:
    """Claim a folder and do each piece of work in it that is not done yet.

    Args:
        root: a new folder, or one of an earlier call with the same arguments.
        arguments: all that decides the files' bytes.
        jobs: what is to be done.
        workers: processes.
        progress: called with the pieces done and all of them.

    Raises:
        ValueError: the folder holds other things.
    """
    claim_for_demo(root, arguments)
    for leftover in root.glob(f"**/{UNFINISHED}"):  # of a call that was killed
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
    """Write `demo.json` into a new folder; refuse one that holds anything else than these very files.

    Raises:
        ValueError: the folder holds other things.
    """
    try:
        claim(root / NOTE, arguments, "delete the folder and render again", end="\n")
    except ClaimError as error:
        if (found := error.found) is None:
            raise ValueError(f"{root} is not empty and has no {NOTE}; take a new folder for the demo data") from None
        keys = sorted({*found, *arguments})
        other = ", ".join(
            f"{k} {found.get(k)} not {arguments.get(k)}" for k in keys if found.get(k) != arguments.get(k)
        )
        raise ValueError(
            f"{root} holds demo data of other arguments ({other}); delete that folder or take another"
        ) from None


def write(path: Path, text: str) -> None:
    """Write a small file, or leave it alone where it is already so."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _spread(job: Callable[[Work], None], work: Sequence[Work], workers: int) -> Iterator[None]:
    """Do the work here or in processes, yielding after each piece."""
    workers = min(workers, len(work))
    if workers < 2:
        yield from map(job, work)
        return
    # Spawned, for a fork would copy the locks of whatever threads the caller runs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(job, work)
