"""Machine-readable provenance metadata in files: text and XMP in a PNG, a JPEG or an MP4, tags in a sound file.

The terms are IPTC's digital source types (https://cv.iptc.org/newscodes/digitalsourcetype). The length of the marks
must not reveal whether a file is real or fake. Therefore, `source_marks` pads every value to a fixed length, and all
XMP packets have the same length.
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
GENERATED = "trainedAlgorithmicMedia"  # made by a model that was trained on existing pictures
RENDERED = "algorithmicMedia"  # made by an algorithm without training data
TRAINED = "compositeWithTrainedAlgorithmicMedia"  # partly made by a model that was trained on existing pictures
ALTERED = "algorithmicallyEnhanced"  # altered by an algorithm without training data
SYNTHETIC = {GENERATED, RENDERED, TRAINED, ALTERED, "compositeSynthetic"}
UNSPECIFIED = "unspecified"
_TYPE = "digitalSourceType"
_LENGTH = 96  # length of each value in characters
#: Containers that FFmpeg may parse, by its names; none of them can refer to other files.
CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,wav,flac,mp3,aac,aiff"
_HEADER = 33  # bytes of a PNG's signature and first chunk


def source_marks(source: str, comment: str) -> dict[str, str]:
    """Return marks that state the origin of a picture or video.

    Args:
        source: an IPTC digital source type such as `RENDERED`, or `UNSPECIFIED`.
        comment: human-readable text of at most 96 characters.

    Raises:
        ValueError: the comment is too long.
    """
    if len(comment) > _LENGTH:
        raise ValueError(f"comment={comment!r}: expected at most {_LENGTH} characters, got {len(comment)}")
    term = source if source == UNSPECIFIED else TERMS + source
    synthetic = "true" if source in SYNTHETIC else UNSPECIFIED
    marks = {_TYPE: term, "synthetic": synthetic, "comment": comment}
    return {key: value.ljust(_LENGTH) for key, value in marks.items()}


def write_picture(path: Path, pixels: NDArray[np.uint8], marks: Mapping[str, str], quality: int = 90) -> None:
    """Save RGB [H, W, 3] or grey [H, W] pixels with their marks, atomically.

    Args:
        path: `.png` or `.jpg`; its folder is created.
        pixels: uint8.
        marks: texts by key; the file stores them under the same keys. `digitalSourceType` is also written as XMP. In a
            PNG, keys and texts may contain only Latin-1 characters.
        quality: JPEG quality.

    Raises:
        ValueError: the suffix is not supported.
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
        raise ValueError(f"{path}: expected a name ending in .png or .jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(content)


def encode_png(pixels: NDArray[np.uint8], marks: Mapping[str, str]) -> bytes:
    """Encode RGB [H, W, 3] or grey [H, W] pixels as a PNG with one text chunk per mark and the XMP packet, if any.

    OpenCV encodes five times faster than Pillow but cannot write text, so the chunks are inserted after the header.
    """
    plain = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
    chunks = [b"tEXt" + key.encode("latin-1") + b"\0" + value.encode("latin-1") for key, value in marks.items()]
    if packet := xmp_packet(marks):
        chunks.append(xmp.png_chunk(packet))
    text = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return plain[:_HEADER] + text + plain[_HEADER:]


def xmp_packet(marks: Mapping[str, str]) -> bytes:
    """Return an XMP packet of 1,024 bytes with the marks' `digitalSourceType`; empty if `marks` lacks this key."""
    if _TYPE not in marks:
        return b""
    term = marks[_TYPE].strip()
    return xmp.packet("" if term == UNSPECIFIED else term)


def read_marks(path: Path) -> dict[str, str]:
    """Read the marks of a picture or video, without their padding; empty if the file has none.

    A digital source type that another program wrote as XMP is also found (in a PNG, only if XMP precedes the pixels).
    No pixels are decoded.

    Raises:
        ValueError: the file is not a readable picture or video, or not a regular file.
        OSError: the file is missing or cannot be opened.
    """
    open_regular(path).close()
    try:
        found, packet = _read_picture(path)
    except UnidentifiedImageError:
        found, packet = _read_video(path)
    except (OSError, ValueError):
        raise
    except Exception as error:  # parsers raise many kinds of errors on damaged files
        raise ValueError(f"{path}: its metadata is damaged") from error
    marks = {str(key): value.strip() for key, value in found.items() if isinstance(value, str)}
    term = xmp.source_type(packet)
    return marks if _TYPE in marks or not term else marks | {_TYPE: term}


def _read_picture(path: Path) -> tuple[Mapping[str, object], bytes]:
    """Read a picture's text entries and its XMP packet."""
    with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")) as picture:
        info = dict(picture.info)
        packet: object = info.pop(xmp.PNG_KEYWORD, "") or info.pop("xmp", b"")
        found: object = info
        if picture.format == "JPEG":
            try:
                found = json.loads(info.get("comment", b"{}"))
            except ValueError:  # a comment not written by unmask
                found = {}
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return found if isinstance(found, dict) else {}, packet if isinstance(packet, bytes) else b""


def _named(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a file; those of marks under their own names, because FLAC stores names without case."""
    names = {name.lower(): name for name in (_TYPE, "synthetic", "comment")}
    return {names.get(name.lower(), name): value for name, value in tags.items()}


def _read_video(path: Path) -> tuple[Mapping[str, object], bytes]:
    """Read the tags of the container of a video or a sound file, and its XMP packet."""
    import av

    try:
        # `file:` keeps names such as 12:30.mp4 from being parsed as protocols; no listed format can open other files.
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        with av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace") as container:
            found, is_mp4 = _named(container.metadata), "mp4" in container.format.name
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"{path}: not a readable picture, video or sound file ({error})") from error
    return found, xmp.read_from_mp4(path) if is_mp4 else b""
