"""Read a picture as a viewer displays it: upright, in sRGB, with transparent areas composited on white."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from unmask.media.colours import restore_transparency, to_rgb
from unmask.media.kinds import FORMATS, Frame, Frames, MediaError, first_line, picture_format

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 80_000_000  # per picture, 240 MB as RGB: a file of a few kB may declare billions and exhaust memory
ADVICE = {
    "GIF": "a GIF: save it as PNG or, if it is animated, as a video",
    "JPEG XL": "a JPEG XL picture: save it as PNG",
    "JPEG 2000": "a JPEG 2000 picture: save it as PNG",
}


T = TypeVar("T")


class PictureReader:
    """Read a picture like a video of one frame, rotated upright by its EXIF orientation.

    Transparent areas are composited on white. Colours are converted to sRGB if the file has another ICC profile. Of
    16-bit channels, only the upper 8 bits are kept.
    """

    fps = 1.0

    def __init__(self, path: Path) -> None:
        from PIL import ImageOps, UnidentifiedImageError

        try:
            with warnings.catch_warnings(), open_picture(path) as picture:
                warnings.simplefilter("ignore")  # Pillow warns about metadata that it skips
                whole = restore_transparency(picture, path)
                ImageOps.exif_transpose(whole, in_place=True)
                self.frame = to_rgb(whole)
        except MediaError:
            raise
        except UnidentifiedImageError as error:
            held = picture_format(path)
            said = f"{held} of an unsupported kind: save it as PNG with 8 bits per channel"
            said = said if held else f"none of the formats {', '.join(FORMATS)}"
            raise MediaError(f"not a readable picture (it holds {said})") from error
        except Exception as error:  # Pillow's parsers raise many kinds of errors on damaged files
            raise MediaError(f"not a readable picture ({first_line(error)})") from error

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int]) -> Frames:
        """Return the picture once per index, uint8 [N, H, W, 3]; all copies share the same memory."""
        return self.frame[None] if len(indices) == 1 else np.broadcast_to(self.frame, (len(indices), *self.frame.shape))

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """Call `change(position, picture)` for each position in `indices` and return the results."""
        return [change(at, self.frame) for at in range(len(indices))]

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """Return a presentation time of 0 for each index [N]."""
        return np.zeros(len(indices))


def open_picture(path: Path) -> "Picture":
    """Open a picture and read its header, without decoding its pixels.

    Raises:
        MediaError: the picture has more than `MOST_PIXELS` pixels, an unsupported format or several pages, or is
            animated.
    """
    from PIL import Image

    held = picture_format(path)
    if held in ADVICE:
        raise MediaError(f"not a readable picture (it holds {ADVICE[held]})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about decompression bombs (our limit is lower) and skipped metadata
            picture = Image.open(path, formats=_formats(held))
            reason = _unfit(picture)
    except Image.DecompressionBombError:  # Pillow's own limit; the size is then unknown here
        raise MediaError(f"too large: expected a picture of at most {MOST_PIXELS:,} pixels") from None
    if reason:
        picture.close()
        raise MediaError(reason)
    return picture


def _formats(held: str | None) -> tuple[str, ...]:
    """Return the Pillow parsers for a picture format; HEIC needs another package, because Pillow cannot read it."""
    if held != "HEIC":
        return FORMATS
    if not find_spec("pillow_heif"):
        raise MediaError(
            "not a readable picture (HEIC needs another package: pip install pillow-heif, or save it as JPEG)"
        )
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _unfit(picture: "Picture") -> str | None:
    """Return why a picture is rejected by its header; None if it is accepted."""
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    width, height = picture.size
    if width * height > MOST_PIXELS:
        return f"too large: {width}x{height} px, expected a picture of at most {MOST_PIXELS:,} pixels"
    # A phone's JPEG may contain a second picture, and a HEIC several; neither is animated.
    if isinstance(picture, PngImageFile | WebPImageFile | AvifImageFile) and picture.is_animated:
        return "not a readable picture (it is animated: save it as a video)"
    if isinstance(picture, TiffImageFile) and picture.n_frames > 1:
        return f"not a readable picture (it has {picture.n_frames} pages: save the one that you need as PNG)"
    if picture.mode in ("I", "F"):
        return (
            "not a readable picture (its values have 32 bits, and the value of white is unknown: save it with 8 bits)"
        )
    return None
