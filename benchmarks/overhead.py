"""Measure the overhead of the Trainer for a step of about 5 ms, compared with a plain PyTorch loop.

The Trainer is that of `unmask train`: its settings, callbacks with the progress bar (drawn, but discarded), logging
every 10 steps to metrics.csv, and the Detector. The loop does forward, loss, backward, optimizer and schedule. Blocks
of both alternate in one training: the data loader runs a block of the loop before each block of the Trainer.

make bench ONLY=overhead   (ARGS=--profile shows where the time is spent,
ARGS=--bare uses a Trainer without callbacks and loggers)
"""

import contextlib
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("FORCE_COLOR", "1")  # without it, the bar is drawn only in a terminal
import torch
from _bench import arguments, compare, report
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import Tensor, nn

from unmask.application import register_resolvers
from unmask.config import conf_dir
from unmask.modules.detector import Detector
from unmask.training.callbacks import SeedEachStep
from unmask.training.loggers import LogTestResults
from unmask.training.schedules import constant

BATCH, SIZE, LAYERS, GOAL, BLOCK = 32, 16, 6, 0.005, 40
Batch = dict[str, Tensor]


class Plain(nn.Module):
    """A few linear layers on tiny pictures; x [B, 3, S, S] -> logit [B]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [part for _ in range(LAYERS) for part in (nn.Linear(width, width), nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, width), *hidden, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


def module(width: int) -> Detector:
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=1e-4)
    return Detector(Plain(width), nn.BCEWithLogitsLoss(), adam, constant, channels_last=False)


class Loop:
    """The plain PyTorch loop."""

    def __init__(self, width: int, batch: Batch) -> None:
        self.network, self.loss, self.batch = module(width).network, nn.BCEWithLogitsLoss(), batch
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.schedule = constant(self.optimizer, 1)

    def __call__(self, steps: int = BLOCK) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.network(self.batch["x"]), self.batch["y"].float())
            loss.backward()
            self.optimizer.step()
            self.schedule.step()


def calibrate(batch: Batch) -> int:
    """Find the width at which a step takes about 5 ms of CPU time."""
    for width in range(128, 2049, 64):
        loop = Loop(width, batch)
        loop(3)
        before = time.process_time()
        loop(20)
        if time.process_time() - before >= 20 * GOAL:
            break
    return width


class Done(Exception):
    """Raised when enough steps have been timed."""


class Turns:
    """An endless loader that times alternating blocks of the loop and of the Trainer."""

    def __init__(self, batch: Batch, loop: Loop, repeats: int) -> None:
        self.batch, self.loop, self.repeats = batch, loop, repeats
        self.seconds: dict[str, list[float]] = {"Trainer": [], "loop": []}
        self.worked: dict[str, list[float]] = {"Trainer": [], "loop": []}

    def __len__(self) -> int:
        return 10**6

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.repeats + 1):
            before = time.perf_counter(), time.process_time()
            self.loop()
            between = self._note("loop", before)
            for _ in range(BLOCK):
                yield dict(self.batch)
            self._note("Trainer", between)
        for found in (*self.seconds.values(), *self.worked.values()):
            del found[0]  # warm-up
        raise Done

    def _note(self, name: str, before: tuple[float, float]) -> tuple[float, float]:
        now = time.perf_counter(), time.process_time()
        self.seconds[name].append(now[0] - before[0])
        self.worked[name].append(now[1] - before[1])
        return now


def trainer(cfg: DictConfig, bare: bool) -> Trainer:
    if bare:
        off = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        return instantiate(cfg.trainer, _partial_=True)(callbacks=[], **off)
    parts = [instantiate(node) for node in cfg.callbacks.values()]
    loggers = [instantiate(node) for node in cfg.logger.values()]
    callbacks = [*parts, SeedEachStep(cfg.seed), LogTestResults()]
    return instantiate(cfg.trainer, _partial_=True)(callbacks=callbacks, logger=loggers)


def fit(cfg: DictConfig, width: int, turns: Turns, bare: bool) -> None:
    with contextlib.suppress(Done), open(os.devnull, "w") as void, contextlib.redirect_stdout(void):
        trainer(cfg, bare).fit(module(width), turns)


def main() -> None:
    options = arguments(__doc__, 15, "profile", "bare")
    torch.set_num_threads(1)
    register_resolvers()
    y = torch.arange(BATCH) % 2
    batch = {"x": torch.rand(BATCH, 3, SIZE, SIZE), "y": y, "index": torch.arange(BATCH)}
    width = calibrate(batch)
    turns = Turns(batch, Loop(width, batch), options.repeats)
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(conf_dir(), version_base="1.3"):
        Path(folder, "data").mkdir()
        cfg = compose("train", ["data=folder", "trainer=cpu", f"paths.out={folder}", f"data.root={folder}/data"])
        with cProfile.Profile() if options.profile else contextlib.nullcontext() as profile:
            fit(cfg, width, turns, options.bare)
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats("lightning|unmask|rich", 45)
    one = compare(turns.seconds, "Trainer", "loop", at_most=1.2)
    extra = {"loop_step_ms": 1e3 * one["seconds"]["loop"] / BLOCK, "width": width, "steps_a_block": BLOCK}
    work = compare(turns.worked, "Trainer", "loop") | {"what": "Trainer / loop, seconds of the processor"}
    comparisons = {"Trainer / loop": one, "Trainer / loop, processor time": work}
    name = "overhead_bare" if options.bare else "overhead"
    report(name, comparisons, packages=("pytorch-lightning", "rich"), extra=extra)
    cost = 1e3 * (one["seconds"]["Trainer"] - one["seconds"]["loop"]) / BLOCK
    print(f"  the Trainer adds {cost:.2f} ms to a step of {extra['loop_step_ms']:.1f} ms; {BLOCK} steps per block")


if __name__ == "__main__":
    main()
