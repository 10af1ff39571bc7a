"""Render a paper's table: measured and published values, and the commands for missing runs."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table as RichTable

from unmask.metrics.robustness import mean_auroc
from unmask.reporting import tables
from unmask.reporting.cost import COST
from unmask.reporting.remarks import remarks
from unmask.reporting.run import Figure, RunReport
from unmask.reporting.table_generated import GENERATED, Generated
from unmask.reporting.table_spec import ROBUSTNESS, SAMPLE, Column, Outcome, Published, Row, Table

SUITE = "quick"  # name of the robustness suite that every training runs
WIDTH = 80  # columns of a terminal
PUBLISHED = "Published"  # title of the columns of published values
DEMO = "These metrics are computed on rendered demo data; they say nothing about real deepfakes."


def measured(report: RunReport | Generated, column: Column) -> Figure:
    """Look up a metric; NaN if the run lacks it (a run on pictures has no metrics of frames, for example)."""
    figure = None
    if isinstance(report, Generated):
        value = report.figures.get(column.metric, math.nan) if column.level == GENERATED else math.nan
        figure = Figure(value, math.nan, math.nan, 0, 0, math.nan)
    elif column.level == COST:
        figure = Figure(report.cost.get(column.metric, math.nan), math.nan, math.nan, 0, 0, math.nan)
    elif column.level in _levels(report):
        level = next(iter(report.scored)) if column.level == SAMPLE else column.level
        if column.metric == ROBUSTNESS:
            figure = _robustness(report, level, column.part)
        elif "=" in column.part:
            figure = _of_group(report, *column.part.split("=", 1))
        else:
            figure = report.figure(level, column.part, column.metric)
    return figure or Figure(math.nan, math.nan, math.nan, 0, 0, math.nan)


def _levels(report: RunReport | Generated) -> tuple[str, ...]:
    """List the levels at which a run has metrics."""
    return (GENERATED,) if isinstance(report, Generated) else (SAMPLE, COST, *report.scored)


def _robustness(report: RunReport, level: str, part: str) -> Figure | None:
    """Look up the AUC of a step of the robustness suite, or the mean over all steps; None if the step was not run."""
    steps = report.suites.get(SUITE, ()) if level == report.whole else ()  # suites score whole items
    scored = report.scored[level]["label"]
    counts = int((scored == 0).sum()), int((scored == 1).sum())
    if part == "all":
        return Figure(mean_auroc(steps), math.nan, math.nan, *counts, math.nan) if steps else None
    step = next((one for one in steps if f"{one.name}-{one.level}" == part), None)
    return step and Figure(step.auroc, step.low, step.high, *counts, step.coverage)


def _of_group(report: RunReport, attribute: str, value: str) -> Figure | None:
    """Look up the recall, with its Clopper-Pearson interval, of the fakes with this value of an attribute."""
    rate = next((one.tpr for one in report.groups.get(attribute, ()) if one.name == value), None)
    return rate and Figure(rate.value, rate.low, rate.high, 0, rate.total, math.nan)


def cell(row: Row, column: Column) -> str:
    """Format the measured value: a metric with its interval, or mean and standard deviation over several seeds."""
    reports = row.reports(column.on)
    figures, total = [measured(report, column) for report in reports], len(row.outcomes)
    if not figures:
        return "not run" if row.experiment else "-"
    if all(column.level not in _levels(report) for report in reports):
        return f"n/a ({'not generated' if column.level == GENERATED else f'no {column.level}s'})"
    if lacking := [figure for figure in figures if not figure.known]:
        return _one(lacking[0], column)
    if total == 1:
        return _one(figures[0], column)
    seeds = f"({len(figures)} of {total} seeds)" if len(figures) < total else f"({total} seeds)"
    values = [figure.value for figure in figures]
    deviation = f" ± {column.show(statistics.stdev(values))}" if len(values) > 1 else ""
    return f"{column.show(statistics.fmean(values))}{deviation} {seeds}"


def _one(figure: Figure, column: Column) -> str:
    """Format one metric with its interval, or why it is missing; a mean over the steps of a suite has no interval."""
    generated = column.level in (GENERATED, COST)
    if not figure.known and (generated or column.metric == ROBUSTNESS):
        return "n/a (not computed)" if generated else "not run"
    mean = column.metric == ROBUSTNESS and column.part == "all"
    return column.show(figure.value) if generated or mean else tables.cell(figure)


def published(row: Row, column: Column) -> str:
    """Format the published values for one cell, each with `(unverified)` if it is unverified; `-` if there are none."""
    found = [given for given in row.published if given.column == column]
    return ", ".join(f"{_given(given)}{'' if given.verified else ' (unverified)'}" for given in found) or "-"


def _given(given: Published) -> str:
    """Format a published value; at the level `generated`, with as many digits as were published."""
    return f"{given.value:g}" if given.level == GENERATED else f"{given.value:.3f}"


def grid(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows: after each measured value, the published values of the same metric, if any."""
    generated = all(column.level == GENERATED for column in table.columns)
    head, body = ["Model" if generated else "Detector"], [[row.name] for row in table.rows]
    for column in table.columns:
        beside = [published(row, column) for row in table.rows]
        compared = any(text != "-" for text in beside)
        head += [column.title, *([PUBLISHED] if compared else [])]
        for cells, row, text in zip(body, table.rows, beside, strict=True):
            cells += [cell(row, column), *([text] if compared else [])]
    if generated:  # no items are classified
        return head, body
    for cells, row in zip(body, table.rows, strict=True):
        reports = [report for on in table.tests or [""] for report in row.reports(on)]
        shown = [report for report in reports if isinstance(report, RunReport)]
        cells.append(", ".join(dict.fromkeys(map(tables.counts, shown))) or "-")
        cells.append(", ".join(dict.fromkeys(map(tables.coverage, shown))) or "-")
    return [*head, "Real/fake", "Coverage"], body


def notes(table: Table) -> list[str]:
    """Return the sentences below the table: protocols, remarks, metrics of each seed, and sources."""
    lines = [*([DEMO] if table.demo else []), *_protocols(table)]
    for test in table.tests:
        scored = [report.protocol["Data"] for row in table.rows for report in row.reports(test)]
        lines += [f"On {test}: {data}." for data in dict.fromkeys(scored)]
    lines += [line for row in table.rows for line in _remarks(row, ["", *table.tests])]
    lines += [line for row in table.rows if len(row.outcomes) > 1 for line in _seeds(row, table.columns)]
    return [*lines, *_sources(table.rows)]


def _protocols(table: Table) -> Iterator[str]:
    """Yield the parts of the protocol that all rows share, then the other parts, with the names of their rows."""
    of = {
        row.name: [f"{key}: {text}" for key, text in report.protocol.items() if key != "Seed"]
        for row in table.rows
        for report in row.reports()[:1]
    }
    shared = [
        part for part in next(iter(of.values()), []) if len(of) > 1 and all(part in parts for parts in of.values())
    ]
    if shared:
        yield f"All rows: {'; '.join(shared)}."
    rest: dict[str, list[str]] = {}
    for name, parts in of.items():
        rest.setdefault("; ".join(part for part in parts if part not in shared), []).append(name)
    yield from (f"{', '.join(names)}: {words}." for words, names in rest.items() if words)


def _remarks(row: Row, sets: Sequence[str]) -> Iterator[str]:
    """Yield the remarks on each seed and each test set; the run's own test set ("") comes first."""
    for outcome in row.outcomes:
        seed = f", seed {outcome.seed}" if len(row.outcomes) > 1 else ""
        for on in sets:
            report = outcome.on(on)
            for sentence in report.remarks if isinstance(report, Generated) else remarks(report) if report else ():
                yield f"{row.name}{seed}{f' on {on}' if on else ''}: {sentence}"


def _seeds(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        done = [(one.seed, report) for one in row.outcomes if (report := one.on(column.on)) is not None]
        if not done:
            continue
        each = ", ".join(f"seed {seed}: {_one(measured(report, column), column)}" for seed, report in done)
        yield f"{row.name}, {column.title}: mean and standard deviation over seeds; {each}."


def _sources(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one sentence per source of published values: the values of each row, and what is known about the source."""
    of: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for given in row.published:
            sure = "" if given.verified else "; unverified: not compared with its source"
            source = f"{given.source}{sure}{f'; {given.note}' if given.note else ''}"
            of.setdefault(source, {}).setdefault(row.name, []).append(f"{given.column.title}: {_given(given)}")
    for source, values in of.items():
        listed = [f"{name} ({'; '.join(found)})" for name, found in values.items()]
        yield f"Published: {', '.join(listed)}; source: {source}."


def missing(table: Table) -> list[tuple[str, str]]:
    """List the names of the missing runs, each with the command that runs it."""
    lacking = []
    generated = [column.metric for column in table.columns if column.level == GENERATED]
    for row in table.rows:
        for outcome in row.outcomes:
            one = outcome.report
            lacking += [(row.name, one.command)] if isinstance(one, Generated) and one.lacks(generated) else []
            lacking += [(row.name, outcome.command)] if outcome.report is None else []
            lacking += [(row.name, outcome.commands[test]) for test in table.tests if outcome.on(test) is None]
    return lacking


def console(table: Table) -> Group:
    """Return the table for a terminal of `WIDTH` columns; a wider table is divided, and its parts are stacked."""
    head, body = grid(table)
    columns = list(zip(head, *body, strict=True))
    widths = [max(len(word) for text in column for word in text.split()) for column in columns]
    blocks, block, room = list[list[int]](), list[int](), 0
    for unit in _units(head):
        needed = sum(widths[number] + 1 for number in unit)  # one space before each column
        if not block or needed > room:
            block, room = [0], WIDTH - widths[0]
            blocks.append(block)
        block += unit
        room -= needed
    return Group(*(_block([columns[at] for at in block], [widths[at] for at in block]) for block in blocks))


def _units(head: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the columns that must stay together: a measured value and the published values after it."""
    units: list[list[int]] = []
    for number, title in enumerate(head[1:], start=1):
        if title == PUBLISHED:
            units[-1].append(number)
        else:
            units.append([number])
    return units


def _block(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> RichTable:
    """Draw columns of at least these widths, one space apart; words are broken only if they do not fit in `WIDTH`."""
    spare = WIDTH - sum(widths) - (len(widths) - 1)
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for number, (column, width) in enumerate(zip(columns, widths, strict=True)):
        more = max(0, min(spare, max(map(len, column)) - width))  # the first columns get the spare room
        spare -= more
        justify: Literal["left", "right"] = "right" if number else "left"
        drawn.add_column(column[0].replace("[", r"\["), justify=justify, overflow="fold", width=width + more)
    for cells in zip(*(column[1:] for column in columns), strict=True):
        drawn.add_row(*(text.replace("[", r"\[") for text in cells))
    return drawn


def markdown(table: Table) -> str:
    """Return the table in Markdown, with its notes and the commands for missing runs."""
    parts = [f"# {table.title}", table.caption.strip(), tables.markdown_grid(*grid(table), left=1).rstrip()]
    parts += ["\n".join(f"- {note}" for note in notes(table))] if notes(table) else []
    if missing(table):
        lines = [f"# {name}\n{command}" for name, command in missing(table)]
        parts += ["## Not run", "These commands compute the missing values:", "\n".join(["```", *lines, "```"])]
    return "\n\n".join(parts) + "\n"


def latex(table: Table) -> str:
    """Return the table in LaTeX (booktabs); the commands for missing runs are comments below it."""
    body = tables.latex_grid(*grid(table), left=1)
    caption = f"{table.title}. {table.caption.strip()}".translate(tables.LATEX)
    below = [rf"\par\footnotesize {note.translate(tables.LATEX)}" for note in notes(table)]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", body.rstrip(), *below, r"\end{table}"]
    return "\n".join([*lines, *(f"% not run: {name}: {command}" for name, command in missing(table))]) + "\n"


def csv(table: Table) -> str:
    """Return a CSV with one line per row, seed and column, in full precision; undefined values are `n/a`."""
    return pd.DataFrame(list(_records(table))).to_csv(index=False, na_rep="n/a")


def _records(table: Table) -> Iterator[dict[str, object]]:
    for row in table.rows:
        for outcome in row.outcomes or (None,):
            for column in table.columns:
                yield _record(row, outcome, column)


def _record(row: Row, outcome: Outcome | None, column: Column) -> dict[str, object]:
    """Return the line of the CSV for a row, a seed and a column; a row without a preset has only published values."""
    report = outcome and outcome.on(column.on)
    figure = measured(report, column)._asdict() if report else {}
    given = [one for one in row.published if one.column == column]
    return {
        "row": row.name,
        "experiment": row.experiment or None,
        "seed": outcome.seed if outcome else None,
        "level": column.level,
        "metric": column.metric,
        **({"part": column.part} if column.part != "all" else {}),
        **({"on": column.on} if column.on else {}),
        "state": "measured" if report else "not run" if row.experiment else "published",
        **{name: figure.get(name) for name in Figure._fields},
        "published": given[0].value if given else None,
        "verified": given[0].verified if given else None,
        "source": given[0].source if given else None,
        "command": outcome.command if outcome else None,
    }
