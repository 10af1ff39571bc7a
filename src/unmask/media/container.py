"""Open a video file and choose its video stream."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.files import printable
from unmask.media.kinds import CONTAINERS, CONTAINERS_IN_WORDS, MediaError, first_line

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MOST_PIXELS = 36_000_000  # per video frame (8192x4320): a file of a few kB may declare more and exhaust memory


@contextmanager
def opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open a file and yield (container, video stream).

    The format is detected from the content, and only formats in `CONTAINERS` are parsed. FFmpeg gets an absolute path
    prefixed with `file:`, so that no file name is mistaken for a protocol.

    Raises:
        MediaError: the file is not a video, or no decoder for it is available.
    """
    import av

    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except av.ArgumentError:
        raise MediaError(f"not a readable video (its content is not one of {CONTAINERS_IN_WORDS})") from None
    except Exception as error:
        raise MediaError(f"not a readable video ({first_line(error)})") from error
    with container:
        yield container, _choose(container)


def videos_of(container: "InputContainer") -> list["VideoStream"]:
    """Return the video streams, without cover pictures and thumbnails."""
    from av.stream import Disposition

    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & covers]


def check_size(width: int, height: int) -> None:
    """Reject frames that would exhaust memory.

    Raises:
        MediaError: the frames have more than `MOST_PIXELS` pixels.
    """
    if width * height > MOST_PIXELS:
        raise MediaError(
            f"too large: a frame has {width}x{height} px, expected at most {MOST_PIXELS:,} pixels; "
            "scale the video down (ffmpeg -i FILE -vf scale=1920:-2 NEW.mp4)"
        )


def _choose(container: "InputContainer") -> "VideoStream":
    """Return the video stream that a player shows: the first stream marked as default, else the first stream."""
    from av.stream import Disposition

    videos = videos_of(container)
    if not videos:
        held = "a cover picture" if container.streams.video else "sound" if container.streams.audio else "other data"
        raise MediaError(f"not a readable video (it holds no video stream, only {held})")
    stream = next((video for video in videos if video.disposition & Disposition.default), videos[0])
    if stream.codec_context is None:
        raise MediaError(
            f"not a readable video (no decoder for its codec {_codec_tag(container, stream.index)}): save it as "
            "H.264 with a program that plays it"
        )
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # the stream's size may differ from the container's
    return stream


def _codec_tag(container: "InputContainer", index: int) -> str:
    """Return the tag of a codec that FFmpeg does not know, such as 'zzzz'; only PyAV's `dumps_format` gives it."""
    import av

    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        said = container.dumps_format()  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(level)
    found = re.search(rf"Stream #\d+:{index}\b.*?Video: \w+ \((.+?)(?: /|\))", said)
    return printable(f"'{found.group(1)}'") if found else "(unknown)"
