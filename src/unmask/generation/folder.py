"""A folder of generated media: what it was made with is noted, what is there stays, what was cut off is removed."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from unmask.config import Settings
from unmask.data.prepare import MADE as STORE
from unmask.datasets.generated import CROPS
from unmask.files import UNFINISHED, file_hash, read_json, remove_made, replace_file
from unmask.provenance import Marking
from unmask.runs.run import Run, is_demo

T = TypeVar("T")
GENERATED = Path("outputs/generated")  # where folders are made that are not named
NOTE = "generate.json"  # what an output folder was made with


def default_folder(run: Run) -> Path:
    """Where what a run makes is put if no folder is named."""
    return GENERATED / str(run.config["name"]).replace("/", "_")


def claim(out: Path, settings: Settings, files: str, rerun: bool) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's.

    Args:
        out: the folder.
        settings: all that decides a pixel.
        files: pattern of the folders below it that hold what is made.
        rerun: start over.

    Raises:
        ValueError: the folder is refused.
    """
    note = out / NOTE
    if note.is_file() and rerun:
        remove_made(out, [f"{files}/*.png", f"{files}/*.mp4"])
    elif note.is_file() and read_json(note, "rerun=true makes the folder again") != settings:
        raise ValueError(f"out={out} was made with other settings ({note}); take another folder, or rerun=true")
    elif not note.is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out} is not empty and has no {NOTE}; take a new folder")
    for leftover in [*out.glob(f"{files}/.*.part"), *out.glob(f"{files}/{UNFINISHED}")]:  # of a call that was killed
        leftover.unlink()
    out.mkdir(parents=True, exist_ok=True)
    replace_file(note, json.dumps(settings, indent=2).encode())


def claim_for_run(out: Path, run: Run, settings: Settings, marking: Marking, files: str, rerun: bool) -> None:
    """`claim` for what a run makes; of what was made before, `rerun` removes what detectors were given too.

    Args:
        out: the folder.
        run: whose weights and data decide pixels.
        settings: what else decides a pixel.
        marking: of what is published.
        files: see `claim`.
        rerun: start over.
    """
    about = {
        "weights": file_hash(run.checkpoint),
        **settings,
        "marking": marking.describe(),
        "data": str(run.config["data"]["name"]),
        "demo": is_demo(run.config["data"]),
    }
    claim(out, about, files, rerun)
    if rerun:
        remove_made(out, [f"{CROPS}/*/{name}" for name in STORE])


def is_whole(path: Path) -> bool:
    """Whether a picture is there with the bytes that were written: a PNG has a checksum of each of its parts."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` at most."""
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch
