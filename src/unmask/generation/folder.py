"""Functions for a folder of generated media: record its settings, keep complete files, remove unfinished files."""

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
GENERATED = Path("outputs/generated")  # parent of the default output folders
NOTE = "generate.json"  # records the settings of an output folder


def default_folder(run: Run) -> Path:
    """Return the default output folder of a run."""
    return GENERATED / str(run.config["name"]).replace("/", "_")


def claim(out: Path, settings: Settings, files: str, rerun: bool) -> None:
    """Record the settings in a new folder, or check that an existing folder was made with the same settings.

    Args:
        out: the folder.
        settings: all settings that affect the pixels.
        files: glob pattern of the subfolders with generated files.
        rerun: remove the generated files and record the new settings.

    Raises:
        ValueError: the folder was made with different settings, or it contains files but no record of settings.
    """
    note = out / NOTE
    if note.is_file() and rerun:
        remove_made(out, [f"{files}/*.png", f"{files}/*.mp4"])
    elif note.is_file() and read_json(note, "set rerun=true to start over") != settings:
        raise ValueError(f"out={out} was made with other settings ({note}); choose another folder, or set rerun=true")
    elif not note.is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out} is not empty and has no {NOTE}; choose a new folder")
    for leftover in [*out.glob(f"{files}/.*.part"), *out.glob(f"{files}/{UNFINISHED}")]:  # from a killed command
        leftover.unlink()
    out.mkdir(parents=True, exist_ok=True)
    replace_file(note, json.dumps(settings, indent=2).encode())


def claim_for_run(out: Path, run: Run, settings: Settings, marking: Marking, files: str, rerun: bool) -> None:
    """Call `claim` for the output of a run; `rerun` also removes the crops that are stored for training detectors.

    Args:
        out: the folder.
        run: the run, whose weights and data affect the pixels.
        settings: further settings that affect the pixels.
        marking: how published files are marked.
        files: see `claim`.
        rerun: remove the generated files and the stored crops, and start over.
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
    """Return whether an image exists and is intact according to the checksums in its PNG file."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split an iterable into lists of at most `size` elements."""
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch
