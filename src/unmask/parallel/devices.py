"""Distribute work over devices, one process per device."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from rich.progress import track

from unmask.console import console, quiet
from unmask.parallel import workers

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[str, Iterable[T]], R]


def over_devices(devices: list[str], work: Work[T, R], todo: list[T], words: str) -> list[R]:
    """Process items on several devices at once; a progress bar shows the progress of the first device.

    Args:
        devices: names of the devices, such as `cuda:0`; on the CPU, `cpu` repeated once per process.
        work: a function (device, items) -> result; with several devices, the function and the items are pickled.
        todo: the items.
        words: text next to the progress bar.

    Returns:
        One result per device, in no particular order.

    Raises:
        ValueError: a process failed; the files that are already finished are kept.
    """
    if not todo:
        return []
    devices = devices[: len(todo)]
    if len(devices) == 1:
        return [work(devices[0], track(todo, words, console=console, transient=True))]
    shares = [_Share(device, todo[at :: len(devices)], words if at == 0 else "") for at, device in enumerate(devices)]
    results, failed = list[R](), list[str]()
    for share, result in workers.run(_Process(work, len(devices)), shares, len(shares), timeout=float("inf")):
        if isinstance(result, workers.TaskError):
            failed.append(f"{share.device}: {result}")
        else:
            results.append(result)
    if failed:
        raise ValueError("\n  ".join(["not all items were processed; rerun the command to resume", *failed]))
    return results


@dataclass
class _Share(Generic[T]):
    device: str
    things: list[T]
    words: str  # next to its progress bar; "" shows none


@dataclass
class _Process(Generic[T, R]):
    """A callable that processes the items of one device, in one of several processes."""

    work: Work[T, R]
    processes: int

    def __call__(self, share: _Share[T]) -> R:
        quiet()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.processes))
        if not share.words:
            return self.work(share.device, share.things)
        return self.work(share.device, track(share.things, share.words, console=console, transient=True))
