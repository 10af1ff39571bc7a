"""A whole video frame by frame, in memory that does not grow with its length, and when each frame is shown."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.media.container import opened
from unmask.media.encode import Clock
from unmask.media.kinds import VIDEOS, MediaError, first_bytes, first_line
from unmask.media.video import describe


def stream(path: Path) -> Iterator[NDArray[np.uint8]]:
    """All frames that a video shows, in order and as a player shows them: uint8 [H, W, 3].

    Raises:
        MediaError: it is no video, or its stream breaks.
    """
    _check(path)
    view = describe(path).view
    try:
        with opened(path) as (container, video):
            for frame in container.decode(video):
                yield view.of(frame)
    except MediaError:
        raise
    except Exception as error:  # whatever a decoder meets in a damaged file
        raise MediaError(f"broken video stream ({first_line(error)})") from error


def clock(path: Path) -> tuple[float, Clock]:
    """Frames a second, and when each is shown; of its frames one is decoded.

    Raises:
        MediaError: it is no video, or it does not say when frames are shown.
    """
    _check(path)
    about = describe(path)
    return float(about.rate), Clock(about.times, about.base, about.last)


def _check(path: Path) -> None:
    first_bytes(path, 1)
    if path.suffix.lower() not in VIDEOS:
        raise MediaError(f"'{path.suffix}' is no video ({' '.join(sorted(VIDEOS))})")
