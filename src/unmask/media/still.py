"""Read a picture as a person sees it: upright, in sRGB, with white behind what is transparent."""

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

MOST_PIXELS = 80_000_000  # of a picture, 240 MB as RGB: a file of a few kB may claim billions and fill the memory
ADVICE = {
    "GIF": "a GIF: save it as PNG, or as a video where it moves",
    "JPEG XL": "a JPEG XL picture: save it as PNG",
    "JPEG 2000": "a JPEG 2000 picture: save it as PNG",
}


T = TypeVar("T")


class PictureReader:
    """A picture as a video of one frame, turned upright as its EXIF says; what is transparent shows white behind it.

    Colours are converted to sRGB where the file holds another ICC profile. Of 16 bits a channel the upper 8 are taken,
    in grey as in colour.
    """

    fps = 1.0

    def __init__(self, path: Path) -> None:
        from PIL import ImageOps, UnidentifiedImageError

        try:
            with warnings.catch_warnings(), open_picture(path) as picture:
                warnings.simplefilter("ignore")  # of Pillow about metadata that it skips
                whole = restore_transparency(picture, path)
                ImageOps.exif_transpose(whole, in_place=True)
                self.frame = to_rgb(whole)
        except MediaError:
            raise
        except UnidentifiedImageError as error:
            held = picture_format(path)
            said = f"{held} of a kind that is not read: save it as PNG with 8 bits a channel"
            said = said if held else f"no {', '.join(FORMATS)}"
            raise MediaError(f"not a readable picture (it holds {said})") from error
        except Exception as error:  # whatever Pillow's parsers meet in a damaged file
            raise MediaError(f"not a readable picture ({first_line(error)})") from error

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int]) -> Frames:
        """The picture once for each index -> uint8 [N, H, W, 3]; of several, all are the same memory."""
        return self.frame[None] if len(indices) == 1 else np.broadcast_to(self.frame, (len(indices), *self.frame.shape))

    def each(self, indices: list[int], change: Callable[[int, Frame], T]) -> list[T]:
        """What `change` makes of the picture for each place in `indices`."""
        return [change(at, self.frame) for at in range(len(indices))]

    def times(self, indices: list[int]) -> NDArray[np.float64]:
        """0 for each index."""
        return np.zeros(len(indices))


def open_picture(path: Path) -> "Picture":
    """Open a picture and read its header; its pixels are not decoded.

    Raises:
        MediaError: it claims more than `MOST_PIXELS`, moves, has several pages, or is of a format that is not read.
    """
    from PIL import Image

    held = picture_format(path)
    if held in ADVICE:
        raise MediaError(f"not a readable picture (it holds {ADVICE[held]})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, for which our limit is lower, and of metadata that is skipped
            picture = Image.open(path, formats=_formats(held))
            reason = _unfit(picture)
    except Image.DecompressionBombError:  # so many that Pillow does not say how many
        raise MediaError(f"too large: pictures of more than {MOST_PIXELS:,} pixels are not read") from None
    if reason:
        picture.close()
        raise MediaError(reason)
    return picture


def _formats(held: str | None) -> tuple[str, ...]:
    """The parsers of Pillow for a file; HEIC needs a package of its own, which PyPI's Pillow does not bring."""
    if held != "HEIC":
        return FORMATS
    if not find_spec("pillow_heif"):
        raise MediaError(
            "not a readable picture (HEIC needs another package: pip install pillow-heif, or save as JPEG)"
        )
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _unfit(picture: "Picture") -> str | None:
    """Why a picture is refused by its header; None where it is not."""
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    width, height = picture.size
    if width * height > MOST_PIXELS:
        return f"too large: {width}x{height} px, and pictures of more than {MOST_PIXELS:,} pixels are not read"
    # A phone's JPEG may hold a second view, and a HEIC several; neither moves.
    if isinstance(picture, PngImageFile | WebPImageFile | AvifImageFile) and picture.is_animated:
        return "not a readable picture (it moves: save it as a video)"
    if isinstance(picture, TiffImageFile) and picture.n_frames > 1:
        return f"not a readable picture (it has {picture.n_frames} pages: save the one that is meant as PNG)"
    if picture.mode in ("I", "F"):
        return "not a readable picture (its values have 32 bits, and which is white is not known: save it with 8 bits)"
    return None
