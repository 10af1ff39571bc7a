"""Files: whole or not at all, only regular ones, their checksums and names; what was made here can be removed again."""

import errno
import json
import os
import stat
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotRegularError(ValueError):
    """What a path names is no regular file: to read it could wait for ever, or never end."""


class DamagedError(ValueError):
    """A file is not as it was written; the message names it and says what to do."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes; a pipe, a socket, a device, a folder, or a link to one, is refused.

    Nothing here waits: what is not regular is not opened, and where a pipe takes a file's place in between, opening it
    returns at once and the descriptor tells.

    Raises:
        NotRegularError: it is something else, such as `not a regular file (a named pipe)`.
        OSError: it is missing or may not be read.
    """
    _require(os.stat(path).st_mode)
    flags = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))
    descriptor = os.open(path, os.O_RDONLY | sum(flags))
    try:
        _require(os.fstat(descriptor).st_mode)
    except NotRegularError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _require(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotRegularError(f"not a regular file ({KINDS.get(stat.S_IFMT(mode), 'of an unknown kind')})")


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        fix: what to do where it is damaged; ends the message.

    Raises:
        DamagedError: it holds no JSON object.
        OSError: it is missing or may not be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged: expected a JSON object; {fix}")
    return found


def printable(text: str) -> str:
    r"""Text for one line of a terminal: control characters and bytes that are no text as escapes such as `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader, a killed process or a full disk leaves the old one or the new one, never half.

    Raises:
        OSError: it cannot be written; nothing is left of the attempt.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def reserve(path: Path) -> None:
    """Take the space of a new file that is filled through a memory map: on a full disk that would kill the process.

    Raises:
        OSError: there is not enough space; the file is removed.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # the file system cannot reserve
            return
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(2**24):
            value = zlib.crc32(chunk, value)
    return value


def remove_made(folder: Path, patterns: Iterable[str]) -> None:
    """Delete the files below a folder that match, and the folders that are empty then; everything else stays.

    Args:
        folder: where something was made; it may be missing.
        patterns: of paths below it, such as `checkpoints/*.ckpt`: exactly the names that are written there.
    """
    emptied: set[Path] = set()
    for pattern in patterns:
        for path in folder.glob(pattern):
            inside = [parent for parent in path.parents if folder in parent.parents]
            if any(parent.is_symlink() for parent in inside):  # what it leads to was not made here
                continue
            if path.is_file() or path.is_symlink():
                path.unlink()
                emptied |= set(inside)
    for parent in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # it holds what was not made here
            parent.rmdir()
