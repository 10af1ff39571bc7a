"""Read and write tables of scores, one row per scored item or frame, as CSV, Parquet or JSON lines.

This format is used to import scores of other detectors and to export the predictions of a run.
"""

import fnmatch
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unmask.datasets.lists import read_csv, read_text
from unmask.files import NotRegularError, open_regular, printable, replace_file
from unmask.metrics.aggregate import logit
from unmask.runs.figures import without_nan

Array = NDArray[np.float64]
T = TypeVar("T")
COLUMNS = ("item", "track", "frame", "time", "label", "method", "dataset", "split", "logit")
SCORES = ("logit", "score", "prob")  # default names of the column with scores
LABELS = {"0": 0, "0.0": 0, "real": 0, "1": 1, "1.0": 1, "fake": 1}
EXTREME = 745.0  # absolute logit for the probabilities 0 and 1; larger than the logit of any double between them
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ScoresError(ValueError):
    """A table of scores is invalid; the message names the file, the row, the column and the fix."""


@dataclass(frozen=True)
class Scores:
    """The scores of one detector.

    Attributes:
        column: name of the column in the file.
        words: what the column contained, `logits` or `probabilities`; probabilities were converted to logits.
        table: prediction table with the columns `COLUMNS`; its splits are `train`, `val` and `test`.
    """

    column: str
    words: str
    table: pd.DataFrame


@dataclass(frozen=True)
class _Sheet:
    """The cells of a file by column; empty cells and NaN are stored as None."""

    path: Path
    cells: Mapping[str, Sequence[object]]

    def error(self, row: int, column: str, text: str) -> ScoresError:
        """Return an error for one cell; in the message, rows are counted from 1, without the header."""
        return ScoresError(f"{printable(str(self.path))}, row {row + 1}, column {printable(column)}: {text}")

    def texts(self, column: str) -> list[str | None]:
        """Return the cells of a column as text."""
        found = [None if cell is None else str(cell) for cell in self.cells[column]]
        for row, text in enumerate(found):
            if text and any("\ud800" <= one <= "\udfff" for one in text):  # half of a surrogate pair, which JSON allows
                raise self.error(row, column, f"'{_shown(text)}' is not Unicode text; save the file as UTF-8")
        return found

    def numbers(self, column: str, whole: bool = False) -> Array:
        """Return the cells of a column as numbers; an empty cell is NaN."""
        found = np.full(len(self.cells[column]), np.nan)
        kind = "whole" if whole else "finite"
        for row, cell in enumerate(self.cells[column]):
            if cell is None:
                continue
            try:
                found[row] = float(str(cell))  # exact, unlike the parser of pandas
            except ValueError:
                found[row] = np.inf
            if np.isinf(found[row]) or (whole and found[row] % 1):
                raise self.error(row, column, f"'{_shown(cell)}'; expected a {kind} number, or an empty cell")
        return found


def read_scores(
    path: Path, names: Mapping[str, str], columns: Sequence[str] = (), dataset: str = "imported", split: str = "test"
) -> list[Scores]:
    """Read the scores of one or several detectors from a file.

    Args:
        path: a `.csv`, `.parquet` or `.jsonl` file.
        names: each of `COLUMNS` except `logit` -> name of this column in the file. Only `item` and `label` must exist.
        columns: names of the columns with scores, or patterns such as `prob_*`. If empty, the file must have exactly
            one of the columns `SCORES`. A column is read as logits if its name contains `logit`, else as probabilities.
        dataset: the data set of rows that do not name one.
        split: the split of rows that do not name one.

    Raises:
        ScoresError: the table is invalid; the message names the row, the column and the fix.
    """
    sheet = _read(path)
    facts = _facts(sheet, names, dataset, split)
    found = []
    for column in _chosen(sheet, columns):
        values, words = _logits(sheet, column)
        frame = facts["frame"].fillna(pd.Series(np.where(np.isnan(values), -1, 0))).astype(np.int64)
        found.append(Scores(column, words, facts.assign(frame=frame, logit=values)[list(COLUMNS)]))
    return found


def write_scores(path: Path, table: pd.DataFrame) -> None:
    """Write a prediction table, which may contain several splits, so that `read_scores` returns the same table.

    Raises:
        ScoresError: the suffix of the file is not `.csv`, `.parquet` or `.jsonl`.
    """
    write = _by_suffix(path, {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, write(table[list(COLUMNS)]))


def _csv(table: pd.DataFrame) -> bytes:
    return bytes(table.to_csv(index=False).encode())


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), buffer)
    return buffer.getvalue()


def _json_lines(table: pd.DataFrame) -> bytes:
    rows = (json.dumps(without_nan(row), allow_nan=False) for row in table.to_dict("records"))
    return "".join(f"{row}\n" for row in rows).encode()


def _by_suffix(path: Path, known: Mapping[str, T]) -> T:
    if path.suffix.lower() not in known:
        raise ScoresError(f"{printable(str(path))}: expected a file name ending in {', '.join(known)}")
    return known[path.suffix.lower()]


def _read(path: Path) -> _Sheet:
    read: Callable[[Path], Mapping[str, Sequence[object]]] = _by_suffix(
        path, {".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_json_lines}
    )
    if not path.exists():
        raise ScoresError(f"{printable(str(path))}: there is no such file")
    cells = {name: [None if _is_empty(cell) else cell for cell in column] for name, column in read(path).items()}
    if not any(cells.values()):
        raise ScoresError(f"{printable(str(path))} has no rows; expected one row per scored item or frame")
    return _Sheet(path, cells)


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and cell != cell)


def _read_csv(path: Path) -> dict[str, Sequence[object]]:
    head, *rows = [row for row in read_csv(path) if row] or [[]]
    names = _once(path, [name.strip() for name in head])
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise ScoresError(
                f"{printable(str(path))}, row {number}: {len(row)} cells; expected {len(names)}, as in the header. "
                "Separate columns by commas, and quote cells that contain a comma"
            )
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _read_parquet(path: Path) -> dict[str, Sequence[object]]:
    try:
        with open_regular(path) as file, pq.ParquetFile(file) as parquet:
            table = parquet.read()
    except (pa.ArrowException, NotRegularError, OSError) as error:
        said = str(error).partition("\n")[0][:120]
        raise ScoresError(f"{printable(str(path))} is not a readable Parquet file ({said})") from None
    return dict(zip(_once(path, table.column_names), (column.to_pylist() for column in table.columns), strict=True))


def _read_json_lines(path: Path) -> dict[str, Sequence[object]]:
    rows = list[dict[str, object]]()
    for number, line in enumerate(filter(str.strip, read_text(path).split("\n")), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ScoresError(f"{printable(str(path))}, row {number}: expected one JSON object per line")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _once(path: Path, names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScoresError(f"{printable(str(path))} has several columns named {_shown(twice[0])}; rename or delete one")
    return names


def _chosen(sheet: _Sheet, columns: Sequence[str]) -> list[str]:
    """Return the columns with scores.

    Raises:
        ScoresError: a column does not exist, or `columns` is empty and the file has several of `SCORES`.
    """
    where, known = printable(str(sheet.path)), ", ".join(map(_shown, sheet.cells))
    if columns:
        found = {pattern: [name for name in sheet.cells if fnmatch.fnmatchcase(name, pattern)] for pattern in columns}
        if missing := [pattern for pattern, matching in found.items() if not matching]:
            raise ScoresError(f"{where} has no column {_shown(missing[0])}; it has {known}")
        return list(dict.fromkeys(name for matching in found.values() for name in matching))
    there = [name for name in SCORES if name in sheet.cells]
    if not there:
        raise ScoresError(
            f"{where} has none of the columns {', '.join(SCORES)}; it has {known}. columns=[NAME] selects the "
            "columns with scores"
        )
    if len(there) > 1:
        raise ScoresError(f"{where} has the columns {' and '.join(there)}; choose one with columns=[{there[0]}]")
    return there


def _logits(sheet: _Sheet, column: str) -> tuple[Array, str]:
    """Return a column as logits [N], NaN for empty cells, and the word `logits` or `probabilities`."""
    values = sheet.numbers(column)
    if "logit" in column.lower():
        return values, "logits"
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        text = f"{values[outside[0]]:g}; expected a probability from 0 to 1. If these are logits, rename the column"
        raise sheet.error(int(outside[0]), column, f"{text} to logit, or to a name that contains logit")
    return np.clip(logit(values), -EXTREME, EXTREME), "probabilities"


def _facts(sheet: _Sheet, names: Mapping[str, str], dataset: str, split: str) -> pd.DataFrame:
    """Return the columns of a prediction table except `logit`; a missing `frame` is NaN.

    Raises:
        ScoresError: a required column is missing, a cell is invalid, or rows repeat or contradict each other.
    """
    for name in ("item", "label"):
        if names[name] not in sheet.cells:
            raise ScoresError(
                f"{printable(str(sheet.path))} has no column {_shown(names[name])}; it has "
                f"{', '.join(map(_shown, sheet.cells))}. names.{name}=NAME sets the name of this column"
            )
    label = _mapped(sheet, names["label"], LABELS, None, "0 or real, 1 or fake")
    count = len(label)
    methods = [("fake" if text is None else printable(text)) for text in _optional(sheet, names["method"], count)]
    table = pd.DataFrame(
        {
            "item": _items(sheet, names["item"]),
            "track": _whole(sheet, names["track"], count).fillna(0).astype(np.int64),
            "frame": _whole(sheet, names["frame"], count),
            "time": sheet.numbers(names["time"]) if names["time"] in sheet.cells else np.full(count, np.nan),
            "label": label,
            "method": [name if fake else "real" for name, fake in zip(methods, label, strict=True)],
            "dataset": [
                dataset if text is None else printable(text) for text in _optional(sheet, names["dataset"], count)
            ],
            "split": _mapped(sheet, names["split"], SPLITS, split, "train, val or test")
            if names["split"] in sheet.cells
            else [split] * count,
        }
    )
    _check_rows(sheet, table, names)
    return table


def _optional(sheet: _Sheet, column: str, count: int) -> list[str | None]:
    return sheet.texts(column) if column in sheet.cells else [None] * count


def _whole(sheet: _Sheet, column: str, count: int) -> "pd.Series[float]":
    return pd.Series(sheet.numbers(column, whole=True) if column in sheet.cells else np.full(count, np.nan))


def _items(sheet: _Sheet, column: str) -> list[str]:
    """Return the names of the items unchanged, so that they match the item names of other runs."""
    texts = sheet.texts(column)
    for row, text in enumerate(texts):
        if text is None:
            raise sheet.error(row, column, "the cell is empty; expected the name of the item")
    return [str(text) for text in texts]


def _mapped(sheet: _Sheet, column: str, known: Mapping[str, T], empty: T | None, words: str) -> list[T]:
    """Look up each cell of a column in `known` and return the values found; an empty cell becomes `empty`."""
    found = list[T]()
    for row, text in enumerate(sheet.texts(column)):
        value = empty if text is None else known.get(text.strip().lower())
        if value is None:
            raise sheet.error(row, column, f"'{_shown(text or '')}'; expected {words}")
        found.append(value)
    return found


def _check_rows(sheet: _Sheet, table: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Raise an error for repeated rows, and for items with several labels, methods, data sets or splits."""
    first = table.groupby("item", sort=False).transform("first")
    for column in ("split", "label", "method", "dataset"):
        wrong = np.flatnonzero(table[column] != first[column])
        if len(wrong):
            row = table.iloc[wrong[0]]
            text = f"{row[column]} for the item '{_shown(row['item'])}', but an earlier row has"
            fix = "an item belongs to one split" if column == "split" else f"expected one {column} per item"
            raise sheet.error(int(wrong[0]), names[column], f"{text} {first[column].iloc[wrong[0]]}; {fix}")
    keys = table[["item", "track", "frame"]]
    again = np.flatnonzero(keys.duplicated())
    if len(again):
        row = keys.iloc[again[0]]
        frame = "" if np.isnan(row["frame"]) else f", track {row['track']}, frame {int(row['frame'])}"
        same = keys[keys["item"] == row["item"]].duplicated(keep=False)
        text = f"'{_shown(row['item'])}'{frame} repeats row {int(np.asarray(same.index[same])[0]) + 1}"
        fix = f"delete one of the two rows, or add the column {names['frame']} with frame numbers"
        raise sheet.error(int(again[0]), names["item"], f"{text}; {fix}")


def _shown(cell: object) -> str:
    """Return the first characters of a cell in printable form."""
    text = printable(str(cell))
    return text if len(text) <= 60 else f"{text[:57]}..."
