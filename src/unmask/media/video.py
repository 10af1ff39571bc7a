"""Describe a video file: how and when its frames are shown.

All code that reads or describes a video uses this module: the decoders, the streaming reader and the file statistics.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.media.container import check_size, opened, videos_of
from unmask.media.kinds import MediaError, first_bytes, first_line
from unmask.media.skip import KeyFrame, read_key_frame
from unmask.media.view import View, change_of_size, view_of
from unmask.media.whole import cut_off

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

MOST_AT_ONCE = 600_000_000  # maximum pixels of all frames read at once, 1.8 GB as RGB: about 64 frames in 4K
PROGRESSIVE = 1  # FFmpeg's number for progressive video; 0 means unknown, greater numbers mean interlaced
SCANNED = 50  # maximum number of frames whose size is checked if all frames are key frames


@dataclass(frozen=True)
class Video:
    """A description of a file's video, for which all packets are read, but usually only the first frame is decoded."""

    stream: int  # index of the stream in the file
    alone: bool  # whether this is the only video stream of the file, apart from cover pictures
    container: str  # FFmpeg's name for the format
    codec: str
    pixel_format: str
    interlaced: bool
    closed: bool  # whether decoding from any key frame gives the same pixels as from the start; False if unknown
    rate: Fraction  # average frames per second
    view: View
    times: list[int]  # presentation times of the visible frames, in units of `base` seconds, ascending
    base: Fraction
    last: int  # duration of the last frame, in the same unit
    packets: list[tuple[int, bool]]  # of each packet: size in bytes, and whether it is a key frame

    def __len__(self) -> int:
        return len(self.times)

    @property
    def intra_only(self) -> bool:
        """Whether each frame can be decoded without other frames."""
        return all(key for _, key in self.packets)

    def seconds(self, indices: Iterable[int]) -> NDArray[np.float64]:
        """Return the presentation times [N] of these frames, in seconds after the first frame."""
        shown = np.asarray(self.times, np.int64)
        return np.asarray((shown[np.asarray(list(indices), np.int64)] - shown[0]) * float(self.base), np.float64)

    def check_memory(self, count: int) -> None:
        """Reject a number of frames that would exhaust memory if read at once.

        Raises:
            MediaError: the frames have more than `MOST_AT_ONCE` pixels in total.
        """
        height, width = self.view.size
        if count * height * width > MOST_AT_ONCE:
            raise MediaError(
                f"too large: {count} frames of {width}x{height} px take {3 * count * height * width / 1e9:.1f} GB; "
                f"set data.recipe.frames to at most {MOST_AT_ONCE // (height * width)}, or scale the video down"
            )


def describe(path: Path) -> Video:
    """Describe a file's video.

    Raises:
        MediaError: the file is not a video, is truncated or too large, or its resolution changes within the stream.
    """
    first_bytes(path, 1)
    about = path.stat()
    return _describe(path.absolute(), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)  # the same file is described several times in a row
def _describe(path: Path, changed: int, size: int) -> Video:
    try:
        with opened(path) as (container, stream):
            check_size(stream.codec_context.width, stream.codec_context.height)
            return _read(path, container, stream)
    except MediaError:
        raise
    except Exception as error:  # decoders raise many kinds of errors on damaged files
        raise MediaError(f"not a readable video ({first_line(error)})") from error


class _Demuxed(NamedTuple):
    """All packets of a stream, and its first frame."""

    packets: list[tuple[int, bool]]
    shown: list[int | None]  # times of packets, except those hidden by an edit list or a damaged end
    keys: set[KeyFrame]
    first: "VideoFrame | None"
    error: str  # from decoding the first frame; empty if none


def _demux(container: "InputContainer", stream: "VideoStream") -> _Demuxed:
    """Read all packets, and decode up to the first frame."""
    import av

    codec, first, error = stream.codec_context, None, ""
    packets, shown, keys = list[tuple[int, bool]](), list[int | None](), set[KeyFrame]()
    for packet in container.demux(stream):
        if first is None and not error:
            try:
                first = next(iter(codec.decode(packet)), None)
            except av.FFmpegError as broken:  # raised later, because truncation, if found, is the better reason
                error = first_line(broken)
        if packet.size:
            packets.append((packet.size, packet.is_keyframe))
            shown += [] if packet.is_discard else [packet.pts]
            if packet.is_keyframe:
                keys.add(read_key_frame(packet, codec))
    return _Demuxed(packets, shown, keys, first, error)


def _read(path: Path, container: "InputContainer", stream: "VideoStream") -> Video:
    packets, shown, keys, first, error = _demux(container, stream)
    if reason := cut_off(path, container.format.name, stream.frames, len(packets)):
        raise MediaError(reason)
    if error:
        raise MediaError(f"broken video stream ({error})")
    if first is None or not shown:
        raise MediaError("the video has no frames")
    # A recording that starts between two key frames shows nothing before the first key frame.
    shown = [time for time in shown if time is None or first.pts is None or time >= first.pts]
    view = view_of(first, stream.sample_aspect_ratio)
    for height, width in (view.stored, view.square):
        check_size(width, height)
    if len({key.headers for key in keys}) > 1 or any(key.headers is None for key in keys):
        _check_key_frames(path, (first.width, first.height), packets)
    codec, rate = stream.codec_context, Fraction(stream.average_rate or stream.guessed_rate or 25)
    times, base, last = _times(shown, Fraction(stream.time_base or 1 / rate), rate)
    return Video(
        stream.index, len(videos_of(container)) == 1, container.format.name, codec.name, first.format.name,
        bool(first.interlaced_frame) or codec.field_order > PROGRESSIVE, bool(keys) and all(key.closed for key in keys),
        rate, view, times, base, last, packets,
    )  # fmt: skip


def _times(shown: list[int | None], base: Fraction, rate: Fraction) -> tuple[list[int], Fraction, int]:
    """Return the presentation times in order, their unit, and the duration of the last frame."""
    times = sorted(time for time in shown if time is not None)
    if len(set(times)) < len(shown):  # AVI, for example, stores only a frame rate
        return list(range(len(shown))), 1 / rate, 1
    return times, base, max(1, round(1 / (rate * base)))


def _check_key_frames(path: Path, size: tuple[int, int], packets: list[tuple[int, bool]]) -> None:
    """Reject a video whose resolution changes. Only key frames are decoded: the resolution can change only there."""
    keys = sum(key for _, key in packets)
    step = -(-keys // SCANNED) if keys == len(packets) else 1
    with opened(path) as (container, stream):
        codec = stream.codec_context
        codec.thread_count = 1
        for number, packet in enumerate(_keys(container, stream)):
            for frame in codec.decode(packet) if number % step == 0 else ():
                _check_same(frame, size)
        for frame in codec.decode(None):
            _check_same(frame, size)


def _keys(container: "InputContainer", stream: "VideoStream") -> Iterator["Packet[VideoStream]"]:
    return (packet for packet in container.demux(stream) if packet.size and packet.is_keyframe)


def _check_same(frame: "VideoFrame", size: tuple[int, int]) -> None:
    if (frame.width, frame.height) != size:
        raise MediaError(change_of_size(size, (frame.width, frame.height)))
