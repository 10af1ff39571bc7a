"""A folder of generated media: what it was made with is noted, what is there stays, what was cut off is removed."""

import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from unmask.commands._inpainting import replace

T = TypeVar("T")
NOTE = "generate.json"  # what an output folder was made with


def claim(out: Path, settings: dict[str, Any], files: str, rerun: bool) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's.

    Args:
        out: the folder.
        settings: all that decides a pixel.
        files: pattern of the folders below it that hold what is made.
        rerun: start over.
    """
    note = out / NOTE
    if note.is_file() and rerun:
        shutil.rmtree(out / files.split("/")[0], ignore_errors=True)
    elif note.is_file() and json.loads(note.read_text()) != settings:
        raise ValueError(f"out={out} was made with other settings ({note}); take another folder, or rerun=true")
    elif not note.is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out} is not empty and has no {NOTE}; take a new folder")
    for leftover in out.glob(f"{files}/.*.part"):  # of a call that was killed
        leftover.unlink()
    replace(note, json.dumps(settings, indent=2).encode())


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` at most."""
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch
