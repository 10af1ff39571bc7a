"""Tables of papers: find the finished runs of a table, run what is missing and write the table."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from unmask.arguments import quote
from unmask.console import console, say
from unmask.files import write_text
from unmask.reporting import table_render, table_spec
from unmask.reporting.gather import gather
from unmask.reporting.run import RunReport
from unmask.reporting.table_generated import GENERATED, Generated, gather_generated
from unmask.runs.run import Run
from unmask.studies import jobs, needs
from unmask.studies.launch import Launch

WRITERS = {"md": table_render.markdown, "csv": table_render.csv, "tex": table_render.latex}


@dataclass(frozen=True)
class Job(needs.Training):
    """The training of one seed of a row.

    Args:
        row: the row.
        seed: the seed.
        first: trainings whose run folders are among the arguments.
    """

    row: table_spec.Row
    seed: int
    first: Sequence["Job"] = ()


def make(cfg: DictConfig, launch: Launch | None = None) -> None:
    """Write the table that `cfg.table` describes; with run=true, run what is missing first.

    Args:
        cfg: the config of `unmask report`.
        launch: starts all missing trainings at once; None: they run one after the other.

    Raises:
        SystemExit: a training or an evaluation failed; all others were still tried, and the table was written.
    """
    run = str(cfg.run).lower() == "true"
    if cfg.run is not None and not run:
        raise ValueError(
            f"run={cfg.run}: a table's runs are found automatically; omit run, or set run=true to train missing ones"
        )
    plain: Any = OmegaConf.to_container(cfg.table, resolve=True)
    table, extra = with_seeds(table_spec.read(plain), list(cfg.overrides))
    jobs, failed = _jobs(table, extra), list[str]()
    if run:
        first = [one for job in jobs for one in job.first]
        failed = needs.make(table, extra, launch) + fill(replace(table, tests={}), first, launch)
        jobs = _jobs(table, extra)  # now with the run IDs of the trainings above, which are arguments of their rows
        failed += fill(table, jobs, launch)
    demo = any(bool(job.config.data.get("demo")) for job in jobs)
    outcomes = (_outcomes(table, row, jobs, cfg.resamples) for row in table.rows)
    rows = tuple(replace(row, outcomes=tuple(found)) for row, found in zip(table.rows, outcomes, strict=True))
    show(replace(table, rows=rows, demo=demo), Path(cfg.out or f"outputs/tables/{table.name}"))
    if failed:
        raise SystemExit(
            f"unmask: table {table.name}: {len(failed)} of its steps failed; run the command again to retry them:\n"
            + "\n".join(indent(one, "    ").removeprefix("  ") for one in failed)
        )


def with_seeds(table: table_spec.Table, extra: list[str]) -> tuple[table_spec.Table, list[str]]:
    """Give all rows the seeds of an override such as `seed=0,1,2`; return the table and the other overrides."""
    given = [text.removeprefix("seed=").strip("[]") for text in extra if text.startswith("seed=")]
    if not given:
        return table, extra
    try:
        seeds = tuple(dict.fromkeys(int(seed) for seed in given[-1].split(",")))
    except ValueError:
        raise ValueError(f"seed={given[-1]}: expected whole numbers, such as seed=0,1,2") from None
    rows = tuple(replace(row, seeds=seeds) for row in table.rows)
    return replace(table, rows=rows), [text for text in extra if not text.startswith("seed=")]


def arguments_of(row: table_spec.Row, seed: int, extra: list[str]) -> list[str]:
    """Return the arguments of `unmask train` for a row; `extra` replaces the row's own overrides of the same keys."""
    return [f"experiment={row.experiment}", *jobs.joined([*row.overrides, f"seed={seed}"], extra)]


def _jobs(table: table_spec.Table, extra: list[str]) -> list[Job]:
    return [_job(row, seed, extra) for row in table.rows if row.experiment for seed in row.seeds]


def _job(row: table_spec.Row, seed: int, extra: list[str]) -> Job:
    # The same data; its root is not part of the ID.
    root = tuple(text for text in row.overrides if jobs.key_of(text) == "data.root")
    before = [_job(table_spec.Row(f"{row.name}, {name}", name, root), seed, extra) for name in row.runs.values()]
    runs = [f"{key}={one.folder}" for key, one in zip(row.runs, before, strict=True)]
    arguments = [*arguments_of(row, seed, extra), *runs]
    try:
        config = jobs.load("train", [quote(argument) for argument in arguments])
    except HydraException as error:
        raise table_spec.TableError(f"row {row.name}: its config cannot be composed: {error}") from error
    return Job(f"{row.name}, seed {seed}", arguments, config, row, seed, before)


def _outcomes(
    table: table_spec.Table, row: table_spec.Row, jobs: list[Job], resamples: int
) -> Iterator[table_spec.Outcome]:
    """Yield the results of each seed of a row, with the commands that produce them."""
    for job in jobs:
        if job.row is not row:
            continue
        place = needs.exported(job.folder, row.export)
        done = job.finished and (place / "metrics.json").is_file()
        report = _gather(Run(place), resamples) if done else None
        others = {test: needs.scored(job.folder, job.config, given) for test, given in table.tests.items()}
        yield table_spec.Outcome(
            job.seed,
            shlex.join(["unmask", "train", *next((one for one in job.first if not one.finished), job).arguments]),
            report,
            {
                test: report if of_its_own else gather(Run(job.folder), resamples, "test", name)
                for test, (name, of_its_own, there) in others.items()
                if report is not None and there
            },
            {
                test: shlex.join(["unmask", "evaluate", f"run={job.folder}", *given])
                for test, given in table.tests.items()
            },
        )


def _gather(run: Run, resamples: int) -> RunReport | Generated:
    return gather(run, resamples) if run.detects else gather_generated(run)


def fill(table: table_spec.Table, jobs: list[Job], launch: Launch | None = None) -> list[str]:
    """Run unfinished jobs, one after the other or through a launcher; return descriptions of what failed.

    Each job is a process of its own. A finished job is found by its run ID and not repeated, an interrupted one
    resumes, and a failed one does not stop the others. Scores on other test sets are computed in sequence.
    """
    failed = []
    for job, at in zip(jobs, needs.trained(table.name, jobs, launch), strict=True):
        generated = [column.metric for column in table.columns if column.level == GENERATED]
        if generated and not at:
            at = needs.measure(job.folder, generated)
        if job.row.export and not at:
            at = needs.export(job.folder, job.row.export)
        for given in table.tests.values() if not at else ():
            at = at or needs.score(job.folder, job.config, given)
        failed += [f"{job.name}: {at}"] if at else []
    return failed


def show(table: table_spec.Table, out: Path) -> None:
    """Print a table and write it as Markdown, CSV and LaTeX."""
    say(f"\n{table.title}", style="bold")
    say(table.caption.strip())
    console.print(table_render.console(table))
    for note in table_render.notes(table):
        say(f"  {note}")
    if missing := table_render.missing(table):
        say("\nsome results are missing; run these commands, or set run=true to run them all:")
        for _, command in missing:
            say(f"  {command}")
    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, write in WRITERS.items():
        write_text(out.with_suffix(f".{kind}"), write(table))
    say(f"\ntable: {', '.join(str(out.with_suffix(f'.{kind}')) for kind in WRITERS)}")
