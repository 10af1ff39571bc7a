"""Samplers and a loader that can resume within an epoch; the orders come from `unmask.data.sampling`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from unmask.data.sampling import Indices


class CountedSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, index) for one of several processes; each process gets the same number of batches.

    Process r of w gets the units r, r + w, r + 2w, ... of the order. The k-th batches of all processes, taken together,
    are thus batch k of a run with one process; unit j of process r is unit j * w + r in that whole batch. If the last
    batch has fewer units than there are processes, each process without a unit repeats the first one (see `counts`).

    Args:
        size: number of samples.
        seed: seed of the order.
        order: draws an epoch's order from a generator seeded by (seed, epoch); None uses 0, 1, 2, ... in every epoch.
        unit: number of consecutive samples that stay together on one process.
        rank: rank of this process.
        world_size: number of processes.
        batch_size: number of samples in a batch of one process; a multiple of `unit`.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        order: Callable[[np.random.Generator], Indices] | None = None,
        unit: int = 1,
        rank: int = 0,
        world_size: int = 1,
        batch_size: int = 1,
    ) -> None:
        self.size, self.seed, self.draw, self.unit = size, seed, order, unit
        self.rank, self.world_size, self.epoch, self.skip = rank, world_size, 0, 0
        self.together = max(1, batch_size // unit) * world_size  # units in a batch of all processes

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this at the start of each epoch."""
        self.epoch = epoch

    def order(self) -> Indices:
        """Return this epoch's order [N] before it is divided among the processes."""
        if self.draw is None:
            return np.arange(self.size)
        return self.draw(np.random.default_rng([self.seed, self.epoch]))

    def counts(self, batch: int) -> tuple[int, int]:
        """Return how many samples of a batch this process has, and how many all processes have, without repeats.

        Args:
            batch: number of the batch in the epoch, from 0.
        """
        units = min(self.together, self.size // self.unit - batch * self.together)
        return self.unit * len(range(self.rank, units, self.world_size)), self.unit * units

    def __len__(self) -> int:
        return self.unit * -(-(self.size // self.unit) // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        count = self.size // self.unit
        units = np.resize(self.order(), count * self.unit).reshape(-1, self.unit)
        last = (count - 1) // self.together * self.together  # the first unit of the last batch
        repeated = units[last : last + 1] if 0 <= last and count <= last + self.rank else units[:0]
        mine = np.concatenate([units[self.rank :: self.world_size], repeated]).reshape(-1)
        skip, self.skip = self.skip, 0
        yield from ((self.epoch, int(index)) for index in mine[skip:])


class FixedSampler(CountedSampler, SequentialSampler):  # type: ignore[misc]
    """Use the first epoch's order in every epoch, so that each epoch starts with the same few batches.

    This class is a SequentialSampler because Lightning replaces any other sampler if `trainer.overfit_batches` is set.
    """

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, because the order never changes."""


class ResumableLoader(DataLoader[Any]):
    """A loader that can resume within an epoch: its state is the number of batches returned so far.

    The sampler must be a `CountedSampler`.
    """

    served = 0

    @property
    def order(self) -> CountedSampler:
        """The sampler."""
        assert isinstance(self.sampler, CountedSampler)
        return self.sampler

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches returned so far; the Trainer saves it in every checkpoint."""
        return {"batches": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next epoch start after the batches that `state` counts as done."""
        assert self.batch_size
        done = state["batches"] >= len(self)
        self.served = 0 if done else state["batches"]
        self.order.skip = self.served * self.batch_size

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not self.order.skip:
            self.served = 0
        for batch in super().__iter__():
            self.served += 1
            yield batch
