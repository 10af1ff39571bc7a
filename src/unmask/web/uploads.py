"""The folder for uploads: files get generated names, only this user can read them, and they are deleted after use."""

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from unmask.files import hold
from unmask.media.kinds import FORMATS, MediaError, first_bytes, is_video, picture_format, sound_format

LOCK = "lock"
PART = 2**20  # bytes
ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
FORMATS_IN_WORDS = (
    *FORMATS, "HEIC", "MP4", "MOV", "Matroska", "WebM", "AVI", "MPEG", "MPEG-TS", "WMV", "FLV", "Ogg", "WAV", "FLAC",
    "MP3", "AAC", "AIFF",
)  # fmt: skip


class UnsupportedError(ValueError):
    """A file is not a picture, a video or a sound file in a supported format; the message gives the reason."""


class Spool:
    """A folder for the uploads of one server, below `base`.

    The servers of one user share `base`. A running server holds a lock in its folder. If a server was killed, its
    folder is deleted when the next server starts.

    Args:
        base: folder that only this user can access; created if missing.

    Raises:
        ValueError: `base` is not a folder, belongs to another user, or other users can access it (not on Windows).
    """

    def __init__(self, base: Path) -> None:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = base.lstat()
        if sys.platform != "win32" and (
            not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077
        ):
            raise ValueError(f"spool={base}: expected a folder that only you can read; choose another one")
        _remove_leftovers(base)
        self.folder = base / f"uploads-{uuid4().hex}"
        self.folder.mkdir(mode=0o700)
        self._lock: BinaryIO = (self.folder / LOCK).open("wb")
        hold(self._lock, alone=True, wait=False)

    def keep(self, upload: BinaryIO) -> Path:
        """Copy an upload into the folder, under a generated name, and return its path.

        The suffix follows from the first bytes of the file, see `suffix`; the client's file name is not used.

        Raises:
            UnsupportedError: the first bytes are not those of a picture, a video or a sound file in a supported format.
            OSError: the file cannot be written, for example because the disk is full.
        """
        path = self.folder / f"{uuid4().hex}.part"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                shutil.copyfileobj(upload, file, PART)
            named = path.with_suffix(suffix(path))
            path.rename(named)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return named

    def close(self) -> None:
        """Delete the folder with everything in it."""
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_leftovers(base: Path) -> None:
    for folder in base.glob("uploads-*"):
        try:
            with (folder / LOCK).open("wb") as file:
                hold(file, alone=True, wait=False)
        except BlockingIOError:  # another server is running
            continue
        except OSError:
            pass
        shutil.rmtree(folder, ignore_errors=True)


def suffix(path: Path) -> str:
    """Return a suffix by the first bytes of a file: that of the format for a picture or sound, `.mp4` for any video.

    Raises:
        UnsupportedError: the file is empty or its format is not supported.
    """
    try:
        kind, head = picture_format(path), first_bytes(path, 512)
    except MediaError as error:
        raise UnsupportedError(f"{str(error).capitalize()}.") from None
    if kind in (*FORMATS, "HEIC"):
        return f".{'jpg' if kind == 'JPEG' else str(kind).lower()}"
    if kind is not None:
        raise UnsupportedError(f"This is a {kind} picture, which is not supported. Save it as JPEG or PNG.")
    if (sound := sound_format(path)) is not None:
        return f".{sound}"
    if not (is_video(path) or _is_other_video(head)):
        raise UnsupportedError(
            "This is neither a picture, a video nor a sound file that can be read. Pictures: JPEG, PNG, WebP, AVIF, "
            "TIFF or BMP. Videos: MP4, MOV, WebM, MKV, AVI, MPEG, WMV, FLV or Ogg. Sound: WAV, FLAC, MP3, AAC or AIFF."
        )
    return ".mp4"


def _is_other_video(head: bytes) -> bool:
    """Return whether a file starts like Ogg, FLV, WMV, an MPEG programme or elementary stream, or MPEG-TS."""
    starts = (b"OggS", b"FLV\x01", ASF, b"\0\0\x01\xba", b"\0\0\x01\xb3")
    stream = any(len(head) > at + 188 and head[at] == head[at + 188] == 0x47 for at in (0, 4))
    return head.startswith(starts) or stream
