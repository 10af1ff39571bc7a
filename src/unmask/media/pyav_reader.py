"""Read video frames with PyAV, the reference decoder; this module also contains the base class of video readers."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from unmask.media.container import opened
from unmask.media.kinds import Frame, Frames, MediaError, first_line
from unmask.media.skip import decode_wanted, read_index
from unmask.media.video import Video, describe

if TYPE_CHECKING:
    from av import VideoFrame

T = TypeVar("T")
Put = Callable[[int, Frame], None]


class VideoReader:
    """Base class of the video readers.

    Raises:
        MediaError: the file is not a readable video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: Video = describe(path)
        self.fps = float(self.about.rate)

    def __len__(self) -> int:
        return len(self.about)

    def read(self, indices: list[int]) -> Frames:
        """Return the frames at these ascending indices, uint8 [N, H, W, 3]."""
        self.about.check_memory(len(indices))
        frames = np.empty((len(indices), *self.about.view.size, 3), np.uint8)
        self._fill(indices, frames.__setitem__)
        return frames

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """Call `change(position, frame)` for each of the ascending `indices` and return the results.

        `position` is a position in `indices`; `frame` is uint8 [H, W, 3].
        """
        found: dict[int, T] = {}

        def put(at: int, frame: Frame) -> None:
            found[at] = change(at, frame)

        self._fill(indices, put)
        return [found[at] for at in range(len(indices))]

    def _fill(self, indices: list[int], put: Put) -> None:
        """Decode these frames and call `put(position, frame)` for each; `position` is a position in `indices`."""
        raise NotImplementedError

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """Return the presentation times [N] of these frames, in seconds after the first frame."""
        return self.about.seconds(indices)


class PyavReader(VideoReader):
    """Read frames with PyAV: decode only needed frames (H.264), or all up to the last needed frame (other codecs)."""

    def _fill(self, indices: list[int], put: Put) -> None:
        wanted = set(indices)
        try:
            found = set[int]()
            for decode in (self._decode_wanted, self._decode_all):
                if len(found) < len(wanted):
                    found |= self._put(decode(wanted), indices, put)
        except MediaError:
            raise
        except Exception as error:  # decoders raise many kinds of errors on damaged files
            raise MediaError(f"broken video stream ({first_line(error)})") from error
        if lost := wanted - found:
            raise MediaError(f"the video ends before frame {min(lost)}: the file is cut off")

    def _put(self, frames: Iterator[tuple[int, "VideoFrame"]], indices: list[int], put: Put) -> set[int]:
        """Call `put(position, frame)` for each frame, once for each position at which its number is in `indices`.

        Returns:
            The numbers of these frames.
        """
        found = set()
        for number, frame in frames:
            shown = self.about.view.of(frame)
            for at in range(bisect_left(indices, number), bisect_right(indices, number)):
                put(at, shown)
            found.add(number)
        return found

    def _decode_wanted(self, wanted: set[int]) -> Iterator[tuple[int, "VideoFrame"]]:
        """Yield (number, frame) for each wanted frame, found by presentation time; nothing without a usable index."""
        with opened(self.path) as (container, stream):
            index = read_index(container, stream)
        if index is None or max(wanted) >= len(self):
            return
        numbers = {self.about.times[number]: number for number in wanted}
        with opened(self.path) as (container, stream):
            for frame in decode_wanted(container, index, set(numbers), stream):
                if frame.pts in numbers:
                    yield numbers[frame.pts], frame

    def _decode_all(self, wanted: set[int]) -> Iterator[tuple[int, "VideoFrame"]]:
        """Yield (number, frame) for each wanted frame, found by counting all frames from the start."""
        last = max(wanted)
        with opened(self.path) as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    yield number, frame
                if number >= last:
                    return
