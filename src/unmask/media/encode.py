"""Frames to an H.264 file, the same bytes for the same frames."""

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    crf: int = 20,
    metadata: Mapping[str, str] | None = None,
    gop: int = 50,
    preset: str = "veryfast",
) -> None:
    """Encode RGB frames as an mp4 without sound; the file appears under its name only when it is complete.

    One thread: x264 cuts a picture differently for every number of threads, and the bytes would follow the machine.

    Args:
        path: Where to write; its folder is made.
        frames: `[H, W, 3]` RGB, all of one even height and width.
        fps: Frames a second.
        crf: x264's constant quality, 0 (lossless) to 51.
        metadata: Written into the container under these very keys; players show `comment` and `title`.
        gop: Most frames from one key frame to the next; a seek decodes that many at worst.
        preset: x264's trade of time for size.

    Raises:
        ValueError: No frame, or sizes that are odd or change.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _encode(part, frames, fps, {"crf": str(crf), "preset": preset, "threads": "1"}, metadata or {}, gop)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    options: dict[str, str],
    metadata: Mapping[str, str],
    gop: int,
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
    with av.open(str(path), "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        _describe(stream, height, width, gop)
        for number, frame in enumerate(chain([first], rest)):
            if frame.shape != first.shape:
                raise ValueError(f"frame {number} has the shape {frame.shape}, the first one {first.shape}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode())


def _describe(stream: Any, height: int, width: int, gop: int) -> None:
    """Set what the stream says of itself; the colour matrix too, or decoders guess it from the size."""
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.thread_count, context.gop_size = 1, gop
    context.colorspace, context.color_range = int(Colorspace.ITU601), int(ColorRange.MPEG)
