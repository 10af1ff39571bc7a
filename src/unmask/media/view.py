"""How a decoded frame is displayed: with square pixels, and rotated or mirrored as the file specifies.

Every decoder, the streaming reader and the file statistics use this module.
"""

import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import MediaError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.sidedata.sidedata import SideData

Pixels = NDArray[np.uint8]  # [H, W, 3]


class View(NamedTuple):
    """The transform that a player applies to a stored frame before showing it.

    The frame is first resized to square pixels, then transposed, then flipped.
    """

    stored: tuple[int, int]  # height and width of the decoded frame, px
    square: tuple[int, int]  # the size with square pixels: the side along which pixels are longer is enlarged
    transpose: bool
    flip_rows: bool
    flip_columns: bool
    quarter_turns: int  # anticlockwise, as FFmpeg derives them from the matrix; decord and TorchCodec apply them

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the displayed frame, px."""
        return self.square[::-1] if self.transpose else self.square

    def __call__(self, frame: Pixels) -> Pixels:
        """Transform a decoded frame [h, w, 3] to its displayed form [H, W, 3].

        Raises:
            MediaError: the frame's size differs from that of the first frame of its video.
        """
        if frame.shape[:2] != self.stored:
            height, width = self.stored
            raise MediaError(change_of_size((width, height), (frame.shape[1], frame.shape[0])))
        if self.square != self.stored:
            frame = cv2.resize(frame, self.square[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        if self.transpose:
            frame = frame.transpose(1, 0, 2)
        return frame[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def of(self, frame: "VideoFrame") -> Pixels:
        """Transform a frame decoded by PyAV to its displayed form [H, W, 3].

        Raises:
            MediaError: see `__call__`.
        """
        return self(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))

    def undo_turns(self, frames: Pixels) -> Pixels:
        """Undo the quarter turns that decord or TorchCodec applied: [N, H, W, 3] -> [N, h, w, 3]."""
        return np.rot90(frames, -self.quarter_turns, (1, 2))


def view_of(frame: "VideoFrame", pixel_aspect: Fraction | None) -> View:
    """Return the view of a video, given its first decoded frame.

    Args:
        frame: its side data contains the file's display matrix (ISO/IEC 14496-12, 8.3.2), if there is one.
        pixel_aspect: width / height of a stored pixel (sample aspect ratio); None or 0 if the file does not specify it.
    """
    height, width = frame.height, frame.width
    aspect = Fraction(pixel_aspect or 1)
    square = (height, round(width * aspect)) if aspect >= 1 else (round(height / aspect), width)
    a, b, c, d = _matrix(frame)
    # A stored pixel (x, y) is shown at (a x + c y, b x + d y). Only the eight axis-aligned orientations are supported;
    # any other orientation is rounded to the nearest of these eight, as browsers do.
    transpose = abs(b) + abs(c) > abs(a) + abs(d)
    flip_columns, flip_rows = (c < 0, b < 0) if transpose else (a < 0, d < 0)
    return View((height, width), square, transpose, flip_rows, flip_columns, round(frame.rotation / 90))


def change_of_size(first: tuple[int, int], other: tuple[int, int]) -> str:
    """Return the error message for a video whose frame size (width, height) changes."""
    return (
        f"its resolution changes, from {first[0]}x{first[1]} to {other[0]}x{other[1]} px: re-encode "
        f"it at one size (ffmpeg -i FILE -vf scale={first[0]}:{first[1]} NEW.mp4)"
    )


def _matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """Return the entries a, b, c, d of the display matrix, or of the identity if the frame has no matrix."""
    for data in cast("Iterable[SideData]", frame.side_data):  # PyAV's stub lists only motion vectors
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
            return a, b, c, d
    return 1, 0, 0, 1
