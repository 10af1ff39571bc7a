"""Choose which frames of a video to read."""


def burst_indices(total: int, frames: int, burst: int = 1) -> list[int]:
    """Choose `frames` of `total` frames, in evenly spread bursts of `burst` consecutive frames.

    Each burst lies in the middle of its equal share of the video, so burst=1 means even spacing and burst=frames one
    run of consecutive frames. If the video is shorter than `frames`, all its frames are chosen.
    """
    if burst < 1 or frames % burst:
        raise ValueError(f"burst={burst} does not divide frames={frames}; choose a divisor")
    if total <= frames:
        return list(range(total))
    count = frames // burst
    share = total / count
    starts = [int((number + 0.5) * share - burst / 2 + 0.5 * (burst == 1)) for number in range(count)]
    return [start + step for start in starts for step in range(burst)]
