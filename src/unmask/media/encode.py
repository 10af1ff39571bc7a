"""Frames to an H.264 file, the same bytes for the same frames; with the sound of another file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from unmask.files import replacing
from unmask.media.kinds import CONTAINERS, MediaError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

    _Timed = tuple[float, Packet[VideoStream] | Packet[AudioStream]]

SOUNDS = ("wav", "mp3", "aac", "flac")  # containers that sound may be taken from, besides those of videos
# Sound that lies in an mp4 as it is; all other becomes AAC.
AS_IT_IS = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


class Clock(NamedTuple):
    """When each frame is shown, in units of `base` seconds, and for how long the last one."""

    times: list[int]
    base: Fraction
    last: int

    def seconds(self, number: int) -> float:
        """When a frame is shown, s after the first one."""
        return float((self.times[number] - self.times[0]) * self.base)


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
    """Encode RGB frames as an mp4; the file appears under its name only when it is complete.

    One thread: x264 cuts a picture differently for every number of threads, and the bytes would follow the machine.

    Args:
        path: Where to write; its folder is made.
        frames: `[H, W, 3]` RGB, all of one even height and width.
        fps: Frames a second.
        crf: x264's constant quality, 0 (lossless) to 51.
        metadata: Written into the container under these very keys; players show `comment` and `title`.
        gop: Most frames from one key frame to the next; a seek decodes that many at worst.
        preset: x264's trade of time for size.
        sound: A file whose sound is taken over, packet for packet where an mp4 may hold it, else as AAC.
        clock: When each frame is shown, where they do not come evenly or do not begin at 0; else `fps` says it.

    Raises:
        ValueError: No frame, sizes that are odd or change, or more frames than the clock has times.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    x264 = {"crf": str(crf), "preset": preset, "threads": "1"}
    with replacing(path) as part:
        _encode(part, frames, _Settings(fps, x264, gop, clock), metadata or {}, sound)


@dataclass(frozen=True)
class _Settings:
    """How the pictures of a video are encoded."""

    fps: float
    x264: dict[str, str]
    gop: int
    clock: Clock | None


def _encode(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    settings: _Settings,
    metadata: Mapping[str, str],
    sound: Path | None,
) -> None:
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ValueError("there is no frame to encode; give at least one")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(
            f"H.264 in yuv420p takes even sizes, not {height}x{width}; crop or pad the frames by one pixel"
        )
    # Without use_metadata_tags the mp4 muxer silently drops every key that it does not know.
    name = f"file:{path.absolute()}"  # else FFmpeg takes a name such as 12:30.mp4 for a protocol
    with av.open(name, "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}) as container:
        container.metadata.update(metadata)
        stream = _picture_stream(container, (height, width), settings)
        video = _video(stream, chain([first], rest), first.shape, settings.clock)
        if sound is None:
            for _, packet in video:
                container.mux(packet)
            return
        containers = ",".join((*CONTAINERS, *SOUNDS))  # none of which can name another file
        options = {"protocol_whitelist": "file", "format_whitelist": containers}
        with av.open(f"file:{sound.absolute()}", options=options) as source:
            # Both in order of time: whichever came much later would wait in memory.
            both: Iterator[_Timed] = merge(video, _sound(container, source), key=lambda timed: timed[0])
            for _, either in both:
                container.mux(either)


def _picture_stream(container: "OutputContainer", size: tuple[int, int], settings: _Settings) -> "VideoStream":
    """Add the stream of the pictures, and set what it says of itself.

    The colour matrix is set too, or decoders guess it from the size.
    """
    rate = Fraction(settings.fps).limit_denominator(1001)
    stream = container.add_stream("libx264", rate=rate, options=settings.x264)
    (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
    context = stream.codec_context
    context.thread_count, context.gop_size = 1, settings.gop
    context.colorspace, context.color_range = int(Colorspace.ITU601), int(ColorRange.MPEG)
    if settings.clock is not None:
        context.time_base = settings.clock.base
    return stream


def _video(
    stream: "VideoStream", frames: Iterable[NDArray[np.uint8]], shape: tuple[int, ...], clock: Clock | None
) -> Iterator[tuple[float, "Packet[VideoStream]"]]:
    """The packets of the picture, each with the time at which it is due, s."""
    for number, frame in enumerate(frames):
        if frame.shape != shape:
            raise ValueError(f"frame {number} has the shape {frame.shape}, the first one {shape}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
        if clock is not None:
            _set_time(picture, clock, number)
        yield from ((_due(packet), packet) for packet in stream.encode(picture))
    yield from ((_due(packet), packet) for packet in stream.encode())


def _set_time(picture: "VideoFrame", clock: Clock, number: int) -> None:
    if number >= len(clock.times):
        raise ValueError(f"frame {number} has no time: the clock has {len(clock.times)}")
    picture.pts, picture.time_base = clock.times[number], clock.base
    after = clock.times[number + 1] if number + 1 < len(clock.times) else clock.times[number] + clock.last
    picture.duration = after - clock.times[number]


def _sound(container: "OutputContainer", source: "InputContainer") -> Iterator[tuple[float, "Packet[AudioStream]"]]:
    """The packets of a file's sound, each with its time, s; all streams of it."""
    streams = {stream.index: stream for stream in source.streams.audio}
    copied, encoders = {}, {}
    for index, stream in streams.items():
        codec = stream.codec_context
        if codec is None:
            raise MediaError("the codec of its sound is not known here: save the file with AAC sound")
        # AAC without a header of its own (from a transport stream) is framed as mp4 does not have it.
        if codec.name in AS_IT_IS and not (codec.name == "aac" and not codec.extradata):
            copied[index] = container.add_stream_from_template(stream)
        else:
            # A file of bare samples may not say where its channels belong.
            layout = {1: "mono", 2: "stereo"}.get(codec.channels, codec.layout.name)
            encoders[index] = container.add_stream("aac", rate=codec.sample_rate, layout=layout)
    if not streams:
        return
    for packet in source.demux(tuple(streams.values())):
        index = packet.stream.index
        if index in encoders:
            for frame in packet.decode():
                yield from ((_due(made), made) for made in encoders[index].encode(frame))
        elif packet.dts is not None:  # the last one only says that it is over
            packet.stream = copied[index]
            yield _due(packet), packet
    for encoder in encoders.values():
        yield from ((_due(made), made) for made in encoder.encode())


def _due(packet: "Packet[VideoStream] | Packet[AudioStream]") -> float:
    return float((packet.dts or 0) * packet.time_base)
