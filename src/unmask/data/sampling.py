"""Which frames a sample takes, and in which order samples come: counted randomness, nothing stored.

Order comes from (seed, epoch), a sample's draws from (seed, epoch, index); so a run that was interrupted goes on with
the very samples that it would have seen.
"""

from collections.abc import Iterator, Sized

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Indices = NDArray[np.int64]


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
    reach = stride * (num - 1)
    starts = [
        at for at, frame in enumerate(frames) if all(int(frame) + step in place for step in range(0, reach + 1, stride))
    ]
    if starts:
        start = starts[int(rng.integers(len(starts)))] if rng else starts[round(which * (len(starts) - 1))]
        return np.array([place[int(frames[start]) + step] for step in range(0, reach + 1, stride)])
    breaks = np.flatnonzero(np.diff(frames) != 1) + 1
    longest = max(np.split(np.arange(len(frames)), breaks), key=len)
    return np.asarray(longest[even(len(longest), num)])


def balanced_order(label: NDArray[np.integer], rng: np.random.Generator) -> Indices:
    """As many positions as there are labels, half of them of each class, in random order.

    The larger class is drawn without repetition, the smaller goes round in fresh permutations.
    """
    chosen = []
    for value, share in ((0, len(label) // 2), (1, len(label) - len(label) // 2)):
        members = np.flatnonzero(label == value)
        rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
        chosen.append(np.concatenate(rounds)[:share])
    return rng.permutation(np.concatenate(chosen))


class CountedSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, index) for one process of several; every process gets the same number.

    Args:
        data: what is sampled; its length counts.
        seed: of the order.
        shuffle: a new order each epoch; else 0, 1, 2, ...
        balance: labels [N], to draw as many real as fake; None draws each sample once.
        rank: this process.
        world_size: number of processes. Each takes every `world_size`-th; the order is repeated from its start to
            fill the last round (in evaluation these doubles are dropped by their index).
    """

    def __init__(
        self,
        data: Sized,
        seed: int,
        shuffle: bool,
        balance: NDArray[np.integer] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.data, self.seed, self.shuffle, self.balance = data, seed, shuffle, balance
        self.rank, self.world_size, self.epoch = rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the start of each epoch."""
        self.epoch = epoch

    def order(self) -> Indices:
        """This epoch's order over all processes [N]."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if not self.shuffle:
            return np.arange(len(self.data))
        return rng.permutation(len(self.data)) if self.balance is None else balanced_order(self.balance, rng)

    def __len__(self) -> int:
        return -(-len(self.data) // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.resize(self.order(), len(self) * self.world_size)
        yield from ((self.epoch, int(index)) for index in order[self.rank :: self.world_size])
