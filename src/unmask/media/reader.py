"""Open a video or a picture and read only the frames that are wanted.

Every decoder returns the same frames for the same indices. Index i is the i-th frame in presentation order, displayed
as `media.view` defines; frames hidden by the file's edit list are not counted.

Open a reader in the process that uses it: a decord reader hangs after a fork.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from unmask.media.decoders import DECODERS, choose_decoder
from unmask.media.kinds import MEDIA, VIDEOS, Frame, Frames, MediaError, first_bytes, is_picture
from unmask.media.still import PictureReader

T = TypeVar("T")


class Reader(Protocol):
    """An open video or picture: `len()` is the number of frames, `fps` the mean number of frames per second."""

    fps: float

    def __len__(self) -> int: ...

    def read(self, indices: list[int]) -> Frames:
        """Return the frames at these ascending indices, uint8 [N, H, W, 3]."""

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """Call `change(position, frame)` for each of the ascending `indices` and return the results.

        `position` is a position in `indices`; `frame` is uint8 [H, W, 3]. Frames are processed one by one, so little
        memory is needed if `change` returns something small.
        """

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """Return the presentation times [N] of these frames, in seconds after the first frame."""


def open_media(path: Path, decoder: str = "auto") -> Reader:
    """Open a video or a picture; the content decides which of the two it is.

    Raises:
        MediaError: the file is missing, empty or not readable.
    """
    first_bytes(path, 1)
    if path.suffix.lower() == ".gif":
        raise MediaError("GIF is not supported: save it as PNG or, if it is animated, as a video")
    if path.suffix.lower() not in MEDIA:
        raise MediaError(f"'{path.suffix}' is neither a video ({' '.join(sorted(VIDEOS))}) nor a picture")
    return PictureReader(path) if is_picture(path) else DECODERS[choose_decoder(decoder)](path)


@overload
def read_mask(path: Path, indices: list[int], size: tuple[int, ...], decoder: str = "auto") -> Frames: ...


@overload
def read_mask(
    path: Path, indices: list[int], size: tuple[int, ...], decoder: str, change: Callable[[int, Frame], T]
) -> list[T]: ...


def read_mask(
    path: Path,
    indices: list[int],
    size: tuple[int, ...],
    decoder: str = "auto",
    change: Callable[[int, Frame], T] | None = None,
) -> Frames | list[T]:
    """Read the masks of the video frames `indices`, uint8 [N, H, W, 3]; a mask that is a picture applies to all frames.

    If `change` is given, return its results instead (see `Reader.each`).

    Raises:
        MediaError: the mask cannot be read, has too few frames, or does not have the size `size` (height, width).
    """

    def check(frame: Frame) -> None:
        if frame.shape[:2] != tuple(size):
            raise MediaError(f"it has {frame.shape[1]}x{frame.shape[0]} px, but its picture has {size[1]}x{size[0]}")

    def checked(at: int, frame: Frame) -> T:
        check(frame)
        assert change is not None
        return change(at, frame)

    try:
        reader = open_media(path, decoder)
        if len(reader) == 1:
            indices = [0] * len(indices)
        if max(indices) >= len(reader):
            raise MediaError(f"it has {len(reader)} frames, but {max(indices) + 1} are needed")
        if change is not None:
            return reader.each(indices, checked)
        frames = reader.read(indices)
        check(frames[0])
    except MediaError as error:
        raise MediaError(f"the mask {path.name}: {error}") from None
    return frames
