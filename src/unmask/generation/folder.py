"""A folder of generated media: what it was made with is noted, what is there stays, what was cut off is removed."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from unmask.data.prepare import MADE as STORE
from unmask.datasets.generated import CROPS
from unmask.files import UNFINISHED, file_hash, remove_made
from unmask.generation.inpainting import replace
from unmask.provenance import Marking
from unmask.runs.run import Run

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
    elif note.is_file() and json.loads(note.read_text()) != settings:
        raise ValueError(f"out={out} was made with other settings ({note}); take another folder, or rerun=true")
    elif not note.is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out={out} is not empty and has no {NOTE}; take a new folder")
    for leftover in [*out.glob(f"{files}/.*.part"), *out.glob(f"{files}/{UNFINISHED}")]:  # of a call that was killed
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
        "data": str(run.config["data"]["name"]),
        "demo": bool(run.config["data"].get("demo")),
    }
    claim(out, about, files, cfg.rerun)
    if cfg.rerun:
        remove_made(out, [f"{CROPS}/*/{name}" for name in STORE])


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` at most."""
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch
