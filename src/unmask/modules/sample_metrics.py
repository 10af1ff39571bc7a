"""How a generator's samples are evaluated in validation and test: as many as there are real pictures, by seeds."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from unmask.metrics import generation

BATCH = 64  # samples at once
FIGURES = ("frechet", "kernel", "precision", "recall")
PUBLISHED = {"frechet": "fid", "kernel": "kid"}  # as they are called in the features that they were defined with


def names(network: Any) -> dict[str, str]:
    """What an evaluator's figures are called: FID and KID in the published features alone, else by its own name."""
    theirs = PUBLISHED if network.published else {}
    return {figure: theirs.get(figure, f"{figure}_{network.name}") for figure in FIGURES}


def check(network: Any, monitor: str, others: Collection[str] = ()) -> None:
    """Load an evaluator before training, not after its first epoch, and hold the monitor against what it will give.

    Args:
        network: the evaluator; what it lacks, such as a file, is told here.
        monitor: `val/FIGURE`.
        others: what the module measures besides.

    Raises:
        ValueError: there will be no such figure.
    """
    there = [*others, *names(network).values(), "std_ratio"]
    if monitor.startswith("val/") and monitor.removeprefix("val/") not in there:
        listing = ", ".join(f"val/{name}" for name in there)
        raise ValueError(f"module.monitor={monitor}: with this module.evaluator there are {listing}; choose one")


def figures(network: Any, real: Tensor, made: Tensor) -> dict[str, float]:
    """Figures of made pictures against real ones, by an evaluator's features [N, F] and [M, F].

    Those that want more pictures than there are, two at least, are NaN. `std_ratio` is the deviation of the
    features of made pictures over that of real ones; far below 1 the samples lack diversity.
    """
    precision, recall = generation.precision_recall(real, made)
    found = {
        "frechet": generation.frechet(real, made),
        "kernel": generation.kernel(real, made),
        "precision": precision,
        "recall": recall,
    }
    named = {name: found[figure] for figure, name in names(network).items()}
    if network.published:
        named["inception_score"] = generation.inception_score(network.logits(made))
    few = min(len(real), len(made)) < 2  # one row has no deviation
    return named | {"std_ratio": math.nan if few else float(made.std(0).mean() / real.std(0).mean())}


def evaluate_samples(module: Any, network: Any, real: Tensor, condition: Tensor | None = None) -> dict[str, float]:
    """Figures of a module's samples against the features of real pictures, over all processes.

    Args:
        module: a LightningModule with `sample`.
        network: what gave the features; figures bear its `name`, or that of the published features.
        real: features of this process's real pictures [N, F].
        condition: attributes [N, A] by which the samples are made.
    """
    count, first = len(real), module.global_rank * len(real)
    parts = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]

    def seen(part: range) -> Tensor:
        wanted = None if condition is None else condition[part.start : part.stop]
        features: Tensor = network(module.sample(len(part), [first + at for at in part], wanted))
        return features

    made = torch.cat([seen(part) for part in parts])
    if module.trainer.world_size > 1:
        real, made = (rows.flatten(0, 1) for rows in module.all_gather((real, made)))
    return figures(network, real, made)
