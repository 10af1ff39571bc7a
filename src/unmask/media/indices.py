"""Choose which frames of a video to read."""


def burst_indices(total: int, frames: int, burst: int = 1) -> list[int]:
    """Choose `frames` of `total` frames, in evenly spaced bursts of `burst` consecutive frames; return their indices.

    The video is divided into equal parts, one per burst, and each burst is in the middle of its part. So burst=1
    chooses evenly spaced frames, and burst=frames chooses a single run of consecutive frames. If the video is shorter
    than `frames`, all its frames are chosen.
    """
    if burst < 1 or frames % burst:
        raise ValueError(f"burst={burst} does not divide frames={frames}; choose a divisor")
    if total <= frames:
        return list(range(total))
    count = frames // burst
    share = total / count
    starts = [int((number + 0.5) * share - burst / 2 + 0.5 * (burst == 1)) for number in range(count)]
    return [start + step for start in starts for step in range(burst)]
