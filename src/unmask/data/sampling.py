"""Which frames a sample takes, and in which order samples come: counted randomness, nothing stored.

Order comes from (seed, epoch), a sample's draws from (seed, epoch, index); so a run that was interrupted goes on with
the very samples that it would have seen.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler, SequentialSampler

Indices = NDArray[np.int64]


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of one sample's draws in one epoch; tuples of integers hash alike in every process."""
    return hash((seed, epoch, index)) & (2**63 - 1)


def even(total: int, num: int, rng: np.random.Generator | None = None) -> Indices:
    """`num` of `total` positions, one in each equal share: its middle, or a draw of `rng`.

    Where there are fewer than `num`, positions repeat evenly.
    """
    inside = np.full(num, 0.5) if rng is None else rng.random(num)
    return np.minimum(((np.arange(num) + inside) * total / num).astype(np.int64), total - 1)


def consecutive(
    frames: Indices, num: int, stride: int = 1, rng: np.random.Generator | None = None, which: float = 0.5
) -> Indices:
    """Positions of `num` stored frames that lie `stride` frames apart in the video, from one burst.

    Args:
        frames: frame numbers of the stored crops, ascending [N].
        num: frames of the clip.
        stride: distance in frames of the video.
        rng: draws the start; without it the start is at the share `which` of all possible ones.
        which: in [0, 1].

    Returns:
        Positions in `frames` [num]; the longest run repeats evenly where none is long enough.
    """
    place = {int(frame): at for at, frame in enumerate(frames)}
    starts = _starts(place, num, stride)
    if starts:
        start = starts[int(rng.integers(len(starts)))] if rng else starts[round(which * (len(starts) - 1))]
        return np.array([place[start + stride * step] for step in range(num)])
    breaks = np.flatnonzero(np.diff(frames) != 1) + 1
    longest = max(np.split(np.arange(len(frames)), breaks), key=len)
    return np.asarray(longest[even(len(longest), num)])


def draw_stride(frames: Indices, num: int, most: int, rng: np.random.Generator) -> int:
    """A stride from 1 to `most`, each as likely, of those at which `num` of the stored frames make a clip; else 1."""
    place = {int(frame): at for at, frame in enumerate(frames)}
    fitting = [stride for stride in range(1, most + 1) if _starts(place, num, stride)]
    return int(rng.choice(fitting)) if fitting else 1


def _starts(place: dict[int, int], num: int, stride: int) -> list[int]:
    """Numbers of the stored frames from which `num` at this stride are all stored."""
    return [frame for frame in place if all(frame + stride * step in place for step in range(num))]


def balanced_order(label: NDArray[np.integer], rng: np.random.Generator) -> Indices:
    """As many positions as there are labels, half of them of each class, in random order.

    The larger class is drawn without repetition, the smaller goes round in fresh permutations.
    """
    half = len(label) // 2
    real = _rounds(np.flatnonzero(label == 0), half, rng)
    fake = _rounds(np.flatnonzero(label == 1), len(label) - half, rng)
    return rng.permutation(np.concatenate([real, fake]))


def stratified_order(label: NDArray[np.integer], stratum: NDArray[np.integer], rng: np.random.Generator) -> Indices:
    """As many positions as there are labels, half of them of each class and in each class of every stratum alike.

    Args:
        label: of each sample [N].
        stratum: its number, such as that of its data set and method [N].
        rng: draws the order.
    """
    half = len(label) // 2
    chosen = []
    for value, number in ((0, half), (1, len(label) - half)):
        strata = np.unique(stratum[label == value])
        each = -(-number // len(strata))
        rows = [_rounds(np.flatnonzero((label == value) & (stratum == one)), each, rng) for one in strata]
        chosen.append(rng.permutation(np.concatenate(rows))[:number])
    return rng.permutation(np.concatenate(chosen))


def paired_order(label: NDArray[np.integer], source: Indices, rng: np.random.Generator) -> Indices:
    """Positions 2i and 2i + 1 are a fake and the real that it was made from.

    GenD (github.com/yermandy/GenD) calls such pairs essential.

    Args:
        label: of each sample [N].
        source: the position of each fake's source [N]; -1 where it is not at hand, and any real stands in.
        rng: draws the order.

    Returns:
        As many positions as there are labels, or one less, to be divided by pairs only.
    """
    real = np.flatnonzero(label == 0)
    fake = _rounds(np.flatnonzero(label == 1), len(label) // 2, rng)
    beside = np.where(source[fake] >= 0, source[fake], rng.choice(real, len(fake)))
    return np.stack([fake, beside], axis=1).reshape(-1)


def _rounds(members: Indices, number: int, rng: np.random.Generator) -> Indices:
    """`number` of the members, in permutation after permutation."""
    rounds = [rng.permutation(members) for _ in range(-(-number // len(members)))]
    return np.concatenate([members[:0], *rounds])[:number]


class CountedSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, index) for one process of several; every process gets the same number.

    Args:
        size: number of samples.
        seed: of the order.
        order: draws an epoch's order from a generator of (seed, epoch); None goes 0, 1, 2, ... in every epoch.
        unit: so many that follow each other stay together on one process.
        rank: this process.
        world_size: number of processes. The order is repeated from its start to fill the last round (in evaluation
            these doubles are dropped by their index).
    """

    def __init__(
        self,
        size: int,
        seed: int,
        order: Callable[[np.random.Generator], Indices] | None = None,
        unit: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.seed, self.draw, self.unit = size, seed, order, unit
        self.rank, self.world_size, self.epoch, self.skip = rank, world_size, 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the start of each epoch."""
        self.epoch = epoch

    def order(self) -> Indices:
        """This epoch's order over all processes [N]."""
        if self.draw is None:
            return np.arange(self.size)
        return self.draw(np.random.default_rng([self.seed, self.epoch]))

    def __len__(self) -> int:
        return self.unit * -(-(self.size // self.unit) // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        units = np.resize(self.order(), len(self) * self.world_size).reshape(-1, self.unit)
        mine = units[self.rank :: self.world_size].reshape(-1)
        skip, self.skip = self.skip, 0
        yield from ((self.epoch, int(index)) for index in mine[skip:])


class FixedSampler(CountedSampler, SequentialSampler):  # type: ignore[misc]
    """The first epoch's order in every epoch, so that a limited number of batches is always the same.

    Lightning replaces the sampler of `trainer.overfit_batches` unless it is a SequentialSampler.
    """

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes."""


class ResumableLoader(DataLoader[Any]):
    """A loader whose state is the number of batches that it gave in this epoch: a resumed run goes on with the next.

    Its sampler is a `CountedSampler`.
    """

    served = 0

    def state_dict(self) -> dict[str, int]:
        """Kept in every checkpoint by the Trainer."""
        return {"batches": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next epoch begins after so many batches."""
        assert isinstance(self.sampler, CountedSampler) and self.batch_size
        done = state["batches"] >= len(self)
        self.served = 0 if done else state["batches"]
        self.sampler.skip = self.served * self.batch_size

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        assert isinstance(self.sampler, CountedSampler)
        if not self.sampler.skip:
            self.served = 0
        for batch in super().__iter__():
            self.served += 1
            yield batch
