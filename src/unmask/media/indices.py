"""Choose which frames of a video to read, and in which of them to detect faces."""

import numpy as np
from numpy.typing import NDArray


def burst_indices(total: int, frames: int, burst: int = 1) -> list[int]:
    """Choose `frames` of `total` frames, in evenly spaced bursts of `burst` consecutive frames; return their indices.

    The video is divided into equal parts, one per burst, and each burst is in the middle of its part. So burst=1
    chooses evenly spaced frames, and burst=frames or more chooses a single run of consecutive frames. If the video is
    shorter than `frames`, all its frames are chosen.

    Raises:
        ValueError: `frames` or `burst` is less than 1, or `frames` is greater than `burst` but not a multiple of it.
    """
    if frames < 1:
        raise ValueError(f"frames={frames}: expected a number of frames, at least 1")
    if burst < 1 or frames % min(burst, frames):
        raise ValueError(
            f"burst={burst} does not divide frames={frames}; choose a divisor, or 1 for evenly spaced frames"
        )
    burst = min(burst, frames)
    if total <= frames:
        return list(range(total))
    count = frames // burst
    share = total / count
    starts = [int((number + 0.5) * share - burst / 2 + 0.5 * (burst == 1)) for number in range(count)]
    return [start + step for start in starts for step in range(burst)]


def spaced(numbers: NDArray[np.integer], every: int) -> NDArray[np.int64]:
    """Choose frames that are at least `every` frames of the video apart; return their positions in `numbers`.

    The first and the last frame are always chosen. So every frame is chosen if the frames are far apart, and every
    `every`-th frame of each run of consecutive frames.

    Args:
        numbers: frame numbers, ascending [N].
        every: minimum distance from one chosen frame to the next.
    """
    chosen = [0]
    for position, number in enumerate(numbers):
        if number - numbers[chosen[-1]] >= every:
            chosen.append(position)
    return np.unique([*chosen, len(numbers) - 1]).astype(np.int64)
