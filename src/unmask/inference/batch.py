"""Find and examine several files, and print a table, JSON lines or CSV. A bad file does not stop the others."""

import csv
import glob
import io
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unmask.console import console, show, write_line
from unmask.files import printable
from unmask.inference.examination import Answer, Examination, Facts, Reason
from unmask.inference.examine import Examiner, Inspection
from unmask.inference.progress import shown
from unmask.inference.table import shortened, table_of
from unmask.inference.verdict import say
from unmask.media.kinds import MEDIA
from unmask.runs.errors import RunError

FORMATS = ("table", "jsonl", "csv")
COLUMNS = (
    "file", "answer", "reasons", "score", "calibrated", "threshold", "faces", "kind", "width", "height", "duration",
    "sha256",
)  # fmt: skip
SEVERITY = (Answer.SIGNS, Answer.INCONCLUSIVE, Answer.CANNOT_ANALYSE, Answer.NO_SIGNS)
NAME = 18  # characters of a file's name beside the progress bar
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins with one of these


class Wanted(NamedTuple):
    """A file to be examined and its name in the output: for a file in a given folder, its path within the folder."""

    path: Path
    name: str


def find(arguments: Sequence[str], suffixes: Collection[str] = MEDIA) -> list[Wanted]:
    """Return the files that the arguments name.

    Args:
        arguments: files, folders (all files with these suffixes in the folder and its subfolders) and glob patterns.
        suffixes: the suffixes of the files that are taken from a folder, such as `.mp4`.

    Raises:
        ValueError: a file does not exist, a folder contains no such file, or a pattern matches no file.
    """
    found = dict[Path, Wanted]()
    for argument in arguments:
        for one in _of(argument, suffixes):
            found.setdefault(one.path, one)
    return list(found.values())


def _of(argument: str, suffixes: Collection[str]) -> list[Wanted]:
    path = Path(argument)
    if path.is_dir():
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in suffixes and not one.is_dir())
        wanted = [Wanted(one, printable(one.relative_to(path).as_posix())) for one in inside]
    elif path.exists() or path.is_symlink():
        return [Wanted(path, printable(path.name))]
    elif glob.has_magic(argument):
        inside = sorted(Path(one) for one in glob.glob(argument, recursive=True) if not Path(one).is_dir())
        wanted = [Wanted(one, printable(one.name)) for one in inside]
    else:
        raise ValueError(f"{printable(argument)}: no such file")
    if not wanted:
        raise ValueError(f"{printable(argument)}: found no files that this run can examine")
    return wanted


def examine_all(
    wanted: Sequence[Wanted], examiner: Examiner, done: Callable[[Wanted, Inspection | None, Examination], None]
) -> Answer:
    """Examine files one after another, and return the most severe answer: see `SEVERITY`.

    Args:
        wanted: the files.
        examiner: the detectors.
        done: called for each file with the file, its inspection (None after an unexpected error) and its examination.

    Raises:
        RunError: the weights or the scores of a run are not finite.
    """
    answers = set[Answer]()
    began = time.monotonic()
    for number, one in enumerate(wanted):
        name = f"{number + 1}/{len(wanted)} {shortened(one.name, NAME)}"
        with shown(began, number / len(wanted), name) as progress:

            def moved(fraction: float, text: str, number: int = number, name: str = name) -> None:
                progress((number + fraction) / len(wanted), f"{name}: {text}")

            inspection, examination = _safely(one.path, examiner, moved)
        done(one, inspection, examination)
        answers.add(examination.answer)
    return next(answer for answer in SEVERITY if answer in answers)


def _safely(
    path: Path, examiner: Examiner, progress: Callable[[float, str], None]
) -> tuple[Inspection | None, Examination]:
    """Examine a file. An unexpected error gives the answer `CANNOT_ANALYSE`, so that the other files are examined."""
    try:
        inspection = examiner.inspect(path, progress)
    except RunError:
        raise
    except Exception as error:
        reason = Reason("failed", f"an unexpected error occurred ({type(error).__name__}); please report it")
        return None, Examination(Answer.CANNOT_ANALYSE, (reason,), Facts(name=printable(path.name)))
    return inspection, inspection.examination


def json_line(one: Wanted, examination: Examination) -> str:
    """Return one line of JSON. It is ASCII unless standard output is encoded in UTF-8."""
    escaped = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps({"file": one.name} | examination.as_dict(), allow_nan=False, ensure_ascii=escaped)


def csv_line(values: Iterable[object]) -> str:
    """Return one line of CSV. Text that a spreadsheet would run as a formula gets a leading apostrophe."""
    cells = [f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value for value in values]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def csv_values(one: Wanted, examination: Examination) -> Iterator[object]:
    """Yield the values of the columns `COLUMNS`; an unknown value is an empty string."""
    facts, model = examination.facts, examination.models[0] if examination.models else None
    yield from (one.name, str(examination.answer), ";".join(reason.code for reason in examination.reasons))
    yield from ("", "", "") if model is None else (model.score, _or_empty(model.calibrated), model.threshold)
    yield len(examination.people)
    yield from (_or_empty(facts.kind), _or_empty(facts.width), _or_empty(facts.height))
    yield from (_or_empty(facts.duration), _or_empty(facts.sha256))


def _or_empty(value: object) -> object:
    return "" if value is None else value


class Printer:
    """Prints examinations in one of `FORMATS`: JSON lines and CSV after each file, a table after the last file."""

    def __init__(self, kind: str) -> None:
        if kind not in FORMATS:
            raise ValueError(f"format={kind}: expected one of {', '.join(FORMATS)}")
        self.kind, self.rows = kind, list[tuple[Wanted, Examination]]()  # the rows of a table
        self._headed = False

    def add(self, one: Wanted, examination: Examination) -> None:
        """Print one examination, or keep it for the table."""
        if self.kind == "table":
            self.rows.append((one, examination))
            return
        if self.kind == "csv" and not self._headed:
            write_line(csv_line(COLUMNS))
            self._headed = True
        write_line(json_line(one, examination) if self.kind == "jsonl" else csv_line(csv_values(one, examination)))

    def close(self) -> None:
        """Print the table and how often each answer occurs; do nothing for the other formats."""
        if self.kind != "table":
            return
        width = console.width if console.is_terminal else None
        show(table_of([(one.name, found) for one, found in self.rows], width), width is None)
        counts = {answer: sum(found.answer is answer for _, found in self.rows) for answer in SEVERITY}
        say(", ".join(f"{count} {answer}" for answer, count in counts.items() if count))
        models = next((found.models for _, found in self.rows if found.models), ())
        if models:
            say(f"threshold {models[0].threshold:.2f}, {models[0].name}; {models[0].errors}")
        say("A score is not proof. unmask predict FILE run=DIR prints the limits of an answer. See docs/verdict.md.")
