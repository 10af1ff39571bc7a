"""Convert a picture to the colours a viewer sees: 8-bit sRGB, with transparent areas composited on white."""

import io
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import Frame, MediaError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageCms import ImageCmsTransform

STRIP = 2**22  # pixels converted at once
SAME_COLOURS = 2  # grey levels; a profile that shifts no colour by more than this is treated as sRGB


def restore_transparency(picture: "Picture", path: Path) -> "Picture":
    """Correct a PNG's transparent colour (tRNS), which Pillow misreads unless its bit depth is 8; return the image."""
    from PIL import Image

    clear = picture.info.get("transparency")
    if picture.format != "PNG" or picture.mode not in ("L", "RGB", "I;16") or not isinstance(clear, int | tuple):
        return picture
    with path.open("rb") as file:  # the header chunk comes first (PNG, 11.2.1)
        depth = struct.unpack(">8x8x8xB", file.read(25))[0]
    if depth == 8:
        return picture
    profile = {key: value for key, value in picture.info.items() if key != "transparency"}
    if depth < 8:  # Pillow scales pixel values to [0, 255], but not the transparent value
        picture.info["transparency"] = int(clear) * 255 // (2**depth - 1)  # type: ignore[arg-type]
        return picture
    alpha = Image.fromarray(np.where(_is_colour(picture, path, clear), 0, 255).astype(np.uint8))
    shown = Image.fromarray(_grey(picture)) if picture.mode == "I;16" else picture.copy()
    shown.info = {}
    shown.putalpha(alpha)
    shown.info = profile
    return shown


def _is_colour(picture: "Picture", path: Path, clear: object) -> NDArray[np.bool_]:
    """Return a mask [H, W] of a 16-bit PNG's transparent pixels.

    RGB values are read with OpenCV, because Pillow keeps only 8 of their 16 bits.
    """
    if picture.mode == "I;16":
        return np.asarray(np.asarray(picture) == clear)
    import cv2

    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise MediaError("not a readable picture (OpenCV cannot decode this 16-bit PNG with a transparent colour)")
    return np.asarray(values[..., 3] == 0 if values.shape[2] == 4 else (values[..., ::-1] == clear).all(2))


def to_rgb(picture: "Picture") -> Frame:
    """Convert a picture in any mode to sRGB, uint8 [H, W, 3].

    The picture is converted in strips to save memory: Pillow needs four bytes per pixel, and another four for each
    conversion step.
    """
    width, height = picture.size
    picture.load()
    shown = np.empty((height, width, 3), np.uint8)
    lines = max(1, STRIP // width)
    for top in range(0, height, lines):
        strip = picture.crop((0, top, width, min(top + lines, height)))
        shown[top : top + lines] = _strip_to_rgb(strip)
    return shown


def _strip_to_rgb(picture: "Picture") -> Frame:
    from PIL import Image

    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to 255
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
    """Return the upper 8 bits of 16-bit grey values [H, W]."""
    return (np.asarray(picture) >> 8).astype(np.uint8)


def to_srgb(picture: "Picture", profile: object) -> "Picture":
    """Convert a picture from its ICC profile to sRGB; return it unchanged if no conversion is needed or possible."""
    from PIL import ImageCms

    if not isinstance(profile, bytes) or not profile:
        return picture
    mode = {"1": "L", "LA": "L"}.get(picture.mode, picture.mode)
    if mode not in ("RGB", "L", "CMYK", "LAB") or (transform := _transform(profile, mode)) is None:
        return picture
    return ImageCms.applyTransform(picture.convert(mode), transform) or picture


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Return the transform from an ICC profile to sRGB, or None if it changes nothing visible or cannot be used."""
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
