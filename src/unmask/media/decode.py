"""Open a video or a picture and read just the frames that are wanted.

Every decoder gives the same frames for the same indices: index i is the i-th frame in order of presentation, shown as
`media.view` says, and frames that the file itself hides (before the start in its edit list) do not count. Which stream
is the video and when its frames are shown, `media.video` decides for all of them. PyAV is the reference. decord and
torchcodec bring an FFmpeg of their own: they give the same pixels to the bit, or refuse the file and name PyAV. Damage
inside a stream is the exception, which each conceals its own way.

A reader is opened in the process that uses it (a decord reader that crosses a fork hangs).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import (
    FORMATS,
    MEDIA,
    PICTURES,
    VIDEOS,
    Frames,
    MediaError,
    first_bytes,
    is_picture,
    is_video,
    picture_format,
)
from unmask.media.kinds import first_line as _first_line
from unmask.media.skip import decode_wanted, read_index
from unmask.media.still import MOST_PIXELS, PictureReader, open_picture
from unmask.media.video import Video, describe, opened

# Pixel formats that every FFmpeg since 4.1 converts to RGB alike. Others, such as those of 10 bits, go through a scaler
# that differs between releases by tens of grey levels at the edges of colours.
EXACT = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
EXACT |= {"gray", "rgb24", "bgr24", "rgba", "bgra", "rgb0", "bgr0"}
# Containers with a time of presentation for each frame, in which decord and torchcodec seek exactly. In AVI, MPEG and
# MPEG-TS they give other frames without a word, unless each frame can be decoded alone.
SEEKABLE = {"mov", "matroska", "webm"}


AT_ONCE = 2**27  # pixels that decord and torchcodec decode at once, which is held three times meanwhile

T = TypeVar("T")
Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Put = Callable[[int, Frame], None]


class Reader(Protocol):
    """An open video: `len()` frames, `fps` a second on average."""

    fps: float

    def __len__(self) -> int: ...

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """What `change` makes of each of these frames (its place in `indices`, uint8 [H, W, 3]), ascending.

        Frames are not held together, so a recipe that makes them smaller needs little memory.
        """

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """When these frames are shown, in seconds after the first one -> [N]."""


class _VideoReader:
    """What the readers of videos share.

    Raises:
        MediaError: the file is no video that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: Video = describe(path)
        self.fps = float(self.about.rate)

    def __len__(self) -> int:
        return len(self.about)

    def read(self, indices: list[int]) -> Frames:
        """Frames of these indices, ascending -> uint8 [N, H, W, 3]."""
        self.about.check_memory(len(indices))
        frames = np.empty((len(indices), *self.about.view.size, 3), np.uint8)
        self._fill(indices, frames.__setitem__)
        return frames

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """What `change` makes of each of these frames (its place in `indices`, uint8 [H, W, 3]), ascending."""
        found: dict[int, T] = {}

        def put(at: int, frame: Frame) -> None:
            found[at] = change(at, frame)

        self._fill(indices, put)
        return [found[at] for at in range(len(indices))]

    def _fill(self, indices: list[int], put: Put) -> None:
        """Decode these frames and hand on each, with its place in `indices`."""
        raise NotImplementedError

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """When these frames are shown, in seconds after the first one -> [N]."""
        return self.about.seconds(indices)


class PyavReader(_VideoReader):
    """PyAV: decodes what the wanted frames of an H.264 stream depend on, of others all up to the last wanted one."""

    def _fill(self, indices: list[int], put: Put) -> None:
        wanted = set(indices)
        try:
            found = set[int]()
            for decode in (self._decode_wanted, self._decode_all):
                if len(found) < len(wanted):
                    found |= self._put(decode(wanted), indices, put)
        except MediaError:
            raise
        except Exception as error:  # whatever a decoder meets in a damaged file
            raise MediaError(f"broken video stream ({_first_line(error)})") from error
        if lost := wanted - found:
            raise MediaError(f"the video ends before frame {min(lost)}: it is cut off")

    def _put(self, frames: Iterator[tuple[int, Any]], indices: list[int], put: Put) -> set[int]:
        """Hand on decoded frames, each for every place in `indices` of its number; which numbers there were."""
        found = set()
        for number, frame in frames:
            shown = self.about.view(frame.to_ndarray(format="rgb24"))
            for at in range(bisect_left(indices, number), bisect_right(indices, number)):
                put(at, shown)
            found.add(number)
        return found

    def _decode_wanted(self, wanted: set[int]) -> Iterator[tuple[int, Any]]:
        """The wanted frames with their numbers, found by their times; none where the file says too little."""
        with opened(self.path) as (container, stream):
            index = read_index(container, stream)
        if index is None or max(wanted) >= len(self):
            return
        numbers = {self.about.times[number]: number for number in wanted}
        with opened(self.path) as (container, stream):
            for frame in decode_wanted(container, index, set(numbers), stream):
                if frame.pts in numbers:
                    yield numbers[frame.pts], frame

    def _decode_all(self, wanted: set[int]) -> Iterator[tuple[int, Any]]:
        """The wanted frames with their numbers, found by counting all."""
        last = max(wanted)
        with opened(self.path) as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    yield number, frame
                if number >= last:
                    return


class _OtherReader(_VideoReader):
    """What a decoder with an FFmpeg of its own needs to give PyAV's frames; the first one is compared."""

    name = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if reason := self._unfit():
            raise self._refusal(reason)
        try:
            count = self._open()
        except Exception as error:  # whatever it meets in a damaged file
            raise self._refusal(_first_line(error)) from error
        if count < len(self):
            raise self._refusal(f"it counts {count} frames of {len(self)}")
        if not np.array_equal(self.read([0]), PyavReader(path).read([0])):
            raise self._refusal("its first frame is another one")

    def _fill(self, indices: list[int], put: Put) -> None:
        view = self.about.view
        some = max(1, AT_ONCE // (view.stored[0] * view.stored[1]))
        for start in range(0, len(indices), some):
            try:
                stored = view.undo_turns(self._decode(indices[start : start + some]))
            except Exception as error:  # whatever it meets in a damaged file
                raise self._refusal(_first_line(error)) from error
            for at, frame in enumerate(stored, start):
                put(at, view(frame))

    def _open(self) -> int:
        """Open the file and count its frames, hidden ones too."""
        raise NotImplementedError

    def _decode(self, indices: list[int]) -> Frames:
        raise NotImplementedError

    def _unfit(self) -> str | None:
        """Why this decoder cannot give the frames of this video exactly; None where it can."""
        about, (height, width) = self.about, self.about.view.stored
        if not is_video(self.path):  # its own FFmpeg takes no list of formats, and older ones guess otherwise
            return "the file does not begin as an MP4, MOV, Matroska, WebM or AVI does"
        seeks = SEEKABLE | ({"avi"} if about.intra_only else set())
        if not seeks & set(about.container.split(",")):
            return f"it does not seek exactly in the container {about.container}"
        if not about.alone:
            return "the file holds several videos"
        if about.pixel_format not in EXACT:
            return f"its pixel format {about.pixel_format} is converted to 8-bit RGB differently by each FFmpeg"
        if (height % 2 or width % 2) and about.pixel_format in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p"):
            return f"its colours are stored at half the size of {width}x{height} px, which is odd"
        if about.interlaced:
            return "it is interlaced"
        if about.view.quarter_turns and "mov" not in about.container:
            return "it is rotated, and not an MP4 or MOV"
        return None

    def _refusal(self, reason: str) -> MediaError:
        return MediaError(
            f"{self.name} does not give the frames of this video exactly ({reason}): choose data.recipe.decoder=pyav, "
            "which does"
        )


class DecordReader(_OtherReader):
    """decord: seeks to the key frame before each wanted frame, exact."""

    name = "decord"

    def _unfit(self) -> str | None:
        if not (self.about.closed or self.about.intra_only):
            return "its key frames are none to begin at, since frames after them may refer to frames before"
        return super()._unfit()

    def _open(self) -> int:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # It repeats the last good frame for one that it cannot read, and counts hidden ones: so PyAV counts.
        self.video = decord.VideoReader(f"file:{self.path.absolute()}", ctx=decord.cpu(0), num_threads=1)
        return len(self.video)

    def _decode(self, indices: list[int]) -> Frames:
        return np.asarray(self.video.get_batch(indices).asnumpy(), dtype=np.uint8)


class TorchcodecReader(_OtherReader):
    """TorchCodec, on the system's FFmpeg: scans the file once, then seeks exactly."""

    name = "torchcodec"

    def _unfit(self) -> str | None:
        if self.about.codec == "h264" and not self.about.closed:
            return "some of its key frames only begin a gradual refresh, or frames after them refer to frames before"
        return super()._unfit()

    def _open(self) -> int:
        decoder = import_module("torchcodec.decoders").VideoDecoder
        self.video = decoder(
            f"file:{self.path.absolute()}", stream_index=self.about.stream, seek_mode="exact", num_ffmpeg_threads=1,
            dimension_order="NHWC",
        )  # fmt: skip
        return len(self.video)

    def _decode(self, indices: list[int]) -> Frames:
        return np.asarray(self.video.get_frames_at(indices).data.numpy(), dtype=np.uint8)


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


def open_media(path: Path, decoder: str = "auto") -> Reader:
    """Open a video or a picture; which of the two it is, its content decides.

    Raises:
        MediaError: it is missing, empty or not readable.
    """
    first_bytes(path, 1)
    if path.suffix.lower() == ".gif":
        raise MediaError("a GIF is not read: save it as PNG, or as a video where it moves")
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
    """The frames of a mask that belong to these frames of its file -> uint8 [N, H, W, 3]; a picture serves for all.

    With `change`, what that makes of each of them (see `Reader.each`).

    Raises:
        MediaError: it cannot be read, is shorter, or has another size than `size` (height, width).
    """

    def check(frame: Frame) -> None:
        if frame.shape[:2] != tuple(size):
            raise MediaError(f"it has {frame.shape[1]}x{frame.shape[0]} px, its picture {size[1]}x{size[0]}")

    def checked(at: int, frame: Frame) -> T:
        check(frame)
        assert change is not None
        return change(at, frame)

    try:
        reader = open_media(path, decoder)
        if len(reader) == 1:
            indices = [0] * len(indices)
        if max(indices) >= len(reader):
            raise MediaError(f"it has {len(reader)} frames and {max(indices) + 1} are wanted")
        if change is not None:
            return reader.each(indices, checked)
        frames = reader.read(indices)
        check(frames[0])
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


__all__ = [
    "DECODERS", "FORMATS", "MOST_PIXELS", "PICTURES", "VIDEOS", "Frames", "MediaError", "PictureReader", "Reader",
    "burst_indices", "choose_decoder", "decoder_version", "open_media", "open_picture", "picture_format", "read_mask",
]  # fmt: skip
