"""How a generator's samples are judged in validation and test: as many as there are real pictures, by seeds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unmask.metrics import generation

BATCH = 64  # samples at once


def latents(length: int, n: int, seeds: Sequence[int], device: torch.device) -> Tensor:
    """One latent a seed [n, length], standard normal, whatever the device and the batch.

    Raises:
        ValueError: seeds are not one a picture.
    """
    if len(seeds) != n:
        raise ValueError(f"{n} pictures want {n} seeds, not {len(seeds)}")
    drawn = [torch.randn(length, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(drawn).to(device)


def judge(module: Any, network: Any, real: Tensor, condition: Tensor | None = None) -> dict[str, float]:
    """Figures of a module's samples against the features of real pictures, over all processes.

    Args:
        module: a LightningModule with `sample`.
        network: what gave the features; figures bear its `name`.
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
    return {
        f"frechet_{network.name}": generation.frechet(real, made),
        f"kernel_{network.name}": generation.kernel(real, made),
        "spread": float(made.std(0).mean() / real.std(0).mean()),
    }
