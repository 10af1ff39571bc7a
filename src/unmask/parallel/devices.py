"""Distribute work over devices, one process per device; give each job of a sweep a GPU of its own."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from rich.progress import track

from unmask.console import console, quiet
from unmask.files import lock
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


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(number) for number in range(torch.cuda.device_count())] if named is None else named.split(",")


@contextmanager
def own_gpu(gpus: Sequence[str], folder: Path) -> Iterator[dict[str, str]]:
    """Reserve one GPU until the block ends, so that jobs that run at the same time use different GPUs.

    If all GPUs are reserved, wait until one becomes free.

    Args:
        gpus: names of the GPUs of this machine, see `visible_gpus`.
        folder: the folder of the lock files; all jobs that share the GPUs must use the same folder.

    Yields:
        The environment variables of a process that sees only the reserved GPU; empty if there are fewer than two GPUs.
    """
    with ExitStack() as stack:
        while len(gpus) > 1:
            for gpu in gpus:
                try:
                    stack.enter_context(lock(folder / f"gpu-{gpu}", alone=True, wait=False))
                except BlockingIOError:
                    continue
                yield {"CUDA_VISIBLE_DEVICES": gpu}
                return
            time.sleep(1)
        yield {}


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
