"""Files: written whole or not at all, read if they are regular, hashed; folders: claimed, locked, cleared again."""

import errno
import hashlib
import json
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

if sys.platform == "win32":
    FLAGS = os.O_BINARY
else:
    import fcntl

    FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

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
    descriptor = os.open(path, os.O_RDONLY | FLAGS)
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


#: What a killed process may leave of `replacing`.
UNFINISHED = "*.????????????.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a new file to, which takes the place of `path` when the block has ended.

    A reader finds the old file or the new one, never half of it, and so does whoever comes after a killed process. The
    name is `NAME.RANDOM.tmp` (see `UNFINISHED`); no other process, on whatever machine, has the same. If the block
    raises, nothing is left.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file as `replacing` does, and have it on the disk before it gets its name, should the machine fail.

    Raises:
        OSError: it cannot be written; nothing is left of the attempt.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 text as `replace_file` does, with the ends of lines that the text has."""
    replace_file(path, text.encode())


def reserve(path: Path) -> None:
    """Take the space of a new file that is filled through a memory map: on a full disk that would kill the process.

    Raises:
        OSError: there is not enough space; the file is removed.
    """
    if sys.platform in ("darwin", "win32"):  # which cannot
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


def file_hash(path: Path) -> str:
    """SHA-256 of the bytes of a regular file: of as many as it has when it is opened, so that this comes to an end.

    Raises:
        NotRegularError: it is a pipe, a socket, a device or a folder.
        OSError: it is missing or may not be read.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (some := file.read(min(left, 2**20))):
            digest.update(some)
            left -= len(some)
    return digest.hexdigest()


class ClaimError(ValueError):
    """A folder is for something else: `found` is what its note says, None where it holds files and no note."""

    def __init__(self, folder: Path, found: dict[str, object] | None) -> None:
        super().__init__(f"{folder} " + ("is not empty and has no note" if found is None else "is for something else"))
        self.found = found


def claim(note: Path, about: Mapping[str, object], fix: str, alone: bool = True, end: str = "") -> None:
    """Note in a new folder what it is for, or see that the note which it has says the same.

    Args:
        note: a JSON file in the folder; both are made.
        about: what the folder is for, as JSON gives it back (no tuples).
        fix: what to do where the note is damaged; ends the message.
        alone: refuse a folder that holds files but no note.
        end: of the note's file.

    Raises:
        ClaimError: the folder is for something else.
    """
    folder = note.parent
    if not note.is_file():
        if alone and folder.exists() and any(folder.iterdir()):
            raise ClaimError(folder, None)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(note, json.dumps(about, indent=2) + end)
    # Read in any case: of two processes that claim a folder at once, one finds the other's note.
    found: dict[str, object] = read_json(note, fix)
    if found != about:
        raise ClaimError(folder, found)


@contextmanager
def lock(folder: Path, alone: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold a folder with others, or alone. The lock lies beside it and ends with the process, however that ends.

    On Windows, and on a file system without locks, this holds nothing.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
    """
    if sys.platform == "win32":
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        yield


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
