"""Measure how long a network takes for one sample."""

import copy
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.networks.inputs import Inputs, apply, as_batch

PASSES = 20  # maximum number of timed passes per setting
BUDGET = 0.25  # s; no further pass starts after this time
SLOW = 2.0  # s; one thread is not measured if a pass is expected to take longer

Clock = Callable[[], float]  # returns seconds, like `time.perf_counter`


class Latency(NamedTuple):
    """The duration of a forward pass at batch size 1.

    Attributes:
        device: name of the CPU or GPU.
        threads: number of CPU threads; None on a GPU.
        milliseconds: median over the timed passes.
        passes: number of timed passes.
    """

    device: str
    threads: int | None
    milliseconds: float
    passes: int


def measure_latency(
    network: nn.Module, x: Inputs, device: torch.device | None = None, clock: Clock = time.perf_counter
) -> dict[str, Latency]:
    """Time forward passes of a copy of the network, in eval mode and float32, without `torch.compile`.

    After one pass to warm up, at least one and at most `PASSES` passes are timed. The median is robust against passes
    that other processes delay; on a machine that is busy all the time, every pass takes longer.

    Args:
        network: the network; not modified.
        x: one sample [1, ...], or the entries of a batch with one sample.
        device: a CUDA device on which the network is measured, too; other devices are ignored.
        clock: returns seconds; tests replace it.

    Returns:
        The latencies by name: `cpu` with PyTorch's number of threads, unless this number is 1; `cpu_1_thread` with one
        thread, unless a pass is expected to take longer than `SLOW`; `gpu` only if `device` is a CUDA device.
    """
    model, found = copy.deepcopy(network).float().eval(), {}
    threads, sample = torch.get_num_threads(), as_batch(x)

    def on_cpu(count: int) -> Latency:
        torch.set_num_threads(count)
        return Latency(cpu_name(), count, *time_passes(lambda: apply(model, sample), clock))

    with torch.inference_mode():
        if device is not None and device.type == "cuda":
            found["gpu"] = _on_gpu(model, sample, device, clock)
            model.cpu()
        try:
            if threads > 1:
                found["cpu"] = on_cpu(threads)
            if threads == 1 or threads * found["cpu"].milliseconds <= 1000 * SLOW:
                found["cpu_1_thread"] = on_cpu(1)
        finally:
            torch.set_num_threads(threads)
    return found


def _on_gpu(model: nn.Module, sample: Mapping[str, Tensor], device: torch.device, clock: Clock) -> Latency:
    model.to(device)
    there = {name: value.to(device) for name, value in sample.items()}

    def run() -> None:
        apply(model, there)
        torch.cuda.synchronize(device)

    return Latency(torch.cuda.get_device_name(device), None, *time_passes(run, clock))


def time_passes(run: Callable[[], object], clock: Clock) -> tuple[float, int]:
    """Call `run` once to warm up, then repeatedly; return the median duration in ms and the number of timed calls."""
    run()
    durations: list[float] = []
    begun = now = clock()
    while not durations or (len(durations) < PASSES and now - begun < BUDGET):
        before = now
        run()
        now = clock()
        durations.append(now - before)
    return 1000 * statistics.median(durations), len(durations)


def cpu_name() -> str:
    """Return the model name of the CPU, or its architecture if the model is unknown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
