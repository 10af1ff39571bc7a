"""Random numbers of a training step that do not depend on the number of processes."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Draws:
    """Draw random numbers for the rows of a batch; each process gets its part of the numbers of a single process.

    Every process draws the numbers for the batch of all processes and keeps those of its own rows, which are
    distributed as in `CountedSampler`. So all processes must make the same calls in the same order. The memory needed
    is that of the whole batch: 100 MB for the noise of 2048 images of 64 px.

    Args:
        seed: seed of the step, equal in all processes; None draws from torch's default generators.
        rows: number of rows in a full batch of all processes. As many rows are drawn for a smaller last batch. None:
            as many as asked for in each process.
        unit: number of consecutive rows that stay together on one process.
        rank: rank of this process.
        world_size: number of processes.
    """

    seed: int | None = None
    rows: int | None = None
    unit: int = 1
    rank: int = 0
    world_size: int = 1
    _generator: torch.Generator | None = field(default=None, repr=False)

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Draw from [0, 1) -> float32 [B, *shape], for each of the B rows of `like`, on its device."""
        drawn = torch.rand(self._count(like), *shape, generator=self._of(like.device), device=like.device)
        return self._mine(drawn, len(like))

    def normal(self, like: Tensor, *shape: int) -> Tensor:
        """Draw from the standard normal distribution -> float32 [B, *shape]; see `uniform`."""
        drawn = torch.randn(self._count(like), *shape, generator=self._of(like.device), device=like.device)
        return self._mine(drawn, len(like))

    def integers(self, high: int, like: Tensor, *shape: int) -> Tensor:
        """Draw from 0 to `high` - 1 -> int64 [B, *shape]; see `uniform`."""
        size = (self._count(like), *shape)
        return self._mine(torch.randint(high, size, generator=self._of(like.device), device=like.device), len(like))

    def _of(self, device: torch.device) -> torch.Generator | None:
        """Return this step's generator, which is made on the device of the first draw."""
        if self._generator is None and self.seed is not None:
            self._generator = torch.Generator(device).manual_seed(self.seed)
        return self._generator

    def _count(self, like: Tensor) -> int:
        return len(like) * self.world_size if self.rows is None else self.rows

    def _mine(self, drawn: Tensor, count: int) -> Tensor:
        """Return the `count` rows of this process."""
        units = drawn.view(-1, self.unit, *drawn.shape[1:])
        return units[self.rank :: self.world_size].flatten(0, 1)[:count]


OWN = Draws()  # independent draws in each process, from torch's default generators
