"""Detect truncated media files by the sizes that are stored in the container's top-level parts, such as MP4 boxes.

FFmpeg reads a truncated file up to the cut without an error. Some recordings, such as streamed ones and those of a
browser (MediaRecorder), store no total size; in such a file, a cut is detected only if it is within a part. MPEG,
MPEG-TS and Ogg store no sizes at all, so in these formats no cut is detected.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from unmask.files import open_regular

# Matroska (RFC 9559) and EBML (RFC 8794)
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
ELEMENTS = {SEGMENT, CLUSTER, 0x1A45DFA3, 0xEC, 0xBF}  # segment, cluster, file header, void, checksum
ELEMENTS |= {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0x1C53BB6B, 0x1941A469, 0x1254C367}  # within a segment
ELEMENTS |= {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}  # within a cluster
ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
STREAMED = 0x7FFFFFFF  # bytes; programs that write a WAV file to a pipe state at least this size
ZEROS = 256  # bytes; if this many zeros are where a part should begin, data is missing


def missing(path: Path, container: str) -> str | None:
    """Return why a file counts as truncated; None if no truncation is found.

    Args:
        path: a video or a sound file.
        container: FFmpeg's name for its format, such as `matroska,webm`.
    """
    parts = next((walk for name, walk in WALKS.items() if name in container.split(",")), None)
    if parts is None:
        return None
    with open_regular(path) as file:
        size, end = os.fstat(file.fileno()).st_size, 0
        for end in parts(file, size):
            if end > size:
                return f"cut off: only {size:,} of {end:,} bytes are present"
        # An AVI ends with its index, and a Matroska file has no gaps between parts.
        file.seek(end if "matroska" in container else max(size - ZEROS, 0))
        rest = file.read(ZEROS)
    if container in ("avi", "matroska,webm") and len(rest) == ZEROS and not any(rest):
        return "cut off: it ends in zeros, like an interrupted download"
    return None


def cut_off(path: Path, container: str, promised: int, there: int) -> str | None:
    """Return why a file counts as truncated; None if it does not.

    Args:
        path: the file.
        container: FFmpeg's name for its format.
        promised: number of frames (or packets of sound) that the file declares; 0 if unknown.
        there: number of frames (or packets of sound) that the file contains.
    """
    table = "mp4" in container  # an MP4's table counts frames exactly; the size that an MP4 states may be too large
    if table and promised:
        return f"cut off: only {there} of {promised} frames are present" if there < promised else None
    if "avi" in container and promised and there >= promised:  # no frame is missing, at most the index
        return None
    return missing(path, container)


def _matroska(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of each part, in bytes. Segments, and clusters of unknown size, are entered instead of skipped."""
    at, stop = 0, size
    while at < stop:
        file.seek(at)
        head = file.read(12)
        name, length, known = _element(head)
        if name not in ELEMENTS:
            return
        if name == SEGMENT and known is not None:
            stop = at + length + known
            yield stop
        inside = name == SEGMENT or (name == CLUSTER and known is None)
        if known is None and not inside:
            return
        at += length + (0 if inside else known or 0)
        yield at


def _element(head: bytes) -> tuple[int, int, int | None]:
    """Return an element's ID, its header size in bytes (0 if invalid) and its content size (None if unknown)."""
    first = 9 - head[0].bit_length() if head and head[0] else 0
    if not 1 <= first <= 4 or len(head) <= first or head[first] == 0:
        return 0, 0, None
    second = 9 - head[first].bit_length()
    if len(head) < first + second:
        return 0, 0, None
    value = int.from_bytes(head[first : first + second], "big") & (1 << 7 * second) - 1
    return int.from_bytes(head[:first], "big"), first + second, None if value == (1 << 7 * second) - 1 else value


def _riff(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of each RIFF chunk of an AVI, in bytes; an OpenDML file has several chunks."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length < 4:
            return
        at += 8 + length
        yield at
        at += length % 2


def _wave(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of the RIFF chunk of a WAV file, in bytes; a recording that was streamed states no size."""
    file.seek(0)
    head = file.read(8)
    length = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and 4 <= length < STREAMED:
        yield 8 + length


def _boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of each box of an MP4 or MOV, in bytes (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0 means up to the end of the file; other values are damaged
            return
        at += length
        yield at


def _asf(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of each object of a WMV, in bytes.

    The second object contains the frames. In a broadcast, the size of this object is 0, so the iteration ends there.
    """
    at = 0
    while at + 24 <= size:
        file.seek(at)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        if length < 24 or (at == 0 and head[:16] != ASF_HEADER):
            return
        at += length
        yield at


def _flv(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the end of each tag of an FLV, in bytes; every tag is followed by its size."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    while at + 11 <= size:
        file.seek(at)
        head = file.read(4)
        if head[0] & 0x1F not in (8, 9, 18):  # audio, video, script
            return
        at += 11 + int.from_bytes(head[1:], "big")
        yield at
        at += 4


WALKS: dict[str, Callable[[BinaryIO, int], Iterator[int]]] = {
    "matroska": _matroska,
    "avi": _riff,
    "mp4": _boxes,
    "asf": _asf,
    "flv": _flv,
    "wav": _wave,
}
