"""Open a video or a picture and read just the frames that are wanted.

Every decoder gives the same frames for the same indices: index i is the i-th frame in order of presentation. A reader
is opened in the process that uses it (a decord reader that crosses a fork hangs).
"""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [N, H, W, 3], RGB

VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # named, so that no other parser of Pillow is ever reached


class MediaError(ValueError):
    """A file cannot be used; the message is the reason, to be shown beside the file's name."""


class Reader(Protocol):
    """An open video: `len()` frames, `fps` a second."""

    fps: float

    def __len__(self) -> int: ...

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""


class DecordReader:
    """decord: seeks to the key frame before each wanted frame, exact."""

    def __init__(self, path: Path) -> None:
        import decord

        try:
            self.video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            self.fps = float(self.video.get_avg_fps())
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(f"not a readable video ({_first_line(error)})") from error

    def __len__(self) -> int:
        return len(self.video)

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        import decord

        try:
            return np.asarray(self.video.get_batch(indices).asnumpy(), dtype=np.uint8)
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(f"broken video stream ({_first_line(error)})") from error


class PyavReader:
    """PyAV: decodes up to the last wanted frame, converts only the wanted ones."""

    def __init__(self, path: Path) -> None:
        import av

        self.path = path
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                self.fps = float(stream.average_rate or stream.guessed_rate or 25)
                self.frames = sum(1 for packet in container.demux(stream) if packet.size)
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise MediaError(f"not a readable video ({_first_line(error)})") from error

    def __len__(self) -> int:
        return self.frames

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        import av

        wanted, found = set(indices), {}
        try:
            with av.open(str(self.path)) as container:
                for number, frame in enumerate(container.decode(video=0)):
                    if number in wanted:
                        found[number] = frame.to_ndarray(format="rgb24")
                    if number >= max(wanted):
                        break
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"broken video stream ({_first_line(error)})") from error
        if lost := wanted - found.keys():
            raise MediaError(f"the video ends before frame {min(lost)}: it is cut off")
        return np.stack([found[index] for index in indices])


class PictureReader:
    """A picture as a video of one frame, turned upright as its EXIF says."""

    fps = 1.0

    def __init__(self, path: Path) -> None:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(path, formats=FORMATS) as picture:
                self.frame = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError, SyntaxError) as error:
            raise MediaError(f"not a readable picture ({_first_line(error)})") from error

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int]) -> Frames:
        """The picture once for each index -> uint8 [N, H, W, 3]."""
        return np.repeat(self.frame[None], len(indices), axis=0)


DECODERS: dict[str, Callable[[Path], Reader]] = {"decord": DecordReader, "pyav": PyavReader}
PACKAGES = {"decord": "decord", "pyav": "av"}


def choose_decoder(name: str = "auto") -> str:
    """The decoder that `name` stands for here: `auto` is decord where its wheel is installed, else PyAV.

    Raises:
        ValueError: no such decoder, or it is not installed.
    """
    if name == "auto":
        return "decord" if find_spec("decord") else "pyav"
    if name not in DECODERS:
        raise ValueError(f"there is no decoder '{name}'; choose auto, {', '.join(DECODERS)}")
    if not find_spec(PACKAGES[name]):
        raise ValueError(f"the decoder '{name}' is not installed: pip install {PACKAGES[name]}, or choose auto")
    return name


def decoder_version(name: str = "auto") -> str:
    """Decoder and version, such as `decord 0.6.0`: another decoder may give other pixels, so it is part of a key."""
    chosen = choose_decoder(name)
    return f"{chosen} {version(PACKAGES[chosen])}"


def open_media(path: Path, decoder: str = "auto") -> Reader:
    """Open a video or a picture.

    Raises:
        MediaError: it is missing, empty or not readable.
    """
    if not path.is_file():
        raise MediaError("no such file")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty")
    if path.suffix.lower() in PICTURES:
        return PictureReader(path)
    if path.suffix.lower() not in VIDEOS:
        raise MediaError(f"'{path.suffix}' is neither a video ({' '.join(sorted(VIDEOS))}) nor a picture")
    reader = DECODERS[choose_decoder(decoder)](path)
    if len(reader) == 0:
        raise MediaError("the video has no frames")
    return reader


def burst_indices(total: int, frames: int, burst: int = 1) -> list[int]:
    """Which of `total` frames to take: `frames` in all, in bursts of `burst` consecutive ones spread evenly.

    Each burst lies in the middle of its equal share of the video, so burst=1 is even spacing and burst=frames one run
    of consecutive frames. A video shorter than `frames` gives every frame it has.
    """
    if burst < 1 or frames % burst:
        raise ValueError(f"burst={burst} does not divide frames={frames}; choose a divisor")
    if total <= frames:
        return list(range(total))
    count = frames // burst
    share = total / count
    starts = [int((number + 0.5) * share - burst / 2 + 0.5 * (burst == 1)) for number in range(count)]
    return [start + step for start in starts for step in range(burst)]


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:160]
