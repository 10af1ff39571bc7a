"""A paper's table as its file describes it: presets and their seeds, published figures and their sources."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from unmask.metrics import detection
from unmask.reporting.page import NAMES
from unmask.reporting.run import RunReport

LEVELS = ("frame", "video", "image")
# What a table's file holds, what must be there and what may be: of the table, of a row, of a published figure.
TABLE = ({"name", "title", "caption", "metrics", "rows"}, {"needs"})
ROW = ({"name", "experiment"}, {"overrides", "seeds", "published"})
PUBLISHED = ({"value", "metric", "level", "source"}, {"verified", "note"})


class TableError(ValueError):
    """A table's file cannot be read as a table; the message names the table, the row and the fix."""


class Column(NamedTuple):
    """A figure of merit at a level."""

    level: str
    metric: str

    @property
    def title(self) -> str:
        """Head of the column."""
        return f"{self.level.capitalize()} {NAMES[self.metric]}"


@dataclass(frozen=True)
class Published:
    """A figure that others gave, as a share in [0, 1]; `verified` where it was read in its source or confirmed."""

    value: float
    metric: str
    level: str
    source: str
    verified: bool = False
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """One seed of a row: the command that runs it and, once that has run, what it gave."""

    seed: int
    command: str
    report: RunReport | None = None


@dataclass(frozen=True)
class Row:
    """A preset with its overrides, trained with each of its seeds."""

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    published: tuple[Published, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def reports(self) -> list[RunReport]:
        """What was run of it, in the order of its seeds."""
        return [outcome.report for outcome in self.outcomes if outcome.report is not None]


@dataclass(frozen=True)
class Table:
    """A table of a paper; `needs: demo` wants data that is rendered, `demo` says that rendered data was scored."""

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    needs: str | None = None
    demo: bool = False


def read(plain: Mapping[str, Any]) -> Table:
    """Take a table from the plain values of its file.

    Raises:
        TableError: all that is wrong with it, such as a published figure without its source or level.
    """
    name = plain.get("name", "without a name")
    problems = [f"table {name}{where}: {what}" for where, what in _problems(plain)]
    if problems:
        raise TableError("\n".join(problems))
    rows = tuple(
        Row(
            row["name"],
            row["experiment"],
            tuple(row.get("overrides", ())),
            tuple(row.get("seeds", (0,))),
            tuple(Published(**given) for given in _listed(row)),
        )
        for row in plain["rows"]
    )
    return Table(name, plain["title"], plain["caption"], _columns(plain), rows, plain.get("needs"))


def _columns(plain: Mapping[str, Any]) -> tuple[Column, ...]:
    parts = [str(metric).partition("/") for metric in plain.get("metrics", ())]
    return tuple(Column(level, metric) for level, _, metric in parts)


def _listed(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List a row's published figures; one may stand alone."""
    given = row.get("published") or []
    return [given] if isinstance(given, Mapping) else list(given)


def _problems(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where something is wrong, and what."""
    yield from (("", what) for what in _keys(plain, *TABLE))
    for level, metric in _columns(plain):
        if level not in LEVELS or metric not in detection.METRICS:
            yield "", f"metrics: {level}/{metric}: write LEVEL/METRIC, of {', '.join(LEVELS)} and {', '.join(NAMES)}"
    rows = plain.get("rows", ())
    names = [row.get("name") for row in rows]
    yield from (("", f"the row {name} stands twice") for name in set(names) if names.count(name) > 1)
    for row in rows:
        where = f", row {row.get('name', 'without a name')}"
        yield from ((where, what) for what in _keys(row, *ROW))
        for given in _listed(row):
            yield from ((where, f"published figure: {what}") for what in _keys(given, *PUBLISHED))
            if not 0 <= float(given.get("value", 0)) <= 1:
                yield where, f"published figure: value {given['value']}: write a share between 0 and 1"
            at = Column(given.get("level", ""), given.get("metric", ""))
            if all(at) and at not in _columns(plain):
                yield where, f"published figure: the table has no column {'/'.join(at)}; add it to its metrics"


def _keys(given: Mapping[str, Any], must: set[str], may: set[str]) -> Iterator[str]:
    yield from (f"it has no {key}" for key in sorted(must) if given.get(key) in (None, ""))
    yield from (f"there is no key {key}" for key in sorted(map(str, given)) if key not in must | may)
