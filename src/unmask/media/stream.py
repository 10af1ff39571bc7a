"""Read a whole video frame by frame in constant memory; also read the presentation times of its frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.media.container import opened
from unmask.media.encode import Clock
from unmask.media.kinds import VIDEOS, MediaError, first_bytes, first_line
from unmask.media.video import describe


def stream(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield all frames of a video in order, as a player shows them, uint8 [H, W, 3].

    Raises:
        MediaError: the file is not a video, or its stream is broken.
    """
    _check(path)
    view = describe(path).view
    try:
        with opened(path) as (container, video):
            for frame in container.decode(video):
                yield view.of(frame)
    except MediaError:
        raise
    except Exception as error:  # decoders raise many kinds of errors on damaged files
        raise MediaError(f"broken video stream ({first_line(error)})") from error


def clock(path: Path) -> tuple[float, Clock]:
    """Return the frame rate and the presentation time of each frame, without decoding the whole video.

    Raises:
        MediaError: the file is not a readable video.
    """
    _check(path)
    about = describe(path)
    return float(about.rate), Clock(about.times, about.base, about.last)


def _check(path: Path) -> None:
    first_bytes(path, 1)
    if path.suffix.lower() not in VIDEOS:
        raise MediaError(f"'{path.suffix}' is not a video ({' '.join(sorted(VIDEOS))})")
