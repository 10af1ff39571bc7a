"""Encode frames as a reproducible H.264 file (same frames, same bytes), optionally with the audio of another file."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from uuid import uuid4

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.media.kinds import CONTAINERS
from unmask.media.sound import SOUNDS, Encoded, Timed, read_sound, timed


class Clock(NamedTuple):
    """Presentation time of each frame, and duration of the last frame, in units of `base` seconds."""

    times: list[int]
    base: Fraction
    last: int

    def seconds(self, number: int) -> float:
        """Return the presentation time of a frame, in seconds after the first frame."""
        return float((self.times[number] - self.times[0]) * self.base)


# With AVX2, x264 reads uninitialised memory in its macroblock-tree rate control: 38 of 150 files of the same twelve
# frames of 320x240 px differed from the others. SSE 4.2 gives equal files on all x86-64 CPUs, in about the same time.
PORTABLE = {"x264-params": "asm=sse4.2"} if platform.machine() in ("x86_64", "AMD64") else {}


class VideoWriter:
    """Encode RGB frames as an mp4 in constant memory; each call of `add` encodes one frame.

    Use it as a context manager: the file appears at `path` when the block ends, unless an error was raised. Encoding
    uses one thread and no AVX instructions, because x264's output depends on both.

    Args:
        path: Where to write; its folder is created.
        fps: Frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        metadata: Tags of the container, written under exactly these keys; players show `comment` and `title`.
        gop: Maximum number of frames from one key frame to the next; a seek decodes at most this number of frames.
        preset: x264 preset, which trades time for size.
        sound: A file whose audio is included: copied if an mp4 can hold it, else encoded as AAC.
        clock: Presentation times of frames that are unevenly spaced or do not start at 0; by default given by `fps`.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        crf: int = 20,
        metadata: Mapping[str, str] | None = None,
        gop: int = 50,
        preset: str = "veryfast",
        sound: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.path, self.fps, self.gop, self.sound, self.clock = Path(path), fps, gop, sound, clock
        self.options, self.metadata = {"crf": str(crf), "preset": preset, "threads": "1"} | PORTABLE, metadata or {}
        self._part = self.path.with_name(f"{self.path.name}.{uuid4().hex[:12]}.tmp")
        self._open = ExitStack()  # files to close
        self._shape: tuple[int, ...] = ()
        self._number = 0  # of the next frame

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._open:
                if kind is None:
                    self._finish()
            if kind is None:
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Encode the next frame, RGB [H, W, 3].

        Raises:
            ValueError: the size is odd or differs from the first frame's, or the clock has no time for the frame.
        """
        if not self._number:
            self._begin(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"frame {self._number} has shape {frame.shape}, but the first frame has {self._shape}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
        if self.clock is not None:
            _set_time(picture, self.clock, self._number)
        self._mux(self._stream.encode(picture))
        self._number += 1

    def _begin(self, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        if height % 2 or width % 2:
            raise ValueError(
                f"H.264 in yuv420p needs even sizes, got {width}x{height} px; crop or pad the frames by one pixel"
            )
        self._shape = shape
        # Without use_metadata_tags, the mp4 muxer silently drops unknown keys.
        options = {"movflags": "use_metadata_tags+faststart"}
        name = f"file:{self._part.absolute()}"  # without `file:`, FFmpeg takes a name such as 12:30.mp4 for a protocol
        self._container = self._open.enter_context(av.open(name, "w", format="mp4", options=options))
        self._container.metadata.update(self.metadata)
        rate = Fraction(self.fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options=self.options)
        _describe(self._stream, height, width, self.gop)
        if self.clock is not None:
            self._stream.codec_context.time_base = self.clock.base
        self._sound = iter(()) if self.sound is None else self._read_sound(self.sound)
        self._waiting = next(self._sound, None)

    def _read_sound(self, path: Path) -> Iterator[Timed]:
        containers = ",".join((*CONTAINERS, *SOUNDS))  # none of these can reference another file
        options = {"protocol_whitelist": "file", "format_whitelist": containers}
        source = self._open.enter_context(av.open(f"file:{path.absolute()}", options=options))
        return read_sound(source, self._container)

    def _mux(self, packets: Iterable[Encoded]) -> None:
        """Write video packets; before each one, write the earlier audio packets, so that they do not fill memory."""
        for packet in packets:
            self._mux_sound(timed(packet).due)
            self._container.mux(packet)

    def _mux_sound(self, before: float) -> None:
        while self._waiting is not None and self._waiting.due < before:
            self._container.mux(self._waiting.packet)
            self._waiting = next(self._sound, None)

    def _finish(self) -> None:
        if not self._number:
            raise ValueError("no frames to encode; expected at least one")
        self._mux(self._stream.encode())
        self._mux_sound(float("inf"))


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    crf: int = 20,
    metadata: Mapping[str, str] | None = None,
    gop: int = 50,
    preset: str = "veryfast",
    sound: Path | None = None,
    clock: Clock | None = None,
) -> None:
    """Encode RGB frames [H, W, 3] as an mp4; all frames have the same even height and width. See `VideoWriter`.

    Raises:
        ValueError: there are no frames, sizes are odd or change, or there are more frames than timestamps in `clock`.
    """
    with VideoWriter(path, fps, crf, metadata, gop, preset, sound, clock) as video:
        for frame in frames:
            video.add(frame)


def pad_even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make a frame's size even, as H.264 needs, by repeating its last row or column; no pixel is lost or moved."""
    height, width = frame.shape[:2]
    if height % 2 == width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _set_time(picture: av.VideoFrame, clock: Clock, number: int) -> None:
    if number >= len(clock.times):
        raise ValueError(f"frame {number} has no timestamp: the clock has only {len(clock.times)} timestamps")
    picture.pts, picture.time_base = clock.times[number], clock.base
    after = clock.times[number + 1] if number + 1 < len(clock.times) else clock.times[number] + clock.last
    picture.duration = after - clock.times[number]


def _describe(stream: VideoStream, height: int, width: int, gop: int) -> None:
    """Set the stream's parameters, including the colour matrix, which decoders would otherwise guess from the size."""
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.thread_count, context.gop_size = 1, gop
    context.colorspace, context.color_range = int(Colorspace.ITU601), int(ColorRange.MPEG)
