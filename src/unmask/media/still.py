"""Read a picture as a person sees it: upright, in sRGB, with white behind what is transparent."""

import io
import struct
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import FORMATS, Frames, MediaError, first_line, picture_format

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 80_000_000  # of a picture, 240 MB as RGB: a file of a few kB may claim billions and fill the memory
STRIP = 2**22  # pixels whose colours are converted at once
SAME_COLOURS = 2  # grey levels: a profile that moves no colour by more is sRGB under another name, and is left alone
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
                whole = _transparent_colour(picture, path)
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

    def each(self, indices: list[int], change: Callable[[int, Frames], T]) -> list[T]:
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
    width, height = picture.size
    if width * height > MOST_PIXELS:
        return f"too large: {width}x{height} px, and pictures of more than {MOST_PIXELS:,} pixels are not read"
    # A phone's JPEG may hold a second view, and a HEIC several; neither moves.
    if picture.format in ("PNG", "WEBP", "AVIF") and getattr(picture, "is_animated", False):
        return "not a readable picture (it moves: save it as a video)"
    if picture.format == "TIFF" and getattr(picture, "n_frames", 1) > 1:
        return f"not a readable picture (it has {picture.n_frames} pages: save the one that is meant as PNG)"  # type: ignore[attr-defined]
    if picture.mode in ("I", "F"):
        return "not a readable picture (its values have 32 bits, and which is white is not known: save it with 8 bits)"
    return None


def _transparent_colour(picture: "Picture", path: Path) -> "Picture":
    """Set right what Pillow misreads of a PNG whose transparent colour (tRNS) is given at another depth than 8 bits."""
    from PIL import Image

    clear = picture.info.get("transparency")
    if picture.format != "PNG" or picture.mode not in ("L", "RGB", "I;16") or not isinstance(clear, int | tuple):
        return picture
    with path.open("rb") as file:  # the header chunk comes first (PNG, 11.2.1)
        depth = struct.unpack(">8x8x8xB", file.read(25))[0]
    if depth == 8:
        return picture
    profile = {key: value for key, value in picture.info.items() if key != "transparency"}
    if depth < 8:  # Pillow spreads the values over 0 to 255, but not this one
        picture.info["transparency"] = int(clear) * 255 // (2**depth - 1)  # type: ignore[arg-type]
        return picture
    alpha = Image.fromarray(np.where(_is_colour(picture, path, clear), 0, 255).astype(np.uint8))
    shown = Image.fromarray(_grey(picture)) if picture.mode == "I;16" else picture.copy()
    shown.info = {}
    shown.putalpha(alpha)
    shown.info = profile
    return shown


def _is_colour(picture: "Picture", path: Path, clear: Any) -> NDArray[np.bool_]:
    """Where a PNG of 16 bits has its transparent colour [H, W]; OpenCV reads those of RGB, of which Pillow keeps 8."""
    if picture.mode == "I;16":
        return np.asarray(np.asarray(picture) == clear)
    import cv2

    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise MediaError("not a readable picture (a PNG of 16 bits with a damaged transparent colour)")
    return np.asarray(values[..., 3] == 0 if values.shape[2] == 4 else (values[..., ::-1] == clear).all(2))


def to_rgb(picture: "Picture") -> Frames:
    """uint8 [H, W, 3], sRGB, of a picture in any mode.

    In strips of lines: Pillow holds four bytes a pixel, and each step of a conversion once more.
    """
    width, height = picture.size
    picture.load()
    shown = np.empty((height, width, 3), np.uint8)
    lines = max(1, STRIP // width)
    for top in range(0, height, lines):
        strip = picture.crop((0, top, width, min(top + lines, height)))
        shown[top : top + lines] = _strip_to_rgb(strip)
    return shown


def _strip_to_rgb(picture: "Picture") -> Frames:
    from PIL import Image

    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip to 255
        picture = Image.fromarray(_grey(picture))
    elif picture.mode == "P" or picture.has_transparency_data:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colours = to_srgb(picture.convert("RGB") if alpha else picture, profile)
    if alpha:
        white = Image.new("RGBA", picture.size, "white")
        colours.putalpha(alpha)
        colours = Image.alpha_composite(white, colours)
    return np.asarray(colours.convert("RGB"), dtype=np.uint8)


def _grey(picture: "Picture") -> NDArray[np.uint8]:
    """The upper 8 of 16 bits [H, W]."""
    return (np.asarray(picture) >> 8).astype(np.uint8)


def to_srgb(picture: "Picture", profile: Any) -> "Picture":
    """Convert colours from an ICC profile to sRGB -> RGB; as it is where the profile is sRGB, damaged or unfit."""
    from PIL import ImageCms

    if not isinstance(profile, bytes) or not profile:
        return picture
    mode = {"1": "L", "LA": "L"}.get(picture.mode, picture.mode)
    if mode not in ("RGB", "L", "CMYK", "LAB") or (transform := _transform(profile, mode)) is None:
        return picture
    return ImageCms.applyTransform(picture.convert(mode), transform) or picture


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """From an ICC profile to sRGB; None where it changes nothing that is seen, or cannot be used, as in browsers."""
    from PIL import Image, ImageCms

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode in ("CMYK", "LAB"):
        return transform
    steps = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    shown = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform), np.int16)
    moved = np.abs(shown - (grid if mode == "RGB" else grid[..., None])).max()
    return transform if moved > SAME_COLOURS else None
