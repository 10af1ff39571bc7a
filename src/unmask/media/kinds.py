"""Recognise media files by name and first bytes, without decoding."""

import os
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.files import NotRegularError, open_regular, printable

Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Frames = NDArray[np.uint8]  # [N, H, W, 3], RGB
Statistics = dict[str, float | str]  # facts about a file, by name

VIDEOS = {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
VIDEOS |= {".wmv", ".flv", ".ogv"}
PICTURES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
#: Unsupported picture formats. Such files are not ignored: they are listed like other media files, and rejected with a
#: reason when they are opened.
UNREAD = {".gif", ".jxl", ".jp2"}
MEDIA = frozenset(VIDEOS | PICTURES | UNREAD)
RECORDINGS = {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".wma"}
#: Files whose sound can be read; see media/waveform.py.
AUDIBLE = frozenset(RECORDINGS | VIDEOS)

#: Picture formats that Pillow may parse, by Pillow's names. This allowlist disables all its other parsers.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")
#: Containers that FFmpeg may parse, by FFmpeg's names. Unlike playlists (HLS, ffconcat), none can refer to other files.
CONTAINERS = ("mov", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "asf", "flv", "ogg")
#: Containers of sound alone that FFmpeg may parse, in addition to `CONTAINERS`.
SOUND_CONTAINERS = ("wav", "flac", "mp3", "aac", "aiff")
SOUND_CONTAINERS_IN_WORDS = "WAV, FLAC, MP3, AAC, AIFF"
CONTAINERS_IN_WORDS = "MP4, MOV, Matroska, WebM, AVI, MPEG, MPEG-TS, WMV, FLV, Ogg"

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # first box of an MP4 or MOV
_AVIF = {b"avif", b"avis"}


LARGE = 2**30  # bytes; above this, a file is checked for sparseness
SPEAKING = (OSError, ValueError, RuntimeError, SyntaxError, EOFError)  # errors whose message is about the file
DAMAGED = "its content is damaged"


class MediaError(ValueError):
    """Raised if a file cannot be used; the message gives the reason without the file name, which callers add."""


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a regular file, or all its bytes if there are fewer.

    Raises:
        MediaError: the file is missing, empty, sparse or not readable, or it is a pipe, a socket, a device or a folder.
    """
    try:
        with open_regular(path) as file:
            about = os.fstat(file.fileno())
            stored = 0 if sys.platform == "win32" else 512 * about.st_blocks  # some file systems always report 0
            if about.st_size == 0:
                raise MediaError("the file is empty")
            if about.st_size > LARGE and 0 < stored < about.st_size // 100:  # reading its zeros takes hours
                raise MediaError(f"a sparse file: only {stored:,} of its {about.st_size:,} bytes are stored")
            return file.read(count)
    except NotRegularError as error:
        raise MediaError(str(error)) from None
    except FileNotFoundError:
        raise MediaError("no such file") from None
    except OSError as error:
        raise MediaError(f"cannot be opened ({error.strerror})") from None


def picture_format(path: Path) -> str | None:
    """Return the picture format given by a file's first bytes, regardless of its name; None if it is not a picture.

    Raises:
        MediaError: see `first_bytes`.
    """
    head = first_bytes(path, 64)
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":  # ISO/IEC 23008-12: a major brand, a version, and compatible brands
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in range(8, end - 3, 4) if at != 12}
        if head[8:12] in _AVIF | _HEIC | {b"mif1", b"msf1"}:
            return "AVIF" if brands & _AVIF else "HEIC"
    return None


def is_picture(path: Path) -> bool:
    """Return whether a file is read as a picture: by its content, or by its suffix if the content is unknown."""
    return picture_format(path) is not None or (path.suffix.lower() in PICTURES | UNREAD and not is_video(path))


def is_video(path: Path) -> bool:
    """Return whether a file starts like a common video container."""
    head = first_bytes(path, 12)
    return (
        (len(head) == 12 and head[4:8] in _BOXES)
        or head[:4] == b"\x1aE\xdf\xa3"
        or (head[:4] == b"RIFF" and head[8:11] == b"AVI")
    )


def sound_format(path: Path) -> str | None:
    """Return the format of a sound file by its first bytes: `wav`, `flac`, `mp3`, `aac` or `aiff`; None otherwise."""
    head = first_bytes(path, 12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):  # MPEG layer III
        return "mp3"
    return "aac" if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None  # ADTS


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the clock times and source lines that C++ libraries add.

    This makes the message reproducible. Messages about a decoder's own bugs (such as an AttributeError) are
    replaced by `DAMAGED`, because they say nothing about the file.
    """
    if isinstance(error, MemoryError):
        return "it needs more memory than is available"
    if type(error).__module__ == "builtins" and not isinstance(error, SPEAKING):
        return DAMAGED
    said = getattr(error, "strerror", None) or str(error)  # some PyAV errors have `strerror` but are not OSErrors
    text = re.sub(r"\[\d\d:\d\d:\d\d\] ?|\S+\.(cc|cpp|h):\d+[:,]? ?", "", said).strip().splitlines()
    return printable(text[0])[:160] if text else DAMAGED
