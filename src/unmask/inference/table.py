"""The table of several examined files. Long names and reasons are wrapped, but not inside of words."""

import re
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.table import Table
from rich.text import Text

from unmask.inference.examination import Examination
from unmask.inference.verdict import STYLES, digits

HEADS = ("file", "answer", "score", "faces", "why")
GAP = 2  # characters between two columns
REASONS = 20  # minimum width of the reasons, if they are wrapped: the longest code and a semicolon
NAMES = 20  # minimum width of the names
BREAKS = re.compile(r"(?<=[/_.\s-])(?=[^/_.\s-])")  # a name may be wrapped after these characters
CUT = "..."


def table_of(rows: Sequence[tuple[str, Examination]], width: int | None) -> Table:
    """Return a table with one row per file.

    Args:
        rows: name and examination of each file.
        width: width of the terminal, in characters; None for names and reasons in full.
    """
    cells = [(name, *_values(found)) for name, found in rows]
    most = [max(map(cell_len, column)) for column in zip(HEADS, *cells, strict=True)]
    names = most[0] if width is None else _names(most, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for head in HEADS:
        number = head in ("score", "faces")
        table.add_column(head, justify="right" if number else "left", no_wrap=head != "why", overflow="fold")
    for (name, answer, *others), (_, found) in zip(cells, rows, strict=True):
        table.add_row(Text(wrapped(name, names)), Text(answer, STYLES[found.answer]), *map(Text, others))
    return table


def _values(found: Examination) -> tuple[str, str, str, str]:
    """Return answer, score, number of faces and reasons of a file."""
    model = found.models[0] if found.models else None
    score = "" if model is None else digits(model.score, model.threshold)
    faces = str(len(found.faces)) if model is not None and model.sees == "face" else ""
    return str(found.answer), score, faces, "; ".join(dict.fromkeys(reason.code for reason in found.reasons))


def _names(most: Sequence[int], width: int) -> int:
    """Return the width of the names, given the widths that the columns need and that of the terminal."""
    names, *middle, reasons = most
    left = width - sum(middle) - GAP * len(middle) - GAP  # for names and reasons
    return min(names, max(NAMES, left - min(reasons, REASONS)))


def wrapped(name: str, width: int) -> str:
    """Wrap a path into lines of at most `width` characters: after separators, or anywhere in a longer word."""
    lines = [""]
    for word in BREAKS.split(name):
        for part in chop_cells(word, width):
            if cell_len(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(lines)


def shortened(name: str, width: int) -> str:
    """Shorten a path to at most `width` characters; the end, which tells most files apart, is kept.

    The folders are left out first. If the name of the file is still too long, its middle is left out.
    """
    if cell_len(name) <= width:
        return name
    file = name.rpartition("/")[2]
    if file != name and cell_len(file) + len(CUT) + 1 <= width:
        return f"{CUT}/{file}"
    head = (width - len(CUT)) // 2
    tail = chop_cells(file[::-1], width - len(CUT) - head)[0][::-1]
    return f"{set_cell_size(file, head).rstrip()}{CUT}{tail}"
