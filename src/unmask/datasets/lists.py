"""Read the lists that come with data sets: text, CSV and JSON files, as UTF-8 or UTF-16."""

import codecs
import csv
import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from unmask.data.manifest import ManifestError
from unmask.files import NotRegularError, open_regular, printable

T = TypeVar("T")

MOST_BYTES = 2**30  # per list; the largest known list, AV-Deepfake1M's metadata, has a few hundred MB


def read_text(path: Path) -> str:
    """Read a list as text: UTF-8, or UTF-16 with a byte order mark. Excel and Notepad save such files.

    Raises:
        ManifestError: the file has an unsupported encoding, is not a regular file, or is too large for a list.
    """
    content = read_bytes(path)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}, line {line}: not UTF-8 text ({error.reason}); save the file as UTF-8") from None


def read_bytes(path: Path) -> bytes:
    """Read a list as bytes.

    Raises:
        ManifestError: the path is not a regular file, or the file is not readable or too large for a list.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except (NotRegularError, PermissionError) as error:
        reason = error if isinstance(error, NotRegularError) else error.strerror
        raise ManifestError(f"{path} cannot be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise ManifestError(f"{path} is too large for a list: it has more than {MOST_BYTES:,} bytes")
    return content


def read_csv(path: Path) -> list[list[str]]:
    """Read the rows of a CSV file, each a list of cells; an empty line is an empty list.

    Raises:
        ManifestError: the file is not a CSV file.
    """
    try:
        return list(csv.reader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:  # for example, a cell of more than 131,072 characters
        raise ManifestError(f"{path} is not a table of comma-separated values: {error}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ManifestError: an object repeats a key with different values (`json` would silently keep the last value), or the
            file is nested too deeply for Python.
        ValueError: the file is not JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return named_once(path, [("", key, value) for key, value in pairs])

    try:
        return json.loads(read_text(path), object_pairs_hook=once)
    except RecursionError:
        raise ManifestError(f"{path}: nested too deeply for a list") from None


def named_once(path: Path, rows: Iterable[tuple[int | str, str, T]]) -> dict[str, T]:
    """Return the rows (line number, file name, value) of a list as {file name: value}.

    If a file name is repeated with the same value, a warning is given.

    Raises:
        ManifestError: a file name is repeated with a different value.
    """
    found: dict[str, T] = {}
    lines: dict[str, int | str] = {}
    again: list[str] = []
    for line, name, value in rows:
        if name not in found:
            found[name], lines[name] = value, line
            continue
        where = f"lines {lines[name]} and {line}" if line else "two entries"
        if found[name] != value:
            raise ManifestError(
                f"{path}: {where} contradict each other: '{name}' is {_short(found[name])} and {_short(value)}; "
                "delete the wrong one"
            )
        again.append(f"'{name}' ({where})")
    if again:
        files = f"{len(again)} file{'s' * (len(again) != 1)}"
        warnings.warn(f"{path} lists {files} twice, such as {printable(again[0])}; each counts once", stacklevel=3)
    return found


def the_only(places: Iterable[Path], what: str) -> Path | None:
    """Return the one path in `places` that exists; None if none of them exists.

    If several files exist and have the same bytes, the first path is returned.

    Raises:
        ManifestError: several paths exist, and their contents differ.
    """
    there = [place for place in places if place.exists()]
    if len(there) > 1 and not (all(p.is_file() for p in there) and len({read_bytes(p) for p in there}) == 1):
        raise ManifestError(
            f"{there[0]} and {there[1]} both exist, and either could be {what}; keep one, or merge the two"
        )
    return there[0] if there else None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
