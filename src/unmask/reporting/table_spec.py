"""Read the description of a paper's table: presets with their seeds, and published values with their sources.

If the description has `tests`, each detector is scored on each of these test sets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from unmask.config import Settings
from unmask.metrics import detection
from unmask.reporting.cost import COLUMNS, COST
from unmask.reporting.run import NAMES, RunReport
from unmask.reporting.table_generated import GENERATED, MEASURES, Generated

SAMPLE = "sample"  # level: `frame` if videos were scored, else `image` or `recording`
WHOLE = ("video", "image", "recording")  # levels with one score per item
LEVELS = ("frame", *WHOLE, SAMPLE)
# (required keys, optional keys) in a table's file: of the table, a needed generator, a row, and a published value.
# Other keys of the file refer to its `values`, which can be set on the command line.
TABLE = ({"name", "title", "caption", "metrics", "rows"}, {"needs", "tests", "values"})
NEED = ({"name", "experiment", "out", "count"}, {"overrides"})
ROW = ({"name"}, {"experiment", "overrides", "runs", "seeds", "published", "export"})
EXPORTED = ("float32", "int8", "dynamic", "fp16", "bf16")  # values of a row's `export`
PUBLISHED = ({"value", "metric", "level", "source"}, {"verified", "note", "test"})


class TableError(ValueError):
    """Error for an invalid table file; the message names the table, the row and the fix."""


ROBUSTNESS = "robustness"  # metric: the mean AUC over the perturbed steps of the suite that a training runs


class Column(NamedTuple):
    """A metric at a level.

    Attributes:
        level: `frame`, `video`, `image`, `recording`, or `sample` for frames of videos and for other items;
            `generated` for the metrics of a generator or a face swapper.
        metric: a metric of `detection.METRICS`, or `robustness`; at the level `generated`, a metric of `MEASURES`.
        part: the method whose fakes are scored; `all` for all fakes. For `robustness`: a step such as `jpeg-1`, whose
            AUC is shown, or `all` for the mean over the steps. For `recall`: also ATTRIBUTE=VALUE, such as
            `mask=upper_left`, for the items with this value of an attribute.
        on: one of the test sets in the table's `tests`; empty for the detector's own test set.
    """

    level: str
    metric: str
    part: str = "all"
    on: str = ""

    @property
    def title(self) -> str:
        """Header of the column, with the unit if there is one."""
        if self.level == GENERATED:
            return MEASURES[self.metric].title
        if self.level == COST:
            return COLUMNS[self.metric][0]
        name = "AUC, perturbed" if self.metric == ROBUSTNESS else NAMES[self.metric]
        part = f", {self.part}" if self.part != "all" else ""
        on = f" on {self.on}" if self.on else ""
        level = "" if self.level == SAMPLE else f"{self.level.capitalize()} "
        return f"{level}{name}{part}{on}"

    def show(self, value: float) -> str:
        """Format a value of the metric."""
        if self.level == COST:
            return f"{value:,.{COLUMNS[self.metric][1]}f}"
        return f"{value:.{MEASURES[self.metric].digits if self.level == GENERATED else 3}f}"


@dataclass(frozen=True)
class Published:
    """A published value in the unit of its column; `test` names its test set if the table has several.

    `verified` is true if the value was checked against its source.
    """

    value: float
    metric: str
    level: str
    source: str
    verified: bool = False
    note: str = ""
    test: str = ""

    @property
    def column(self) -> Column:
        """The column that shows the value; a published value is always for all fakes, not for one method."""
        return Column(self.level, self.metric, on=self.test)


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
    report: RunReport | Generated | None = None
    others: Mapping[str, RunReport | Generated] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def on(self, name: str) -> RunReport | Generated | None:
        """Return the report on a test set, or on the run's own test split if `name` is empty; None if it is missing."""
        return self.others.get(name) if name else self.report


@dataclass(frozen=True)
class Row:
    """A preset with its overrides, trained once per seed; a row without a preset has only published values.

    `runs` maps keys of the config to presets that are trained first. Each key, such as `module.network.encoder.run`, is
    then set to the run folder of its preset. If `export` is one of `EXPORTED`, the row shows the file that is exported
    from the run, instead of the run.
    """

    name: str
    experiment: str = ""
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    published: tuple[Published, ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    export: str = ""
    outcomes: tuple[Outcome, ...] = ()

    def reports(self, on: str = "") -> list[RunReport | Generated]:
        """Return the reports on a test set, in the order of the seeds; seeds that were not scored are left out."""
        return [report for outcome in self.outcomes if (report := outcome.on(on)) is not None]


@dataclass(frozen=True)
class Need:
    """A generator that writes `count` samples to `out`; the table's detectors are trained or tested on the samples."""

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
        needs: Generators that the table needs.
        tests: Test sets on which each row is scored: name -> overrides of `unmask evaluate`.
        demo: Whether rendered data was scored.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
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
            row.get("experiment", ""),
            tuple(row.get("overrides", ())),
            tuple(row.get("seeds", (0,))),
            tuple(Published(**given) for given in _listed(row)),
            dict(row.get("runs", {})),
            row.get("export", ""),
        )
        for row in plain["rows"]
    )
    return Table(
        name, plain["title"], plain["caption"], _columns(plain), rows,
        tuple(Need(**{**need, "overrides": tuple(need.get("overrides", ()))}) for need in plain.get("needs", ())),
        {str(test): tuple(overrides) for test, overrides in plain.get("tests", {}).items()},
    )  # fmt: skip


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
    for level, metric, part, _ in _columns(plain):
        if "=" in part and (metric != "recall" or level not in WHOLE):
            allowed = ", ".join(f"{name}/recall" for name in WHOLE)
            yield "", f"metrics: {level}/{metric}/{part}: expected one of {allowed} before ATTRIBUTE=VALUE"
        if level == GENERATED and metric not in MEASURES:
            yield "", f"metrics: {level}/{metric}: expected {GENERATED}/METRIC, METRIC one of {', '.join(MEASURES)}"
        elif level == COST:
            if metric not in COLUMNS:
                yield "", f"metrics: {level}/{metric}: expected {COST}/METRIC, METRIC one of {', '.join(COLUMNS)}"
        elif level != GENERATED and (level not in LEVELS or metric not in (*detection.METRICS, ROBUSTNESS)):
            known = f"LEVEL one of {', '.join((*LEVELS, GENERATED))}; METRIC one of {', '.join((*NAMES, ROBUSTNESS))}"
            yield "", f"metrics: {level}/{metric}: expected LEVEL/METRIC or LEVEL/METRIC/PART, {known}"
    for need in plain.get("needs", ()):
        if not isinstance(need, dict):
            yield "", f"needs: {need}: expected a generator with the keys {', '.join(sorted(NEED[0]))}"
            continue
        yield from ((f", needs {need.get('name', 'without a name')}", what) for what in _keys(need, *NEED))
    rows = plain.get("rows", ())
    names = [row.get("name") for row in rows]
    yield from (("", f"the row {name} occurs twice") for name in set(names) if names.count(name) > 1)
    for row in rows:
        where = f", row {row.get('name', 'without a name')}"
        yield from ((where, what) for what in _keys(row, *ROW))
        if not row.get("experiment") and ({"seeds", "overrides", "runs"} & set(row) or not _listed(row)):
            yield where, "it has no experiment; a row without one has published values and nothing else"
        if row.get("export", EXPORTED[0]) not in EXPORTED:
            yield where, f"export: {row['export']}: expected one of {', '.join(EXPORTED)}"
        for given in _listed(row):
            yield from ((where, f"published value: {what}") for what in _keys(given, *PUBLISHED))
            yield from ((where, what) for what in _range(given))
            level, metric, on = (str(given.get(key) or "") for key in ("level", "metric", "test"))
            if level and metric and Column(level, metric, on=on) not in _columns(plain):
                at = f"{level}/{metric}{f' on {on}' if on else ''}"
                yield where, f"published value: the table has no column {at}; add it to its metrics or tests"


def _range(given: Settings) -> Iterator[str]:
    """Yield an error if a published value is outside the range of its metric."""
    value, metric = float(given.get("value", 0)), str(given.get("metric"))
    if given.get("level") != GENERATED:
        if not 0 <= value <= 1:
            yield f"published value {value}: expected a fraction between 0 and 1"
    elif metric in MEASURES and not MEASURES[metric].low <= value <= MEASURES[metric].high:
        yield f"published value {value}: expected {MEASURES[metric].low:g} to {MEASURES[metric].high:g} for {metric}"


def _keys(given: Settings, must: set[str], may: set[str]) -> Iterator[str]:
    yield from (f"it has no {key}" for key in sorted(must) if given.get(key) in (None, ""))
    yield from (f"unknown key {key}" for key in sorted(map(str, given)) if key not in must | may)
