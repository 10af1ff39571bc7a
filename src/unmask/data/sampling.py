"""Choose the frames of samples and the order of samples, without keeping a random generator between calls.

The order is seeded by (seed, epoch), and a sample's draws are seeded by (seed, epoch, index). So a run that is resumed
after an interruption sees exactly the same samples as without the interruption.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of a sample's draws in an epoch; hashes of integer tuples are the same in every process."""
    return hash((seed, epoch, index)) & (2**63 - 1)


def even(total: int, num: int, rng: np.random.Generator | None = None) -> Indices:
    """Divide `total` positions into `num` equal intervals; return the middle of each, or one position drawn by `rng`.

    If `total` is less than `num`, positions are repeated evenly.
    """
    inside = np.full(num, 0.5) if rng is None else rng.random(num)
    return np.minimum(((np.arange(num) + inside) * total / num).astype(np.int64), total - 1)


def consecutive(
    frames: Indices, num: int, stride: int = 1, rng: np.random.Generator | None = None, which: float = 0.5
) -> Indices:
    """Return positions of `num` stored frames that are `stride` frames apart in the video.

    Args:
        frames: frame numbers of the stored crops, ascending [N].
        num: number of frames in the clip.
        stride: distance in video frames.
        rng: draws one of the possible first frames; if None, `which` selects the first frame.
        which: relative position among the possible first frames, from 0 (the earliest) to 1 (the latest).

    Returns:
        Positions in `frames` [num]. If no such clip is stored, the positions are evenly spaced in the longest run of
        consecutive frames.
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
    """Draw a stride from 1 to `most` for which a clip of `num` frames is stored; return 1 if no stride is possible."""
    place = {int(frame): at for at, frame in enumerate(frames)}
    fitting = [stride for stride in range(1, most + 1) if _starts(place, num, stride)]
    return int(rng.choice(fitting)) if fitting else 1


def _starts(place: dict[int, int], num: int, stride: int) -> list[int]:
    """Return the frame numbers at which a clip of `num` stored frames with this stride can start."""
    return [frame for frame in place if all(frame + stride * step in place for step in range(num))]


def balanced_order(label: NDArray[np.integer], rng: np.random.Generator) -> Indices:
    """Return N positions of `label` [N], half from each class, in random order.

    Samples of the larger class occur at most once. Samples of the smaller class are repeated in new permutations.
    """
    half = len(label) // 2
    real = _rounds(np.flatnonzero(label == 0), half, rng)
    fake = _rounds(np.flatnonzero(label == 1), len(label) - half, rng)
    return rng.permutation(np.concatenate([real, fake]))


def stratified_order(label: NDArray[np.integer], stratum: NDArray[np.integer], rng: np.random.Generator) -> Indices:
    """Return N positions of `label` [N], half per class and, within a class, equally many per stratum.

    Args:
        label: label of each sample [N].
        stratum: stratum number of each sample, such as its data set and method [N].
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
    """Return an order of pairs: entry 2i is a fake, and entry 2i + 1 is the real sample that the fake was made from.

    The authors of GenD (github.com/yermandy/GenD) call such pairs essential.

    Args:
        label: label of each sample [N].
        source: position of each fake's source [N]. For -1 (no source), a random real sample is used.
        rng: draws the order.

    Returns:
        N positions, or N - 1 if N is odd. Both entries of a pair must be in the same batch.
    """
    real = np.flatnonzero(label == 0)
    fake = _rounds(np.flatnonzero(label == 1), len(label) // 2, rng)
    beside = np.where(source[fake] >= 0, source[fake], rng.choice(real, len(fake)))
    return np.stack([fake, beside], axis=1).reshape(-1)


def windowed_order(order: Indices, shard: Indices, stream: Indices, window: int, rng: np.random.Generator) -> Indices:
    """Rearrange an order so that it reads few shards at a time: a small cache then loads each shard about once.

    Each stream, such as the samples of one class, visits its shards in random order, a share of `window` at a time, and
    is shuffled within them. All streams pass through the epoch at the same pace, so every batch has about the same
    mixture of streams, although a shard usually contains only one class. The samples of the epoch do not change.

    Args:
        order: the units that were drawn, in random order [N]: a unit is a sample or a pair.
        shard: shard of each drawn unit [N].
        stream: stream of each drawn unit [N].
        window: number of shards that are read at a time, in total.
        rng: draws the order.

    Returns:
        The rearranged order [N].

    Raises:
        ValueError: there are more streams than shards in the window.
    """
    streams = np.unique(stream)
    if window < len(streams):
        raise ValueError(
            f"data.sampling.window={window}: expected at least {len(streams)}, one shard for each class or method"
        )
    progress = np.empty(len(order))
    for one in streams:
        at = np.flatnonzero(stream == one)
        shards, which = np.unique(shard[at], return_inverse=True)
        group = rng.permutation(len(shards)) // (window // len(streams))
        progress[at[np.argsort(group[which], kind="stable")]] = (np.arange(len(at)) + rng.random(len(at))) / len(at)
    return np.asarray(order[np.argsort(progress, kind="stable")])


def _rounds(members: Indices, number: int, rng: np.random.Generator) -> Indices:
    """Return `number` members from successive random permutations: each member occurs once before any is repeated."""
    rounds = [rng.permutation(members) for _ in range(-(-number // len(members)))]
    return np.concatenate([members[:0], *rounds])[:number]
