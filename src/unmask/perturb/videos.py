"""Perturbations of videos: re-encoding, scaling down, a lower frame rate.

Frames are read as `prepare` reads them, upright and with square pixels, and written to an MP4 without sound and
metadata, in constant memory. A frame with an odd side is padded by a row or column. Encoders use their default preset
and one thread, so that the pixels do not depend on the machine. Unlike in direct transcoding, frames are converted to
RGB.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from unmask.files import replacing
from unmask.media.encode import Clock, VideoWriter, pad_even
from unmask.media.kinds import Frame
from unmask.media.stream import clock, stream
from unmask.perturb.kinds import checked, chosen

PRESET, GOP = "medium", 250  # the defaults of x264 and x265
X265 = "log-level=error:pools=none:frame-threads=1"
HIGHEST = 51  # highest CRF of both encoders
CRF, FACTOR = f"CRFs from 0 to {HIGHEST}", "factors above 0 and at most 1"
FINE = 17  # CRF at which x264's losses are hardly visible


class H264:
    """Re-encode a video as H.264.

    Args:
        levels: x264's constant rate factor of each level, 0 (lossless) to 51. The levels `c23` and `c40` of
            FaceForensics++ (arXiv:1901.08971) are 23 and 40.
    """

    videos: ClassVar[bool] = True
    pictures: ClassVar[bool] = False

    def __init__(self, levels: Sequence[int]) -> None:
        self.levels = checked(levels, _is_crf, CRF)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `H.264 CRF 23`."""
        return f"H.264 CRF {chosen(self.levels, level)}"

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.mp4`; see `OnFiles.file`."""
        if not level:
            return path
        fps, times = clock(path)
        return _write(_made(path, folder), stream(path), fps, times, chosen(self.levels, level))


class H265:
    """Re-encode a video as H.265 (HEVC).

    Args:
        levels: x265's constant rate factor of each level, 0 to 51.

    Raises:
        ValueError: PyAV cannot write H.265. This is checked here, so that a suite fails before it starts.
    """

    videos: ClassVar[bool] = True
    pictures: ClassVar[bool] = False

    def __init__(self, levels: Sequence[int]) -> None:
        if "libx265" not in av.codecs_available:
            raise ValueError(
                "this PyAV cannot write H.265: it has no libx265; pip install --force-reinstall --only-binary av av"
            )
        self.levels = checked(levels, _is_crf, CRF)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `H.265 CRF 28`."""
        return f"H.265 CRF {chosen(self.levels, level)}"

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.mp4`; see `OnFiles.file`."""
        if not level:
            return path
        crf, (fps, times) = chosen(self.levels, level), clock(path)
        made = _made(path, folder)
        with replacing(made) as part:
            _write_h265(part, stream(path), fps, times, crf)
        return made


class VideoSize:
    """Scale a video down, averaging over areas, and encode it as H.264.

    Args:
        levels: for each level, the factor by which both sides are multiplied, above 0 and at most 1; the new sides are
            rounded to even numbers.
        crf: x264's constant rate factor, 0 (lossless) to 51.
    """

    videos: ClassVar[bool] = True
    pictures: ClassVar[bool] = False

    def __init__(self, levels: Sequence[float], crf: int = 23) -> None:
        self.levels, self.crf = checked(levels, _is_fraction, FACTOR), _checked_crf(crf)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `video scaled by 0.5, H.264 CRF 23`."""
        return f"video scaled by {chosen(self.levels, level):g}, H.264 CRF {self.crf}"

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.mp4`; see `OnFiles.file`."""
        if not level:
            return path
        factor, (fps, times) = chosen(self.levels, level), clock(path)
        frames = (_scaled(frame, factor) for frame in stream(path))
        return _write(_made(path, folder), frames, fps, times, self.crf)


class FrameRate:
    """Drop frames of a video evenly and encode the remaining frames as H.264, each at its original time.

    Args:
        levels: fraction of the frames that each level keeps, above 0 and at most 1.
        crf: x264's constant rate factor, 0 (lossless) to 51.
    """

    videos: ClassVar[bool] = True
    pictures: ClassVar[bool] = False

    def __init__(self, levels: Sequence[float], crf: int = FINE) -> None:
        self.levels, self.crf = checked(levels, _is_fraction, FACTOR), _checked_crf(crf)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `frame rate times 0.5, H.264 CRF 17`."""
        return f"frame rate times {chosen(self.levels, level):g}, H.264 CRF {self.crf}"

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.mp4`; see `OnFiles.file`."""
        if not level:
            return path
        factor, (fps, times) = chosen(self.levels, level), clock(path)
        kept = _kept(len(times.times), factor)
        frames = (frame for number, frame in enumerate(stream(path)) if number in kept)
        shown = [times.times[number] for number in sorted(kept)]
        thinned = Clock(shown, times.base, times.times[-1] + times.last - shown[-1])
        return _write(_made(path, folder), frames, fps * factor, thinned, self.crf)


def _write(path: Path, frames: Iterable[Frame], fps: float, times: Clock, crf: int) -> Path:
    """Encode frames [H, W, 3] of any size as H.264."""
    with VideoWriter(path, fps, crf, gop=GOP, preset=PRESET, clock=times) as film:
        for frame in frames:
            film.add(pad_even(frame))
    return path


def _write_h265(path: Path, frames: Iterable[Frame], fps: float, times: Clock, crf: int) -> None:
    """Encode frames [H, W, 3] of any size as H.265."""
    options = {"crf": str(crf), "preset": PRESET, "x265-params": X265}
    # With "file:", FFmpeg does not mistake a name such as 12:30.mp4 for a protocol.
    with av.open(f"file:{path.absolute()}", "w", format="mp4") as container:
        film = container.add_stream("libx265", rate=Fraction(fps).limit_denominator(1001), options=options)
        context = film.codec_context
        context.time_base, context.gop_size, context.codec_tag = times.base, GOP, "hvc1"
        context.colorspace, context.color_range = int(Colorspace.ITU601), int(ColorRange.MPEG)
        film.pix_fmt = "yuv420p"
        for frame, time in zip(frames, times.times, strict=False):  # a file with a damaged end may give fewer frames
            even = np.ascontiguousarray(pad_even(frame))
            if not context.is_open:
                film.height, film.width = even.shape[:2]
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
            picture.pts, picture.time_base = time, times.base
            container.mux(film.encode(picture))
        container.mux(film.encode())


def _made(path: Path, folder: Path) -> Path:
    return folder / f"{path.stem}.mp4"


def _scaled(frame: Frame, factor: float) -> Frame:
    """Scale the sides of a frame [H, W, 3] by a factor, and round them to even numbers of px, at least 2."""
    height, width = (2 * max(1, round(factor * side / 2)) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _kept(count: int, factor: float) -> set[int]:
    """Return the numbers of the frames to keep: 0, and each number at which int(number * `factor`) increases."""
    whole = [int(number * factor + 1e-9) for number in range(count)]
    return {number for number in range(count) if number == 0 or whole[number] > whole[number - 1]}


def _checked_crf(crf: int) -> int:
    if not _is_crf(crf):
        raise ValueError(f"crf={crf}: expected 0 to {HIGHEST}")
    return crf


def _is_crf(crf: int) -> bool:
    return isinstance(crf, int) and 0 <= crf <= HIGHEST


def _is_fraction(factor: float) -> bool:
    return 0 < factor <= 1
