"""Learning-rate schedules: (optimizer, total_steps, ...) -> a scheduler that is stepped after every batch.

Each schedule multiplies the learning rate of each parameter group by a factor, so the peak rate is set only in the
optimizer.
"""

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Keep the optimizer's learning rate constant."""
    return LambdaLR(optimizer, lambda step: 1.0)


def step(
    optimizer: Optimizer, total_steps: int, every: int = 1000, factor: float = 0.1, minimum: float = 1e-6
) -> LRScheduler:
    """Multiply the learning rate by `factor` every `every` batches, down to `minimum`.

    The defaults are those of MesoNet, which divides the rate by 10 every 1000 batches, from 1e-3 down to 1e-6 (arXiv
    1809.00888, section 4).
    """
    if every < 1:
        raise ValueError(f"every={every}: expected a number of batches, 1 or more")
    if not 0 < factor <= 1:
        raise ValueError(f"factor={factor}: expected a factor above 0 and at most 1")

    def share(at: int, low: float) -> float:
        return float(max(factor ** (at // every), low))

    return LambdaLR(optimizer, [partial(share, low=low) for low in _lows(optimizer, minimum)])


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, minimum: float = 0.0) -> LRScheduler:
    """Warm up linearly, then decay along half a cosine that reaches `minimum` at the last batch (arXiv 1608.03983).

    Args:
        optimizer: the optimizer, with the peak rate.
        total_steps: total number of training batches.
        warmup: share of the batches used for warm-up, in [0, 1). If these are w batches, batch s (counted from 0) has
            (s + 1) / (w + 1) of the peak rate, so that the first rate is not 0.
        minimum: learning rate at the last batch.
    """
    if not 1 <= total_steps < math.inf:
        raise ValueError(
            f"total_steps={total_steps}: a cosine schedule needs a finite number of steps; set trainer.max_epochs or "
            "trainer.max_steps"
        )
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup}: expected a fraction of the training, from 0 to below 1")
    rise = round(warmup * total_steps)
    fall = max(1, total_steps - 1 - rise)

    def share(at: int, low: float) -> float:
        if at < rise:
            return (at + 1) / (rise + 1)
        cosine = (1 + math.cos(math.pi * min(1.0, (at - rise) / fall))) / 2
        return low + (1 - low) * cosine

    return LambdaLR(optimizer, [partial(share, low=low) for low in _lows(optimizer, minimum)])


def _lows(optimizer: Optimizer, minimum: float) -> list[float]:
    """Return, for each parameter group, `minimum` divided by the group's rate, at most 1."""
    if minimum < 0:
        raise ValueError(f"minimum={minimum}: expected a learning rate of 0 or more")
    rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    return [min(1.0, minimum / rate) if rate > 0 else 1.0 for rate in rates]
