"""The table printed at the end of a sweep: the overrides, state and metrics of each job."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich import box
from rich.table import Table
from rich.text import Text

from unmask.console import show
from unmask.files import DamagedError, read_json
from unmask.runs.summary import digits

SWEEP = "UNMASK_SWEEP"  # environment variable: host name and process ID of a sweep
JOBS = "UNMASK_SWEEP_JOBS"  # environment variable: path of the file in which the sweep's jobs record their folders


@contextmanager
def running() -> Iterator[None]:
    """Name this process as the sweep, in a variable that its jobs inherit; see `unmask.commands.train.start_job`."""
    before = os.environ.get(SWEEP)
    os.environ[SWEEP] = f"{platform.node()} {os.getpid()}"  # jobs compare the host name with their own
    try:
        yield
    finally:
        del os.environ[SWEEP]
        if before is not None:
            os.environ[SWEEP] = before


@contextmanager
def table_at_end() -> Iterator[None]:
    """On exit, even after an error, print the table of the jobs recorded by `note`, if there are any."""
    with TemporaryDirectory(prefix="unmask-sweep-") as place:
        journal = Path(place) / "jobs.jsonl"
        os.environ[JOBS] = str(journal)
        try:
            yield
        finally:
            if journal.is_file():
                show(table(journal.read_text(encoding="utf-8").splitlines()))


def note(out: Path, overrides: Sequence[str]) -> None:
    """Record a job for the table of the sweep.

    If the job runs on another machine that cannot access the temporary files of the sweep's machine, nothing is
    recorded, and the table has no row for the job.

    Args:
        out: the job's run folder.
        overrides: the job's config overrides.
    """
    journal = Path(os.environ.get(JOBS, ""))
    if journal.parent.is_dir() and journal.name:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([str(out), list(overrides)]) + "\n")


def table(lines: Sequence[str]) -> Table:
    """Return the table of recorded jobs; overrides that all jobs share are left out."""
    jobs = [(Path(out), overrides) for out, overrides in map(json.loads, lines)]
    shared = set.intersection(*(set(overrides) for _, overrides in jobs)) if len(jobs) > 1 else set()
    found = Table("job", "run", "score", "test AUC", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for out, overrides in jobs:
        own = " ".join(one.lstrip("+") for one in overrides if one not in shared)
        found.add_row(Text(own), Text(out.name), *_figures(out))
    return found


def _figures(out: Path) -> tuple[Text, Text]:
    path = out / "metrics.json"
    if not path.is_file():
        return Text("failed", "red"), Text("")
    try:
        metrics = read_json(path, "train the run again with rerun=true")
    except DamagedError:
        return Text("damaged", "red"), Text("")
    test = metrics.get("test")
    return _digits(metrics.get("score")), _digits(test.get("video_auroc") if isinstance(test, dict) else None)


def _digits(value: object) -> Text:
    return Text(digits(value) if isinstance(value, int | float) else "")
