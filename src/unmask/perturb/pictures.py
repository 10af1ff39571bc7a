"""Perturbations of pictures: re-encoding, resizing, screenshots.

A file is read as `prepare` reads it, upright and in sRGB, and written to a new file without metadata. If crops are
perturbed instead of a file, every frame is changed in the same way. The argument `seed` is not used.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from unmask.media.kinds import Frame, MediaError, first_bytes, first_line, is_picture
from unmask.media.reader import open_media
from unmask.perturb.kinds import checked, chosen

SUFFIXES = {"JPEG": ".jpg", "WEBP": ".webp", "AVIF": ".avif", "PNG": ".png"}
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
QUALITY, FACTOR = "qualities from 1 to 100", "factors above 0 and at most 1"
SPEED = 8  # of the AVIF encoder; Pillow's default, 6, takes two to four times as long for 0.1 to 0.2 dB more
LARGEST = 4.0  # largest factor of a screenshot

Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


class JpegLevel(TypedDict):
    """How a JPEG is saved: with libjpeg's `quality`, 1 to 100, and chroma `subsampling`, one of `SUBSAMPLINGS`."""

    quality: int
    subsampling: str


class Jpeg:
    """Save a picture as JPEG.

    Args:
        levels: for each level, `quality` and `subsampling`; see `JpegLevel`.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[JpegLevel]) -> None:
        kinds = ", ".join(SUBSAMPLINGS)
        self.levels = checked(levels, _is_jpeg, f"mappings {{quality: 1 to 100, subsampling: one of {kinds}}}")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `JPEG quality 75, 4:2:0`."""
        one = chosen(self.levels, level)
        return f"JPEG quality {one['quality']}, {one['subsampling']}"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Encode and decode each crop [N, 3, S, S]."""
        return each(x, lambda picture: saved(picture, "JPEG", **chosen(self.levels, level))) if level else x

    def frame(self, frame: Frame, level: int) -> Frame:
        """Encode and decode a frame [H, W, 3]."""
        return _pixels(saved(_image(frame), "JPEG", **chosen(self.levels, level))) if level else frame

    def moved(self, points: NDArray[np.float32], level: int) -> NDArray[np.float32]:
        """Return the points [..., 2] themselves: a JPEG has the same size."""
        return points

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.jpg`; see `OnFiles.file`."""
        return _write(_read(path), path, folder, "JPEG", **chosen(self.levels, level)) if level else path


class WebP:
    """Save a picture as lossy WebP, as messengers and websites do.

    Args:
        levels: quality of each level, 1 to 100.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[int]) -> None:
        self.levels = checked(levels, _is_quality, QUALITY)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `WebP quality 75`."""
        return f"WebP quality {chosen(self.levels, level)}"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Encode and decode each crop [N, 3, S, S]."""
        return each(x, lambda picture: saved(picture, "WEBP", quality=chosen(self.levels, level))) if level else x

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.webp`; see `OnFiles.file`."""
        return _write(_read(path), path, folder, "WEBP", quality=chosen(self.levels, level)) if level else path


class Avif:
    """Save a picture as AVIF (4:2:0). The encoder uses one thread, so that the bytes do not depend on the machine.

    Args:
        levels: quality of each level, 1 to 100.

    Raises:
        ValueError: Pillow cannot write AVIF. This is checked here, so that a suite fails before it starts.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[int]) -> None:
        if not features.check("avif"):
            raise ValueError("this Pillow cannot write AVIF; pip install --upgrade --force-reinstall 'pillow>=11.3'")
        self.levels = checked(levels, _is_quality, QUALITY)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `AVIF quality 60`."""
        return f"AVIF quality {chosen(self.levels, level)}"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Encode and decode each crop [N, 3, S, S]."""
        return each(x, lambda picture: saved(picture, "AVIF", **self._options(level))) if level else x

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.avif`; see `OnFiles.file`."""
        return _write(_read(path), path, folder, "AVIF", **self._options(level)) if level else path

    def _options(self, level: int) -> dict[str, int]:
        return {"quality": chosen(self.levels, level), "speed": SPEED, "max_threads": 1}


class Resize:
    """Shrink a picture and save it losslessly; a crop is then enlarged to its original size.

    Args:
        levels: for each level, the factor by which both sides are multiplied, above 0 and at most 1.
        filter: resampling filter; except for `nearest`, Pillow's filters prevent aliasing.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[float], filter: Filter = "bicubic") -> None:
        self.levels, self.filter = checked(levels, _is_fraction, FACTOR), filter
        self._filter = _resampling("filter", filter)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `resized by 0.5, bicubic`."""
        return f"resized by {chosen(self.levels, level):g}, {self.filter}"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Shrink each crop [N, 3, S, S], and enlarge it to its original size with the same filter."""
        return each(x, lambda picture: self._small(picture, level).resize(picture.size, self._filter)) if level else x

    def frame(self, frame: Frame, level: int) -> Frame:
        """Shrink a frame [H, W, 3] -> [h, w, 3]."""
        return _pixels(self._small(_image(frame), level)) if level else frame

    def moved(self, points: NDArray[np.float32], level: int) -> NDArray[np.float32]:
        """Map points [..., 2], in px, from the original frame to the smaller frame."""
        return np.asarray(points * np.float32(chosen(self.levels, level))) if level else points

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.png`, smaller than the original; see `OnFiles.file`."""
        return _write(self._small(_read(path), level), path, folder, "PNG") if level else path

    def _small(self, picture: Image.Image, level: int) -> Image.Image:
        return _scaled(picture, chosen(self.levels, level), self._filter)


class DownUp:
    """Shrink a picture, enlarge it to its original size, and save it losslessly.

    Args:
        levels: for each level, the factor by which both sides are multiplied, above 0 and at most 1.
        down: resampling filter for shrinking.
        up: resampling filter for enlarging.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[float], down: Filter = "box", up: Filter = "bilinear") -> None:
        self.levels, self.down, self.up = checked(levels, _is_fraction, FACTOR), down, up
        self._down, self._up = _resampling("down", down), _resampling("up", up)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `resized by 0.5 (box) and back (bilinear)`."""
        return f"resized by {chosen(self.levels, level):g} ({self.down}) and back ({self.up})"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Resize each crop [N, 3, S, S] down and up."""
        return each(x, lambda picture: self._resized(picture, level)) if level else x

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.png`; see `OnFiles.file`."""
        return _write(self._resized(_read(path), level), path, folder, "PNG") if level else path

    def _resized(self, picture: Image.Image, level: int) -> Image.Image:
        return _scaled(picture, chosen(self.levels, level), self._down).resize(picture.size, self._up)


class Screenshot:
    """Simulate a screenshot: scale a picture, cut off its border and save it losslessly.

    Scaling moves the pixels off the original grid, and the cut moves the 8 px grid of an earlier compression. A crop
    is then resized to its original size.

    Args:
        levels: for each level, the factor by which both sides are multiplied, such as 1.25 on a screen scaled to 125 %.
        border: width of the border that is cut off on each side after scaling, px.
    """

    videos: ClassVar[bool] = False
    pictures: ClassVar[bool] = True

    def __init__(self, levels: Sequence[float], border: int = 3) -> None:
        self.levels = checked(levels, _is_scale, f"factors above 0 and at most {LARGEST:g}")
        if border < 0:
            raise ValueError(f"border={border}: expected 0 px or more")
        self.border = border

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `screenshot at scale 0.8, cropped by 3 px`."""
        return f"screenshot at scale {chosen(self.levels, level):g}, cropped by {self.border} px"

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Simulate a screenshot of each crop [N, 3, S, S], and resize it to its original size."""
        bilinear = Image.Resampling.BILINEAR
        return each(x, lambda picture: self._captured(picture, level).resize(picture.size, bilinear)) if level else x

    def frame(self, frame: Frame, level: int) -> Frame:
        """Simulate a screenshot of a frame [H, W, 3] -> [h, w, 3]."""
        return _pixels(self._captured(_image(frame), level)) if level else frame

    def moved(self, points: NDArray[np.float32], level: int) -> NDArray[np.float32]:
        """Map points [..., 2], in px, from the original frame to the screenshot."""
        return np.asarray(points * np.float32(chosen(self.levels, level)) - self.border) if level else points

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write `NAME.png`, whose size differs from the original's; see `OnFiles.file`."""
        return _write(self._captured(_read(path), level), path, folder, "PNG") if level else path

    def _captured(self, picture: Image.Image, level: int) -> Image.Image:
        shown = _scaled(picture, chosen(self.levels, level), Image.Resampling.BILINEAR)
        cut = min(self.border, (min(shown.size) - 1) // 2)
        return shown.crop((cut, cut, shown.width - cut, shown.height - cut))


def each(x: NDArray[np.uint8], change: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    """Return the RGB frames x, uint8 [N, 3, H, W], with `change` applied to each."""
    made = np.empty_like(x)
    for to, frame in zip(made, x, strict=True):
        to[:] = np.asarray(change(_image(frame.transpose(1, 2, 0)))).transpose(2, 0, 1)
    return made


def saved(picture: Image.Image, kind: str, **how: object) -> Image.Image:
    """Encode a picture in one of Pillow's formats, such as `JPEG`, and decode it again to RGB.

    Raises:
        MediaError: the format cannot hold the picture.
    """
    return Image.open(io.BytesIO(_encoded(picture, kind, **how))).convert("RGB")


def _encoded(picture: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **how)
    except (OSError, ValueError) as error:  # the picture has too many pixels on one side
        size = f"{picture.width}x{picture.height} px"
        raise MediaError(f"cannot be saved as {kind} at {size} ({first_line(error)})") from error
    return buffer.getvalue()


def _write(picture: Image.Image, path: Path, folder: Path, kind: str, **how: object) -> Path:
    """Save a picture in `folder`, under the name of `path` with the suffix of the format `kind`."""
    made = folder / f"{path.stem}{SUFFIXES[kind]}"
    made.write_bytes(_encoded(picture, kind, **how))
    return made


def _read(path: Path) -> Image.Image:
    """Read a picture as `prepare` does."""
    first_bytes(path, 1)
    if not is_picture(path):
        raise MediaError("not a picture, but this perturbation can change only pictures")
    return _image(open_media(path).read([0])[0])


def _image(frame: Frame) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame))


def _pixels(picture: Image.Image) -> Frame:
    return np.asarray(picture, np.uint8)


def _scaled(picture: Image.Image, factor: float, how: Image.Resampling) -> Image.Image:
    width, height = (max(1, round(factor * side)) for side in picture.size)
    return picture.resize((width, height), how)


def _resampling(key: str, name: str) -> Image.Resampling:
    names = [one.name.lower() for one in Image.Resampling]
    if name not in names:
        raise ValueError(f"{key}={name}: expected one of {', '.join(names)}")
    return Image.Resampling[name.upper()]


def _is_quality(quality: int) -> bool:
    return isinstance(quality, int) and 1 <= quality <= 100


def _is_fraction(factor: float) -> bool:
    return 0 < factor <= 1


def _is_scale(factor: float) -> bool:
    return 0 < factor <= LARGEST


def _is_jpeg(level: JpegLevel) -> bool:
    return set(level) == {"quality", "subsampling"} and (
        _is_quality(level["quality"]) and level["subsampling"] in SUBSAMPLINGS
    )
