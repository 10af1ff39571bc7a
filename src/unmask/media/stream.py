"""A whole video frame by frame, in memory that does not grow with its length, and when each frame is shown."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unmask.media.decode import VIDEOS, MediaError
from unmask.media.encode import Clock


def stream(path: Path) -> Iterator[NDArray[np.uint8]]:
    """All frames that a video shows, upright, in order: uint8 [H, W, 3].

    Raises:
        MediaError: it is no video, or its stream breaks.
    """
    _check(path)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"broken video stream ({error})") from error


def clock(path: Path) -> tuple[float, Clock]:
    """Frames a second, and when each is shown; packets are read, none is decoded.

    Raises:
        MediaError: it is no video, or it does not say when frames are shown.
    """
    _check(path)
    try:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            rate = video.average_rate or video.guessed_rate or Fraction(25)
            shown = [packet for packet in container.demux(video) if packet.size and not packet.is_discard]
            base = Fraction(video.time_base or 1 / rate)
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"not a readable video ({error})") from error
    each = max(1, round(1 / (rate * base)))
    times = sorted(packet.pts for packet in shown if packet.pts is not None)
    if len(set(times)) < len(shown):  # an AVI, for one, says only how many there are a second
        base, each = 1 / Fraction(rate), 1
        times = list(range(len(shown)))
    if not times:
        raise MediaError("the video has no frames")
    return float(rate), Clock(times, base, each)


def _check(path: Path) -> None:
    if not path.is_file():
        raise MediaError("no such file")
    if path.suffix.lower() not in VIDEOS:
        raise MediaError(f"'{path.suffix}' is no video ({' '.join(sorted(VIDEOS))})")
