"""Read the description of a paper's table: presets with their seeds, and published values with their sources.

If the description has `tests`, each detector is scored on each of these test sets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from unmask.config import Settings
from unmask.metrics import detection
from unmask.reporting.run import NAMES, RunReport

LEVELS = ("frame", "video", "image")
# (required keys, optional keys) in a table's file: of the table, a needed generator, a row, and a published value.
TABLE = ({"name", "title", "caption", "metrics", "rows"}, {"needs", "tests"})
NEED = ({"name", "experiment", "out", "count"}, {"overrides"})
ROW = ({"name", "experiment"}, {"overrides", "seeds", "published"})
PUBLISHED = ({"value", "metric", "level", "source"}, {"verified", "note"})


class TableError(ValueError):
    """Error for an invalid table file; the message names the table, the row and the fix."""


ROBUSTNESS = "robustness"  # metric: the mean AUC over the perturbed steps of the suite that a training runs


class Column(NamedTuple):
    """A metric at a level.

    Attributes:
        level: `frame`, `video` or `image`.
        metric: a metric of `detection.METRICS`, or `robustness`.
        part: the method whose fakes are scored; `all` for all fakes. For `robustness`: a step such as `jpeg-1`, whose
            AUC is shown, or `all` for the mean over the steps.
        on: the test set, of the table's `tests`; empty for the detector's own test set.
    """

    level: str
    metric: str
    part: str = "all"
    on: str = ""

    @property
    def title(self) -> str:
        """Header of the column."""
        name = "AUC, perturbed" if self.metric == ROBUSTNESS else NAMES[self.metric]
        part = f", {self.part}" if self.part != "all" else ""
        on = f" on {self.on}" if self.on else ""
        return f"{self.level.capitalize()} {name}{part}{on}"


@dataclass(frozen=True)
class Published:
    """A published value in [0, 1]; `verified` is true if the value was checked against its source."""

    value: float
    metric: str
    level: str
    source: str
    verified: bool = False
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """One seed of a row: the commands that run it and, if it has run, its reports.

    Args:
        seed: Seed of the run.
        command: Command that trains and scores the run.
        report: Report on the run's own test split; None if it has not run.
        others: Reports on the table's `tests`, by name of the test set; test sets that were not scored are left out.
        commands: Commands that score the run on the table's `tests`, by name of the test set.
    """

    seed: int
    command: str
    report: RunReport | None = None
    others: Mapping[str, RunReport] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def on(self, name: str) -> RunReport | None:
        """Return the report on a test set, or on the run's own test split if `name` is empty; None if it is missing."""
        return self.others.get(name) if name else self.report


@dataclass(frozen=True)
class Row:
    """A preset with its overrides, trained with each of its seeds."""

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    published: tuple[Published, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def reports(self, on: str = "") -> list[RunReport]:
        """Return the reports on a test set, in the order of the seeds; seeds that were not scored are left out."""
        return [report for outcome in self.outcomes if (report := outcome.on(on)) is not None]


@dataclass(frozen=True)
class Need:
    """A generator that writes `count` samples to `out`; the table's detectors are trained or tested on them."""

    name: str
    experiment: str
    out: str
    count: int
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Args:
        name: Name of the table's file.
        title: Title above the table.
        caption: Text below the title.
        columns: Metrics, one per column.
        rows: Detectors, one per row.
        rendered: Whether the table needs rendered data (`needs: demo`).
        needs: Generators that the table needs.
        tests: Test sets on which each row is scored: name -> overrides of `unmask evaluate`.
        demo: Whether rendered data was scored.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    rendered: bool = False
    needs: tuple[Need, ...] = ()
    tests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    demo: bool = False


def read(plain: Settings) -> Table:
    """Create a table from the parsed content of its file.

    Raises:
        TableError: If the file has errors, such as a published value without a source; the message lists them all.
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
    needs = _needs(plain)
    return Table(
        name, plain["title"], plain["caption"], _columns(plain), rows, "demo" in needs,
        tuple(Need(**{**need, "overrides": tuple(need.get("overrides", ()))}) for need in needs if need != "demo"),
        {str(test): tuple(overrides) for test, overrides in plain.get("tests", {}).items()},
    )  # fmt: skip


def _needs(plain: Settings) -> list[Any]:
    """List what a table needs; a single need may be given without a list."""
    given = plain.get("needs") or []
    return list(given) if isinstance(given, list | tuple) else [given]


def _columns(plain: Settings) -> tuple[Column, ...]:
    """Return the columns; a metric is written LEVEL/METRIC or LEVEL/METRIC/PART."""
    return tuple(
        Column(level, metric, part or "all", test)
        for test in plain.get("tests") or [""]
        for level, metric, part in map(_metric, plain.get("metrics", ()))
    )


def _metric(text: object) -> tuple[str, str, str]:
    level, _, rest = str(text).partition("/")
    metric, _, part = rest.partition("/")
    return level, metric, part


def _listed(row: Settings) -> list[Settings]:
    """List a row's published values; a single value may be given without a list."""
    given = row.get("published") or []
    return [given] if isinstance(given, dict) else list(given)


def _problems(plain: Settings) -> Iterator[tuple[str, str]]:
    """Yield (where, what) for each problem; `where` is empty or, for example, `, row NAME`."""
    yield from (("", what) for what in _keys(plain, *TABLE))
    for level, metric, *_ in _columns(plain):
        if level not in LEVELS or metric not in (*detection.METRICS, ROBUSTNESS):
            known = f"{', '.join(LEVELS)}; {', '.join((*NAMES, ROBUSTNESS))}"
            yield "", f"metrics: {level}/{metric}: expected LEVEL/METRIC or LEVEL/METRIC/PART with {known}"
    for need in _needs(plain):
        if isinstance(need, dict):
            yield from ((f", needs {need.get('name', 'without a name')}", what) for what in _keys(need, *NEED))
        elif need != "demo":
            yield "", f"needs: {need}: expected demo, or a generator with the keys {', '.join(sorted(NEED[0]))}"
    rows = plain.get("rows", ())
    names = [row.get("name") for row in rows]
    yield from (("", f"the row {name} occurs twice") for name in set(names) if names.count(name) > 1)
    for row in rows:
        where = f", row {row.get('name', 'without a name')}"
        yield from ((where, what) for what in _keys(row, *ROW))
        for given in _listed(row):
            yield from ((where, f"published value: {what}") for what in _keys(given, *PUBLISHED))
            if not 0 <= float(given.get("value", 0)) <= 1:
                yield where, f"published value {given['value']}: expected a fraction between 0 and 1"
            at = (given.get("level", ""), given.get("metric", ""))
            if all(at) and at not in [column[:2] for column in _columns(plain)]:
                yield where, f"published value: the table has no column {'/'.join(at)}; add it to its metrics"


def _keys(given: Settings, must: set[str], may: set[str]) -> Iterator[str]:
    yield from (f"it has no {key}" for key in sorted(must) if given.get(key) in (None, ""))
    yield from (f"unknown key {key}" for key in sorted(map(str, given)) if key not in must | may)
