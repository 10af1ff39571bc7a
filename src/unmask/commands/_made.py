"""A folder of generated media: what it was made with is noted, what is there stays, what was cut off is removed."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig
from PIL import Image

from unmask.commands._inpainting import replace
from unmask.data.manifest import file_hash
from unmask.data.prepare import MADE as STORE
from unmask.datasets.generated import CROPS
from unmask.files import read_json, remove_made
from unmask.provenance import Marking
from unmask.runs import Run

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
        remove_made(out, [f"{files}/*.png", f"{files}/*.mp4"])
    elif note.is_file() and read_json(note, "rerun=true makes the folder again") != settings:
        raise ValueError(f"out={out} was made with other settings ({note}); take another folder, or rerun=true")
    elif not note.is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out} is not empty and has no {NOTE}; take a new folder")
    for leftover in out.glob(f"{files}/.*.part"):  # of a call that was killed
        leftover.unlink()
    replace(note, json.dumps(settings, indent=2).encode())


def claim_for_run(cfg: DictConfig, out: Path, run: Run, marking: Marking, files: str, **settings: Any) -> None:
    """`claim` for what a run makes; of what was made before, `rerun=true` removes what detectors were given too.

    Args:
        cfg: of `unmask generate`.
        out: the folder.
        run: whose weights and data decide pixels.
        marking: of what is published.
        files: see `claim`.
        settings: what else decides a pixel.
    """
    about = {
        "weights": file_hash(run.checkpoint),
        **settings,
        "marking": marking.describe(),
        "data": str(run.config.data.name),
        "demo": bool(run.config.data.get("demo")),
    }
    claim(out, about, files, cfg.rerun)
    if cfg.rerun:
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
