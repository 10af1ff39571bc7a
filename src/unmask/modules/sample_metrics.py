"""Evaluation of a generator in validation and test: one seeded sample is generated per real image."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from unmask.metrics import generation

BATCH = 64  # samples per batch
FIGURES = ("frechet", "kernel", "precision", "recall")
PUBLISHED = {"frechet": "fid", "kernel": "kid"}  # names used only if the features are the published ones


def names(network: Any) -> dict[str, str]:
    """Return the name under which each metric is reported: METRIC_EVALUATOR, such as `frechet_random`.

    With the published features, the Frechet and kernel distances are reported as `fid` and `kid`.
    """
    theirs = PUBLISHED if network.published else {}
    return {figure: theirs.get(figure, f"{figure}_{network.name}") for figure in FIGURES}


def check(network: Any, monitor: str, others: Collection[str] = ()) -> None:
    """Check, before training, that the evaluator's weights file and the monitored metric exist.

    Args:
        network: the evaluator. If its weights file is missing, an error names the file.
        monitor: `val/METRIC`.
        others: names of metrics that the module computes without the evaluator.

    Raises:
        ValueError: neither the evaluator nor the module provides the metric `monitor`.
    """
    there = [*others, *names(network).values(), "std_ratio"]
    if monitor.startswith("val/") and monitor.removeprefix("val/") not in there:
        listing = ", ".join(f"val/{name}" for name in there)
        raise ValueError(f"module.monitor={monitor}: expected one of {listing} with this module.evaluator")


def figures(network: Any, real: Tensor, made: Tensor) -> dict[str, float]:
    """Compute metrics of generated images from features of real images [N, F] and generated images [M, F].

    Metrics that need more images than are available are NaN. `std_ratio` is the standard deviation of the features of
    generated images divided by that of real images; a value far below 1 means that the samples lack diversity.
    """
    precision, recall = generation.precision_recall(real, made)
    found = {
        "frechet": generation.frechet(real, made),
        "kernel": generation.kernel(real, made),
        "precision": precision,
        "recall": recall,
    }
    named = {name: found[figure] for figure, name in names(network).items()}
    if network.score is not None:
        named[network.score] = generation.inception_score(network.logits(made))
    few = min(len(real), len(made)) < 2  # a standard deviation needs two rows
    return named | {"std_ratio": math.nan if few else float(made.std(0).mean() / real.std(0).mean())}


def evaluate_samples(
    module: Any, network: Any, index: Tensor, real: Tensor, condition: Tensor | None = None, most: int | None = None
) -> dict[str, float]:
    """Generate one sample per real image, and compare samples and real images of all processes by their features.

    Args:
        module: a `Module` with a method `sample`.
        network: the evaluator that computed `real`; see `names` for the names of the metrics.
        index: indices of this process's real images [N], which are the seeds of the samples.
        real: features of this process's real images [N, F].
        condition: attributes [N, A] that the samples are conditioned on; None for unconditional samples.
        most: maximum number of samples of all processes to compare; None for no limit.
    """

    def seen(start: int) -> Tensor:
        part = slice(start, start + BATCH)
        seeds, wanted = index[part].tolist(), None if condition is None else condition[part]
        features: Tensor = network(module.sample(len(seeds), seeds, wanted))
        return features

    made = torch.cat([seen(start) for start in range(0, len(index), BATCH)])
    _, real, made = module.gather(index, real, made)
    return figures(network, real[:most], made[:most])
