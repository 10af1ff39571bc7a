"""A folder of rendered files: claimed for its arguments, filled, taken up again where a call ended."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2

from unmask.files import read_json

Work = TypeVar("Work")
Progress = Callable[[int, int], None]


def fill(
    root: Path,
    arguments: Mapping[str, int | float],
    every: Sequence[Work],
    exists: Callable[[Work], bool],
    job: Callable[[Work], None],
    workers: int,
    progress: Progress | None,
) -> None:
    """Claim a folder and do each piece of work in it that is not done yet.

    Args:
        root: a new folder, or one of an earlier call with the same arguments.
        arguments: all that decides the files' bytes.
        every: all pieces of work.
        exists: whether a piece is done.
        job: does one piece; its files appear only when they are complete.
        workers: processes.
        progress: called with the pieces done and all of them.

    Raises:
        ValueError: the folder holds other things.
    """
    claim(root, arguments)
    for leftover in root.glob("**/.*.part"):  # of a call that was killed
        leftover.unlink()
    missing = [piece for piece in every if not exists(piece)]
    done = len(every) - len(missing)
    if progress:
        progress(done, len(every))
    for _ in _spread(job, missing, workers):
        done += 1
        if progress:
            progress(done, len(every))


def claim(root: Path, arguments: Mapping[str, int | float]) -> None:
    """Write `demo.json` into a new folder; refuse one that holds anything else than these very files."""
    note = root / "demo.json"
    if note.exists():
        found = read_json(note, "delete the folder and render again")
        if found != arguments:
            keys = sorted({*found, *arguments})
            other = ", ".join(
                f"{k} {found.get(k)} not {arguments.get(k)}" for k in keys if found.get(k) != arguments.get(k)
            )
            raise ValueError(f"{root} holds demo data of other arguments ({other}); delete that folder or take another")
    elif root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and has no demo.json; take a new folder for the demo data")
    else:
        replace(note, json.dumps(arguments, indent=2) + "\n")


def replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all; leave it alone where it is already so."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


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
