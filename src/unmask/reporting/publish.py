"""Publish finished runs: the HTML page, the table in the terminal, and the summary after training."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from unmask.console import console, say
from unmask.reporting import about, across, page, robustness, tables
from unmask.reporting.gather import Sounds, Strips, gather
from unmask.reporting.run import RunReport
from unmask.runs.run import Run, is_demo

PAGE = "report.html"
RESAMPLES = 1000  # bootstrap resamples per interval


def report(folders: Sequence[Path], out: Path | None, title: str | None, resamples: int) -> Path:
    """Write the page of one or several runs and print its table."""
    runs = [Run(folder) for folder in folders]
    reports = [gather(run, resamples) for run in runs]
    path = write(runs, reports, out, title)
    print_tables(reports)
    if (found := _across(runs)) is not None:
        console.print(across.console(found))
    say(f"report: {path}")
    return path


def _across(runs: Sequence[Run]) -> across.Matrix | None:
    """Return the AUC of each run on each data set; None if there is only one data set."""
    found = across.matrix(runs)
    return found if len(found.sets) > 1 else None


def write(runs: Sequence[Run], reports: Sequence[RunReport], out: Path | None = None, title: str | None = None) -> Path:
    """Write the page of one or several runs and return its path."""
    names = [entry.name for entry in reports]
    for run, entry in zip(runs, reports, strict=True):
        if names.count(entry.name) > 1:  # runs of the same preset are distinguished by their folders
            entry.name = f"{entry.name} ({run.folder.name})"
    path = out or (runs[0].folder / PAGE if len(runs) == 1 else Path("outputs") / PAGE)
    page.write(
        path,
        reports,
        title or f"{', '.join(names)} on {_dataset(reports[0])}",
        strips=Strips(runs),
        demo=any(is_demo(run.config["data"]) for run in runs),
        about=about.of_report(datetime.now()),
        across=_across(runs),
        sounds=Sounds(runs),
    )
    return path


def print_tables(reports: Sequence[RunReport]) -> None:
    """Print the table of metrics, the robustness metrics, and the size and cost of each network."""
    console.print(tables.console(reports))
    for entry in reports:
        for found in entry.suites.values():
            if len(found) <= robustness.FEW + 1:
                console.print(robustness.table(entry.name, found))
        say(f"{entry.name}: {'; '.join(f'{name} {text}' for name, text in entry.network.items())}")


def _dataset(report: RunReport) -> str:
    """Return the data set of the test predictions or, if they are empty, of the validation predictions."""
    tables = (report.predictions, report.validation)
    return next(str(table["dataset"].iloc[0]) for table in tables if table is not None and len(table))


def show(folder: Path, page: bool = True) -> None:
    """Print the metrics and the folder of a finished run, and write its page unless the page already exists.

    For a detector, the table of `unmask report` is printed. For a generator, the metrics of its test split are
    printed, and no page is written. An error in the report is only printed, as one line, because the run
    itself is finished.

    Args:
        folder: Folder of a finished run.
        page: Whether to print metrics and write the page; if False, only the folder is printed.
    """
    if page:
        try:
            run = Run(folder)
            _report(run) if run.detects else _list(run)
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            retry = f"unmask report run={folder}"
            say(f"the run is finished, but its report failed ({words}). Retry: {retry}", style="yellow")
    say(f"run: {folder}")


def _report(run: Run) -> None:
    found = gather(run, RESAMPLES)
    print_tables([found])
    path = run.folder / PAGE
    if not path.is_file():
        write([run], [found])
    say(f"report: {path}")


def _list(run: Run) -> None:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in run.metrics["test"].items())
    say(f"test: {figures}" if figures else "test: no metrics, because the test split is empty")
