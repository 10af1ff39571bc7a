"""Open a video or a picture and read just the frames that are wanted.

Every decoder gives the same frames for the same indices: index i is the i-th frame in order of presentation, turned
upright, and frames that the file itself hides (before the start in its edit list) do not count. The pixels of 8-bit
video are the same to the bit in all three. Two things differ: 10-bit video (each decoder brings its own FFmpeg, whose
conversions to 8 bits differ by about 2 grey levels in the mean), and damage inside a stream, which each conceals its
own way.

A reader is opened in the process that uses it (a decord reader that crosses a fork hangs).
"""

import re
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.media.skip import decode_wanted, read_index

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image as Picture

Frames = NDArray[np.uint8]  # [N, H, W, 3], RGB

VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # named, so that no other parser of Pillow is ever reached
MOST_PIXELS = 80_000_000  # of a picture, 240 MB as RGB: a file of a few kB may claim billions and fill the memory


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

        # It repeats the last good frame for one that it cannot read, and counts hidden ones: so PyAV counts.
        self.frames, self.fps = count_frames(path)
        decord.logging.set_level(decord.logging.QUIET)
        try:
            self.video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(f"not a readable video ({_first_line(error)})") from error
        self.frames = min(self.frames, len(self.video))

    def __len__(self) -> int:
        return self.frames

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        import decord

        try:
            return np.asarray(self.video.get_batch(indices).asnumpy(), dtype=np.uint8)
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(f"broken video stream ({_first_line(error)})") from error


class PyavReader:
    """PyAV: decodes what the wanted frames of an H.264 stream depend on, of others all up to the last wanted one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames, self.fps = count_frames(path)

    def __len__(self) -> int:
        return self.frames

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        import av

        wanted = set(indices)
        try:
            found = self._read_wanted(wanted) or self._read_all(wanted)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"broken video stream ({_first_line(error)})") from error
        if lost := wanted - found.keys():
            raise MediaError(f"the video ends before frame {min(lost)}: it is cut off")
        return np.stack([found[index] for index in indices])

    def _read_wanted(self, wanted: set[int]) -> dict[int, Frames]:
        """The wanted frames, found by their times; none where the file says too little or the decoder gives not all."""
        import av

        with av.open(str(self.path)) as container:
            index = read_index(container)
        if index is None or max(wanted) >= len(index.shown):
            return {}
        numbers, found = {index.shown[number]: number for number in wanted}, {}
        with av.open(str(self.path)) as container:
            for frame in decode_wanted(container, index, set(numbers)):
                if frame.pts in numbers:
                    found[numbers[frame.pts]] = _upright(frame)
        return found if len(found) == len(wanted) else {}

    def _read_all(self, wanted: set[int]) -> dict[int, Frames]:
        """The wanted frames by counting all."""
        import av

        found = {}
        with av.open(str(self.path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    found[number] = _upright(frame)
                if number >= max(wanted):
                    break
        return found


class TorchcodecReader:
    """TorchCodec, on the system's FFmpeg: scans the file once, then seeks exactly."""

    def __init__(self, path: Path) -> None:
        decoder = import_module("torchcodec.decoders").VideoDecoder
        self.frames, self.fps = count_frames(path)
        try:
            self.video = decoder(str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
        except (RuntimeError, ValueError) as error:
            raise MediaError(f"not a readable video ({_first_line(error)})") from error
        self.frames = min(self.frames, len(self.video))

    def __len__(self) -> int:
        return self.frames

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        try:
            return np.asarray(self.video.get_frames_at(indices).data.numpy(), dtype=np.uint8)
        except (RuntimeError, IndexError) as error:
            raise MediaError(f"broken video stream ({_first_line(error)})") from error


class PictureReader:
    """A picture as a video of one frame, turned upright as its EXIF says; what is transparent shows white behind it.

    Of 16 bits a channel the upper 8 are taken, in grey as in colour.
    """

    fps = 1.0

    def __init__(self, path: Path) -> None:
        from PIL import ImageOps, UnidentifiedImageError

        try:
            with open_picture(path) as picture:
                self.frame = _to_rgb(ImageOps.exif_transpose(picture))
        except MediaError:
            raise
        except UnidentifiedImageError as error:
            with path.open("rb") as file:
                gif = file.read(4) == b"GIF8"
            held = "a GIF: save it as PNG, or as a video where it moves" if gif else f"no {', '.join(FORMATS)}"
            raise MediaError(f"not a readable picture (it holds {held})") from error
        except Exception as error:  # whatever Pillow's parsers meet in a damaged file
            raise MediaError(f"not a readable picture ({_first_line(error)})") from error

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int]) -> Frames:
        """The picture once for each index -> uint8 [N, H, W, 3]."""
        return np.repeat(self.frame[None], len(indices), axis=0)


def open_picture(path: Path) -> "Picture":
    """Open a picture and read its header; its pixels are not decoded.

    Raises:
        MediaError: it claims more than `MOST_PIXELS`, or moves.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:  # so many that Pillow does not say how many
        raise MediaError(f"too large: pictures of more than {MOST_PIXELS:,} pixels are not read") from None
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise MediaError(
            f"too large: {width}x{height} px, and pictures of more than {MOST_PIXELS:,} pixels are not read"
        )
    # A phone's JPEG may hold a second view, which does not make it move.
    if picture.format in ("PNG", "WEBP") and getattr(picture, "is_animated", False):
        picture.close()
        raise MediaError("not a readable picture (it moves: save it as a video)")
    return picture


def _to_rgb(picture: "Picture") -> Frames:
    """uint8 [H, W, 3] of a picture in any mode."""
    from PIL import Image

    if picture.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip to 255
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


DECODERS: dict[str, Callable[[Path], Reader]] = {
    "decord": DecordReader,
    "pyav": PyavReader,
    "torchcodec": TorchcodecReader,
}
PACKAGES = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}


def choose_decoder(name: str = "auto") -> str:
    """The decoder that `name` stands for here: `auto` is PyAV, the fastest at some frames of an H.264 video.

    Raises:
        ValueError: no such decoder, or it is not installed, or it cannot be used here.
    """
    if name == "auto":
        return "pyav"
    if name not in DECODERS:
        raise ValueError(f"there is no decoder '{name}'; choose auto, {', '.join(DECODERS)}")
    if not find_spec(PACKAGES[name]):
        raise ValueError(f"the decoder '{name}' is not installed: pip install {PACKAGES[name]}, or choose auto")
    if name == "torchcodec":
        try:
            import_module("torchcodec.decoders")
            # Without FFmpeg newer releases load all the same, for pictures only, and fail at the first video.
            if import_module("torchcodec").ffmpeg_major_version is None:
                raise RuntimeError("it found no FFmpeg")
        except (ImportError, RuntimeError, OSError) as error:
            raise ValueError(
                "the decoder 'torchcodec' does not load: it wants the shared libraries of FFmpeg (apt-get install "
                "ffmpeg, or conda install ffmpeg) and a release that fits this PyTorch; or choose auto "
                f"({_first_line(error)})"
            ) from None
    return name


def decoder_version(name: str = "auto") -> str:
    """Decoder and version, such as `decord 0.6.0`: another decoder may give other pixels, so it is part of a key."""
    chosen = choose_decoder(name)
    found = f"{chosen} {version(PACKAGES[chosen]).partition('+')[0]}"
    if chosen == "torchcodec":  # its wheel has no FFmpeg of its own
        found += f" with FFmpeg {import_module('torchcodec').ffmpeg_major_version}"
    return found


def count_frames(path: Path) -> tuple[int, float]:
    """How many frames a video shows, and how many a second; the packets are read, none is decoded.

    Raises:
        MediaError: it is not readable, or holds fewer frames than its header promises.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            # A packet that an edit list hides, or a damaged end, is there but not shown.
            shown = [not packet.is_discard for packet in container.demux(stream) if packet.size]
            # Of all containers, only the table of mp4 and its family promises an exact number.
            promised = stream.frames if "mp4" in container.format.name else 0
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"not a readable video ({_first_line(error)})") from error
    if len(shown) < promised:
        raise MediaError(f"cut off: {len(shown)} of {promised} frames are there")
    return sum(shown), fps


def open_media(path: Path, decoder: str = "auto") -> Reader:
    """Open a video or a picture.

    Raises:
        MediaError: it is missing, empty or not readable.
    """
    if not path.is_file():
        raise MediaError("no such file")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty")
    if path.suffix.lower() == ".gif":
        raise MediaError("a GIF is not read: save it as PNG, or as a video where it moves")
    if path.suffix.lower() in PICTURES:
        return PictureReader(path)
    if path.suffix.lower() not in VIDEOS:
        raise MediaError(f"'{path.suffix}' is neither a video ({' '.join(sorted(VIDEOS))}) nor a picture")
    reader = DECODERS[choose_decoder(decoder)](path)
    if len(reader) == 0:
        raise MediaError("the video has no frames")
    return reader


def read_mask(path: Path, indices: list[int], size: tuple[int, ...], decoder: str = "auto") -> Frames:
    """The frames of a mask that belong to these frames of its file -> uint8 [N, H, W, 3]; a picture serves for all.

    Raises:
        MediaError: it cannot be read, is shorter, or has another size than `size` (height, width).
    """
    try:
        reader = open_media(path, decoder)
        if len(reader) == 1:
            indices = [0] * len(indices)
        if max(indices) >= len(reader):
            raise MediaError(f"it has {len(reader)} frames and {max(indices) + 1} are wanted")
        frames = reader.read(indices)
        if frames.shape[1:3] != tuple(size):
            raise MediaError(f"it has {frames.shape[2]}x{frames.shape[1]} px, its picture {size[1]}x{size[0]}")
    except MediaError as error:
        raise MediaError(f"the mask {path.name}: {error}") from None
    return frames


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


def _upright(frame: "VideoFrame") -> Frames:
    # A phone films sideways and notes by how many degrees to turn; the other decoders do turn.
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


def _first_line(error: BaseException) -> str:
    """What an error says, without the times and source lines of C++ libraries: the same file gives the same reason."""
    said = getattr(error, "strerror", None) or str(error)
    text = re.sub(r"\[\d\d:\d\d:\d\d\] ?|\S+\.(cc|cpp|h):\d+[:,]? ?", "", said).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:160]
