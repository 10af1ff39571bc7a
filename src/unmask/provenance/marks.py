"""Files with machine-readable words about where they come from: text and XMP in a PNG, a JPEG or an MP4.

The terms are IPTC's digital source types (https://cv.iptc.org/newscodes/digitalsourcetype). A mark must never become
the label: `source_marks` gives every value one length, so that the marks of real and fake files are equally long, and
every XMP packet has one length too.
"""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from unmask.files import open_regular, replacing
from unmask.provenance import xmp

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = "trainedAlgorithmicMedia"  # by a model that learned from others' pictures
RENDERED = "algorithmicMedia"  # by an algorithm that learned from nothing
TRAINED = "compositeWithTrainedAlgorithmicMedia"  # in part by a model that learned from others' pictures
ALTERED = "algorithmicallyEnhanced"  # altered by an algorithm that learned from nothing
SYNTHETIC = {GENERATED, RENDERED, TRAINED, ALTERED, "compositeSynthetic"}
UNSPECIFIED = "unspecified"
_TYPE = "digitalSourceType"
_LENGTH = 96  # characters of each value
_HEADER = 33  # bytes of a PNG's signature and first chunk


def source_marks(source: str, comment: str) -> dict[str, str]:
    """Marks that say where a picture or video comes from.

    Args:
        source: a digital source type of IPTC such as `RENDERED`, or `UNSPECIFIED`.
        comment: for people, at most 96 characters.

    Raises:
        ValueError: the comment is too long.
    """
    if len(comment) > _LENGTH:
        raise ValueError(f"a comment of {len(comment)} characters; at most {_LENGTH} fit: {comment}")
    term = source if source == UNSPECIFIED else TERMS + source
    synthetic = "true" if source in SYNTHETIC else UNSPECIFIED
    marks = {_TYPE: term, "synthetic": synthetic, "comment": comment}
    return {key: value.ljust(_LENGTH) for key, value in marks.items()}


def write_picture(path: Path, pixels: NDArray[np.uint8], marks: Mapping[str, str], quality: int = 90) -> None:
    """Save RGB [H, W, 3] or grey [H, W] pixels with their marks; the file appears only when it is complete.

    Args:
        path: `.png` or `.jpg`; its folder is made.
        pixels: uint8.
        marks: written under these very keys, a `digitalSourceType` as XMP too; Latin-1 in a PNG.
        quality: of a JPEG.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix.lower() == ".png":
        content = encode_png(pixels, marks)
    elif path.suffix.lower() in (".jpg", ".jpeg"):
        file = io.BytesIO()
        more = {"xmp": packet} if (packet := xmp_packet(marks)) else {}
        comment = json.dumps(dict(marks)).encode()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, comment=comment, **more)
        content = file.getvalue()
    else:
        raise ValueError(f"{path}: pictures are written as .png or .jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(content)


def encode_png(pixels: NDArray[np.uint8], marks: Mapping[str, str]) -> bytes:
    """RGB [H, W, 3] or grey [H, W] pixels as a PNG with a text chunk a mark, and XMP if they name a source.

    OpenCV encodes five times as fast as Pillow and knows no text, so the chunks are put in behind the header.
    """
    plain = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
    chunks = [b"tEXt" + key.encode("latin-1") + b"\0" + value.encode("latin-1") for key, value in marks.items()]
    if packet := xmp_packet(marks):
        chunks.append(xmp.png_chunk(packet))
    text = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return plain[:_HEADER] + text + plain[_HEADER:]


def xmp_packet(marks: Mapping[str, str]) -> bytes:
    """What marks say of their source as XMP, in 1,024 bytes whatever it is; empty where they say nothing."""
    if _TYPE not in marks:
        return b""
    term = marks[_TYPE].strip()
    return xmp.packet("" if term == UNSPECIFIED else term)


def read_marks(path: Path) -> dict[str, str]:
    """The marks of a picture or video, without the blanks that fill them up; empty where it has none.

    A digital source type that another program wrote as XMP is found too, in a PNG if it lies before the pixels. No
    pixel is decoded.

    Raises:
        ValueError: the file is no picture or video that can be read, or no regular file.
    """
    open_regular(path).close()
    try:
        found, packet = _read_picture(path)
    except UnidentifiedImageError:
        found, packet = _read_video(path)
    except (OSError, ValueError):
        raise
    except Exception as error:  # whatever a parser meets in a damaged file
        raise ValueError(f"{path}: its metadata is damaged") from error
    marks = {str(key): value.strip() for key, value in found.items() if isinstance(value, str)}
    term = xmp.source_type(packet)
    return marks if _TYPE in marks or not term else marks | {_TYPE: term}


def _read_picture(path: Path) -> tuple[Mapping[str, object], bytes]:
    """The text of a picture and its XMP packet."""
    with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")) as picture:
        info = dict(picture.info)
        packet: object = info.pop(xmp.PNG_KEYWORD, "") or info.pop("xmp", b"")
        found: object = info
        if picture.format == "JPEG":
            try:
                found = json.loads(info.get("comment", b"{}"))
            except ValueError:  # a comment of somebody else
                found = {}
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return found if isinstance(found, dict) else {}, packet if isinstance(packet, bytes) else b""


def _read_video(path: Path) -> tuple[Mapping[str, object], bytes]:
    """The tags of a video's container and its XMP packet."""
    import av

    try:
        # With `file:` no name is taken for a protocol, such as 12:30.mp4; only containers that name no other file.
        options = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"}
        with av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace") as container:
            found, is_mp4 = dict(container.metadata), "mp4" in container.format.name
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"{path}: no picture or video that can be read ({error}); give a PNG, JPEG or MP4") from error
    return found, xmp.read_from_mp4(path) if is_mp4 else b""
