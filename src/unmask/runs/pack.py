"""Check a pack: a finished run in the layout in which it is published.

README.md                     the model card
config.yaml                   the parts of the config that describe data and module
metrics.json                  thresholds, calibration, range, metrics; the published metrics with their intervals
model.safetensors             the weights
range.npz                     the cloud of features of the range, if the run has one
predictions-*.parquet         the prediction tables, usually without the names of files
robustness/SUITE/*.parquet    prediction tables after perturbations
generation.json               metrics of the samples of a generator
checksums.json                size and SHA-256 of each other file; marks the folder as a pack; written last

A pack may come from a stranger. `verify` accepts only these files, and only with the size and the hash in
checksums.json. `unmask.runs.run.Run` calls it before it reads any other file of a pack.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from unmask.files import KINDS, file_hash, open_regular, printable
from unmask.runs.errors import RunError
from unmask.runs.pack_metrics import check_metrics, control_character

CHECKSUMS, CARD, CONFIG, METRICS, CLOUD = "checksums.json", "README.md", "config.yaml", "metrics.json", "range.npz"
WEIGHTS = "model.safetensors"
REQUIRED = (CARD, CONFIG, METRICS, WEIGHTS)
FORMAT = {"format": "unmask-pack", "version": 1}
_WORD = r"[\w+][\w.+ -]{0,120}"
#: The names that a pack may contain, each with the maximum size in bytes.
ALLOWED = (
    (re.escape(CARD), 2**20), (re.escape(CONFIG), 10**6), (re.escape(METRICS), 2**24), (re.escape(CLOUD), 2**26),
    (re.escape(WEIGHTS), 2**32), (r"generation\.json", 2**24), (rf"predictions-{_WORD}\.parquet", 2**28),
    (rf"robustness/{_WORD}/{_WORD}\.parquet", 2**28),
)  # fmt: skip
FILES = 500  # maximum number of files
LISTING = 2**20  # maximum size of checksums.json, bytes
VALUES = 10**8  # maximum number of values in a prediction table


class PackError(RunError):
    """A pack is refused; the message names the pack, the file and the reason."""


class Listed(NamedTuple):
    """The entry of a file in checksums.json."""

    size: int
    sha256: str


def is_pack(folder: Path) -> bool:
    """Return whether a folder is a pack or was one: it contains checksums.json or the weights of a pack."""
    return any(os.path.lexists(folder / name) for name in (CHECKSUMS, WEIGHTS))


def digest(folder: Path) -> str:
    """Return the SHA-256 of checksums.json, which stands for the whole content of a verified pack."""
    return file_hash(folder / CHECKSUMS)


def listing(files: Mapping[str, Listed]) -> bytes:
    """Return the content of checksums.json for these files."""
    about = {name: {"bytes": entry.size, "sha256": entry.sha256} for name, entry in sorted(files.items())}
    return (json.dumps(FORMAT | {"files": about}, indent=2) + "\n").encode()


def listed(folder: Path) -> dict[str, Listed]:
    """Return the entries of checksums.json for the files in a folder, which is to become a pack."""
    return {name: Listed((folder / name).stat().st_size, file_hash(folder / name)) for name in _found(folder)}


def parse(content: bytes, pack: str) -> dict[str, Listed]:
    """Return the entries of checksums.json by name.

    Args:
        content: the content of the file.
        pack: the path or the address of the pack, for messages.

    Raises:
        PackError: the file is damaged, or names a file that a pack may not contain.
    """
    try:
        about = json.loads(content[: LISTING + 1]) if len(content) <= LISTING else None
    except (ValueError, RecursionError):
        about = None
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(files, dict) or len(files) > FILES:
        raise _refused(pack, CHECKSUMS, "it is damaged, or it is not the list of files of a pack")
    if {key: about.get(key) for key in FORMAT} != FORMAT:
        raise _refused(pack, CHECKSUMS, f"expected the format {FORMAT['format']} {FORMAT['version']}")
    found = {str(name): _entry(str(name), entry, pack) for name, entry in files.items()}
    if missing := [name for name in REQUIRED if name not in found]:
        raise _refused(pack, missing[0], f"it is missing from {CHECKSUMS}")
    return found


def is_allowed(name: str) -> bool:
    """Return whether a pack may contain a file with this name."""
    return name == CHECKSUMS or _most(name) is not None


def _most(name: str) -> int | None:
    """Return the maximum size of a file, bytes; None if a pack may not contain it."""
    return next((most for pattern, most in ALLOWED if re.fullmatch(pattern, name)), None)


def _entry(name: str, entry: object, pack: str) -> Listed:
    if name.startswith(("/", "\\", "~")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
        raise _refused(pack, CHECKSUMS, f"it names '{_short(name)}', a path outside the pack")
    if (most := _most(name)) is None:
        raise _refused(pack, CHECKSUMS, f"it names '{_short(name)}', which is not a file of a pack")
    found: Mapping[str, object] = entry if isinstance(entry, dict) else {}
    size, sha256 = found.get("bytes"), found.get("sha256")
    if type(size) is not int or not 0 <= size or not re.fullmatch("[0-9a-f]{64}", str(sha256)):
        raise _refused(pack, CHECKSUMS, f"the entry of {_short(name)} is damaged: expected bytes and sha256")
    if size > most:
        raise _refused(pack, name, f"it has {size:,} bytes, expected at most {most:,}")
    return Listed(size, str(sha256))


def verify(folder: Path) -> dict[str, Listed]:
    """Check all files of a pack: names, kinds, sizes, hashes and texts; return their entries in checksums.json.

    Raises:
        PackError: the pack is refused.
    """
    if folder.is_symlink():
        raise _refused(str(folder), "the folder", "it is a symbolic link; give the folder to which it points")
    try:
        names = list(_found(folder))
        if not (folder / CHECKSUMS).is_file():
            raise _refused(str(folder), CHECKSUMS, "it is missing")
        with open_regular(folder / CHECKSUMS) as file:
            entries = parse(file.read(LISTING + 1), str(folder))
        for name in names:
            if name not in entries:
                raise _refused(str(folder), name, f"it is not in {CHECKSUMS}")
        for name, entry in entries.items():
            if name not in names:
                raise _refused(str(folder), name, "it is missing")
            _check_bytes(folder, name, entry)
    except OSError as error:
        raise _refused(str(folder), "a file", f"it cannot be read ({error.strerror})") from None
    _check_content(folder, entries)
    return entries


def _found(folder: Path) -> Iterator[str]:
    """Yield the names of all files except checksums.json; anything but a regular file or a folder is refused."""
    places, count = [folder], 0
    while places:
        with os.scandir(places.pop()) as inside:
            for one in inside:
                name, count = Path(one.path).relative_to(folder).as_posix(), count + 1
                mode = one.stat(follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    raise _refused(str(folder), name, "it is a symbolic link, which can point outside the pack")
                if count > 2 * FILES:
                    raise _refused(str(folder), "the folder", f"it contains more than {2 * FILES:,} files and folders")
                if stat.S_ISDIR(mode):
                    places.append(Path(one.path))
                elif not stat.S_ISREG(mode):
                    kind = KINDS.get(stat.S_IFMT(mode), "a file of an unknown type")
                    raise _refused(str(folder), name, f"it is not a regular file ({kind})")
                elif name != CHECKSUMS:
                    yield name


def _check_bytes(folder: Path, name: str, entry: Listed) -> None:
    size = (folder / name).stat().st_size
    if size != entry.size:
        raise _refused(str(folder), name, f"it has {size:,} bytes, but {CHECKSUMS} says {entry.size:,}")
    if (found := file_hash(folder / name)) != entry.sha256:
        raise _refused(
            str(folder), name, f"its SHA-256 is {found[:12]}..., but {CHECKSUMS} says {entry.sha256[:12]}..."
        )


def _check_content(folder: Path, entries: Mapping[str, Listed]) -> None:
    """Check the texts for control characters, and the prediction tables for their size in memory."""
    for name in (CARD, CONFIG):
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except ValueError:
            raise _refused(str(folder), name, "it is not UTF-8 text") from None
        if (sign := control_character(text)) is not None:
            raise _refused(
                str(folder), name, f"it contains the control character {sign}, which can change what a terminal shows"
            )
    try:
        check_metrics((folder / METRICS).read_bytes())
    except ValueError as error:
        raise _refused(str(folder), METRICS, str(error)) from None
    for name in entries:
        if name.endswith(".parquet"):
            _check_table(folder, name)


def _check_table(folder: Path, name: str) -> None:
    import pyarrow as pa  # slow to import, and most runs are no packs
    import pyarrow.parquet as pq

    try:
        about = pq.read_metadata(folder / name)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = printable(str(error).partition("\n")[0][:120])
        raise _refused(str(folder), name, f"it is not a readable Parquet file ({said})") from None
    if about.num_rows * about.num_columns > VALUES:
        values = about.num_rows * about.num_columns
        raise _refused(str(folder), name, f"it claims {values:,} values, expected at most {VALUES:,}")


def _short(name: str) -> str:
    return printable(name[:80])


def _refused(pack: str, name: str, why: str) -> PackError:
    return PackError(f"the pack {printable(pack)} is refused: {_short(name)}: {why}")
