"""The tables of papers: find what was run of them, run what was not, and write them."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from unmask.cli import quote
from unmask.commands import _jobs
from unmask.commands._shell import console, say
from unmask.config import validate
from unmask.data.manifest import ManifestError
from unmask.data.store import StoreError
from unmask.reporting import paper, typeset
from unmask.reporting.run import RunReport
from unmask.runs import Run

WRITERS = {"md": typeset.markdown, "csv": typeset.csv, "tex": typeset.latex}


@dataclass(frozen=True)
class Job:
    """One seed of a row: what `unmask train` is given for it, as it is typed, and the config that this stands for."""

    row: paper.Row
    seed: int
    arguments: list[str]
    config: DictConfig

    @property
    def folder(self) -> Path:
        """Where its run lies; another place once its data is prepared."""
        return Path(self.config.hydra.run.dir)

    @property
    def finished(self) -> bool:
        """Whether it was run."""
        return (self.folder / "metrics.json").is_file()


def make(cfg: DictConfig, gather: Callable[[Run, int], RunReport]) -> None:
    """Write the table that `cfg.table` describes; with run=true after running what is missing.

    Raises:
        SystemExit: a row failed; the others were run and the table was written.
    """
    run = str(cfg.run).lower() == "true"
    if cfg.run is not None and not run:
        raise ValueError(f"run={cfg.run}: a table finds its runs itself; leave it out, or run=true runs what it lacks")
    plain: Any = OmegaConf.to_container(cfg.table, resolve=True)
    table = paper.read(plain)
    jobs = [_job(row, seed, list(cfg.overrides)) for row in table.rows for seed in row.seeds]
    failed = fill(table, jobs) if run else []
    demo = any(bool(job.config.data.get("demo")) for job in jobs)
    rows = tuple(replace(row, outcomes=_outcomes(row, jobs, gather, cfg.resamples)) for row in table.rows)
    show(replace(table, rows=rows, demo=demo), Path(cfg.out or f"outputs/tables/{table.name}"))
    if failed:
        raise SystemExit(
            f"unmask: table {table.name}: {len(failed)} failed, and the same command tries them again:\n"
            + "\n".join(f"  {line}" for line in failed)
        )


def _job(row: paper.Row, seed: int, extra: list[str]) -> Job:
    arguments = [f"experiment={row.experiment}", *row.overrides, f"seed={seed}", *extra]
    try:
        return Job(row, seed, arguments, _jobs.load("train", [quote(argument) for argument in arguments]))
    except HydraException as error:
        raise paper.TableError(f"row {row.name} does not compose: {error}") from error


def _outcomes(
    row: paper.Row, jobs: list[Job], gather: Callable[[Run, int], RunReport], resamples: int
) -> tuple[paper.Outcome, ...]:
    """What there is of a row, and the commands."""
    return tuple(
        paper.Outcome(
            job.seed,
            shlex.join(["unmask", "train", *job.arguments]),
            gather(Run(job.folder), resamples) if job.finished else None,
        )
        for job in jobs
        if job.row is row
    )


def fill(table: paper.Table, jobs: list[Job]) -> list[str]:
    """Run what is not finished, one after another, each as its own process; what failed, and at what.

    A finished row is found by its run's identity and not repeated, a killed one goes on, and one that fails does not
    stop the others.
    """
    failed = []
    for job in jobs:
        if job.finished:
            continue
        say(f"\n{table.name}: {job.row.name}, seed {job.seed}", style="bold")
        try:
            at = _run(job, rendered=table.needs == "demo")
        except (ValueError, OSError) as error:
            at = str(error)
        failed += [f"{job.row.name}, seed {job.seed}: {at}"] if at else []
    return failed


def _run(job: Job, rendered: bool) -> str | None:
    """Prepare the data where that is to be done, then train; what failed, or None."""
    given = [quote(argument) for argument in job.arguments]
    validate(job.config, "data")
    data: Any = instantiate(job.config.data, _convert_="all")
    steps = [("train", given)]
    if not _is_prepared(data):
        steps.insert(0, ("prepare", given))
        if rendered and not _is_there(data):
            steps.insert(0, ("demo", ["render_only=true", f"root='{data.root.with_name('demo_celebdf')}'"]))
    for verb, arguments in steps:
        if code := _jobs.call(verb, *arguments):
            return f"unmask {verb} ended with exit code {code}"
    return None


def _is_prepared(data: Any) -> bool:
    try:
        data.store  # noqa: B018  asked for its error
    except StoreError:
        return False
    return True


def _is_there(data: Any) -> bool:
    """Whether the raw data is whole: its list of tests, which rendering writes last, can be read."""
    try:
        data.manifest()
    except ManifestError:
        return False
    return True


def show(table: paper.Table, out: Path) -> None:
    """Print a table and write it as Markdown, CSV and LaTeX."""
    say(f"\n{table.title}", style="bold")
    say(table.caption.strip())
    console.print(typeset.console(table))
    for note in typeset.notes(table):
        say(f"  {note}")
    if missing := typeset.missing(table):
        say("\nnot run; these commands run it, and run=true runs them all:")
        for _, command in missing:
            say(f"  {command}")
    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, write in WRITERS.items():
        out.with_suffix(f".{kind}").write_text(write(table), encoding="utf-8")
    say(f"\ntable: {', '.join(str(out.with_suffix(f'.{kind}')) for kind in WRITERS)}")
