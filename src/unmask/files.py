"""Files that strangers made and named: how they are opened, and how their names are printed."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotRegularError(ValueError):
    """What a path names is no regular file: to read it could wait for ever, or never end."""


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


def printable(text: str) -> str:
    r"""Text for one line of a terminal: control characters and bytes that are no text as escapes such as `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
