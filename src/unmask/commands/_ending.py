"""How a training ends: the figures of its test split, the page, and where all of it lies."""

from pathlib import Path

from unmask.commands._shell import say
from unmask.runs import Run

RESAMPLES = 1000  # of the bootstrap behind each interval


def show(folder: Path, page: bool = True) -> None:
    """Print a finished run's figures and its folder, and write the page where it is not there yet.

    A detector has the table of `unmask report`, a generator the figures of its test split, and no page. A training is
    finished whether or not it can be reported: a failure is one line.

    Args:
        folder: of a finished run.
        page: False prints the folder alone.
    """
    if page:
        try:
            run = Run(folder)
            _report(run) if "thresholds" in run.metrics else _list(run)
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"no report ({words}); the run is finished: unmask report run={folder}", style="yellow")
    say(f"run: {folder}")


def _report(run: Run) -> None:
    from unmask.commands import report  # draws, and a training that has just been started does not

    found = report.gather(run, RESAMPLES)
    report.tell([found])
    path = run.folder / report.PAGE
    if not path.is_file():
        report.write([run], [found])
    say(f"report: {path}")


def _list(run: Run) -> None:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in run.metrics["test"].items())
    say(f"test: {figures}" if figures else "test: no figures, the test split is empty")
