"""Write files atomically, open only regular files, hash files; claim, lock and clean up folders."""

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
from typing import IO, Any, BinaryIO
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
    """A path is not a regular file: reading it could block forever or never end."""


class DamagedError(ValueError):
    """A file is damaged; the message names it and says what to do."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes; pipes, sockets, devices, folders and links to these are rejected.

    This never blocks, because the kind of the file is checked before opening it. If a pipe replaces the file after this
    check, opening the pipe returns immediately, and a second check, of the open file, rejects the pipe.

    Raises:
        NotRegularError: the path is not a regular file; the message is like `not a regular file (a named pipe)`.
        OSError: the file is missing or not readable.
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
        raise NotRegularError(f"not a regular file ({KINDS.get(stat.S_IFMT(mode), 'a file of an unknown type')})")


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """Return the object in a JSON file as a dict.

    Args:
        path: the file.
        fix: end of the error message: what to do if the file is damaged.

    Raises:
        DamagedError: the file does not contain a JSON object.
        OSError: the file is missing or not readable.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged: expected a JSON object; {fix}")
    return found


def printable(text: str) -> str:
    r"""Make text printable in one terminal line: control characters and undecodable bytes become `\x1b` etc."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


#: Pattern of temporary files that a killed process may leave behind (see `replacing`).
UNFINISHED = "*.????????????.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; when the block ends, the temporary file replaces `path`.

    A reader finds the old or the new file, never a partial one, even if the process is killed. The temporary name is
    `NAME.RANDOM.tmp` (see `UNFINISHED`) and unique across processes and machines. If the block raises, the temporary
    file is removed.
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
    """Write a file atomically: the content is flushed to disk under a temporary name, which is then renamed.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with `replace_file`; line endings are kept as they are."""
    replace_file(path, text.encode())


def reserve(path: Path) -> None:
    """Allocate a file's disk space in advance: on a full disk, writing to its memory map would kill the process.

    Raises:
        OSError: there is not enough space; the file is removed.
    """
    if sys.platform in ("darwin", "win32"):  # no posix_fallocate
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # not supported by the file system
            return
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(2**24):
            value = zlib.crc32(chunk, value)
    return value


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a regular file.

    Reading stops at the size that the file has when it is opened, so that hashing ends even if the file keeps growing.

    Raises:
        NotRegularError: the path is a pipe, a socket, a device or a folder.
        OSError: the file is missing or not readable.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (some := file.read(min(left, 2**20))):
            digest.update(some)
            left -= len(some)
    return digest.hexdigest()


class ClaimError(ValueError):
    """Raised by `claim` if a folder already serves another purpose.

    `found` is the content of the folder's JSON file (see `claim`), or None if the folder has files but no such file.
    """

    def __init__(self, folder: Path, found: dict[str, object] | None) -> None:
        super().__init__(f"{folder} {'contains files of unknown purpose' if found is None else 'has another purpose'}")
        self.found = found


def claim(note: Path, about: Mapping[str, object], fix: str, alone: bool = True, end: str = "") -> None:
    """Record the purpose of a new folder in a JSON file, or check that an existing folder has the same record.

    Args:
        note: path of the JSON file in the folder; both are created if missing.
        about: the purpose of the folder, to be recorded; must survive a JSON round trip (no tuples).
        fix: end of the error message: what to do if the JSON file is damaged.
        alone: reject a folder that contains files of unknown purpose.
        end: text appended to the JSON, such as a newline.

    Raises:
        ClaimError: the folder has a different record, or (`alone`) files but no record.
        DamagedError: the record is not a JSON object.
    """
    folder = note.parent
    if not note.is_file():
        if alone and folder.exists() and any(folder.iterdir()):
            raise ClaimError(folder, None)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(note, json.dumps(about, indent=2) + end)
    # Always read the note back: if two processes claim a folder at once, one finds the other's note.
    found: dict[str, object] = read_json(note, fix)
    if found != about:
        raise ClaimError(folder, found)


@contextmanager
def lock(folder: Path, alone: bool = False, wait: bool = True) -> Iterator[None]:
    """Lock a folder with a lock file next to it: exclusively if `alone`, else together with other processes.

    The lock is released when the block ends or the process dies. On Windows and on file systems without locks, this
    function does nothing.

    Raises:
        BlockingIOError: another process holds the lock and `wait` is false.
    """
    if sys.platform == "win32":
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        hold(file, alone, wait)
        yield


def hold(file: IO[Any], alone: bool = False, wait: bool = True) -> None:
    """Lock an open file until it is closed: exclusively if `alone`, else together with other holders.

    On Windows and on file systems without locks, this function does nothing.

    Raises:
        BlockingIOError: another open file holds the lock and `wait` is false.
    """
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def remove_made(folder: Path, patterns: Iterable[str]) -> None:
    """Delete the files below a folder that match `patterns`, and the subfolders that become empty; keep other files.

    Args:
        folder: the output folder; it may be missing.
        patterns: glob patterns relative to the folder, such as `checkpoints/*.ckpt`; they must
            match only files that unmask wrote.
    """
    emptied: set[Path] = set()
    for pattern in patterns:
        for path in folder.glob(pattern):
            inside = [parent for parent in path.parents if folder in parent.parents]
            if any(parent.is_symlink() for parent in inside):  # the linked folder was not created here
                continue
            if path.is_file() or path.is_symlink():
                path.unlink()
                emptied |= set(inside)
    for parent in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # it contains other files
            parent.rmdir()
