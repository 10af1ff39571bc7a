"""A folder of generated media: what it was made with is noted, what is there stays, what was cut off is removed.

What is to be made is shared out to devices.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer

from unmask.commands._inpainting import replace
from unmask.commands._shell import quiet
from unmask.data import workers
from unmask.runs import register_resolvers

T = TypeVar("T")
R = TypeVar("R")
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


def devices_of(trainer: DictConfig) -> list[str]:
    """The devices that a Trainer of this config would use, such as `cuda:0`; of the CPU once for each process."""
    made: Trainer = instantiate(trainer, _convert_="all", logger=False, enable_checkpointing=False)
    kind = made.strategy.root_device.type
    return [kind if kind == "cpu" else f"{kind}:{number}" for number in made.device_ids]


def over_devices(trainer: DictConfig, work: Callable[[str, list[T]], R], todo: list[T]) -> list[R]:
    """Share things out to the devices that a Trainer of this config would use, a process each.

    Args:
        trainer: its config; accelerator and devices count.
        work: (device, things) -> result; it and the things can be pickled.
        todo: the things.

    Raises:
        ValueError: a process failed; what the others made stays.
    """
    if not todo:
        return []
    devices = devices_of(trainer)[: len(todo)]
    if len(devices) == 1:
        return [work(devices[0], todo)]
    shares = [(device, todo[at :: len(devices)]) for at, device in enumerate(devices)]
    done = list(workers.run(_Share(work, len(devices)), shares, len(shares), timeout=float("inf")))
    for (device, _), result in done:
        if isinstance(result, workers.TaskError):
            raise ValueError(f"what {device} was to make is not all there; the same command goes on: {result}")
    return [result for _, result in done if not isinstance(result, workers.TaskError)]


@dataclass
class _Share(Generic[T, R]):
    """What one of several processes does."""

    work: Callable[[str, list[T]], R]
    processes: int

    def __call__(self, share: tuple[str, list[T]]) -> R:
        register_resolvers()
        quiet()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.processes))
        return self.work(*share)


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` at most."""
    rest = iter(things)
    while batch := list(islice(rest, size)):
        yield batch
