"""Evaluation of a generator in validation and test, on as many seeded samples as there are real images."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from unmask.metrics import generation

BATCH = 64  # samples per batch
FIGURES = ("frechet", "kernel", "precision", "recall")
PUBLISHED = {"frechet": "fid", "kernel": "kid"}  # names on the published features only


def names(network: Any) -> dict[str, str]:
    """Return the metric names of an evaluator: FID and KID on the published features, else with its own name."""
    theirs = PUBLISHED if network.published else {}
    return {figure: theirs.get(figure, f"{figure}_{network.name}") for figure in FIGURES}


def check(network: Any, monitor: str, others: Collection[str] = ()) -> None:
    """Load an evaluator before training instead of after the first epoch, and check that it provides the monitor.

    Args:
        network: the evaluator; a missing weights file is reported here.
        monitor: `val/METRIC`.
        others: further metrics of the module.

    Raises:
        ValueError: there is no such metric.
    """
    there = [*others, *names(network).values(), "std_ratio"]
    if monitor.startswith("val/") and monitor.removeprefix("val/") not in there:
        listing = ", ".join(f"val/{name}" for name in there)
        raise ValueError(f"module.monitor={monitor}: with this module.evaluator there are {listing}; choose one")


def figures(network: Any, real: Tensor, made: Tensor) -> dict[str, float]:
    """Compute the metrics of generated against real images from an evaluator's features [N, F] and [M, F].

    Metrics that need more images than there are (at least two) are NaN. `std_ratio` is the feature deviation of
    generated images divided by that of real ones; far below 1, the samples lack diversity.
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
    """Compute the metrics of a module's samples against features of real images, over all processes.

    Args:
        module: a LightningModule with `sample`.
        network: the evaluator that computed the features; metrics carry its `name`, or those of the published features.
        real: features of this process's real images [N, F].
        condition: attributes [N, A] to condition the samples on.
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
