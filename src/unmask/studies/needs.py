"""Make what the rows of a table need: rendered or prepared data, generators and their samples, scores on test sets.

Each step is a verb (a command of unmask) in its own process; finished steps are not repeated. Functions that run a step
return a description of what failed, or None.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from unmask.arguments import quote
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import say
from unmask.data.contents import Member
from unmask.data.manifest import ManifestError
from unmask.data.prepared import members
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.store import StoreError
from unmask.files import file_hash, read_json
from unmask.reporting import table_spec
from unmask.reporting.table_generated import gather_generated
from unmask.runs.folder import EXPORTS
from unmask.runs.predictions import find_label, predictions_path
from unmask.runs.run import Run
from unmask.studies import jobs
from unmask.studies.launch import Launch

RENDERED = ("demo_celebdf", "demo_celeba", "demo_deepfakeart")  # folders that `unmask demo render_only=true` makes
AGAIN = "delete the folder and run the same command again"  # what to do if the folder's generate.json is damaged


@dataclass(frozen=True)
class Training:
    """A training that a table needs.

    Args:
        name: what is trained, for messages.
        arguments: the arguments of `unmask train`, as typed.
        config: the config that the arguments compose.
    """

    name: str
    arguments: list[str]
    config: DictConfig

    @property
    def folder(self) -> Path:
        """The run folder; its path contains the run ID, which changes when the data is prepared."""
        return Path(self.config.hydra.run.dir)

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return (self.folder / "metrics.json").is_file()


def make(table: table_spec.Table, extra: Sequence[str], launch: Launch | None = None) -> list[str]:
    """Train each generator that a table needs and make its samples; return descriptions of what failed."""
    failed, generators = [], list[Training]()
    for need in table.needs:
        arguments = [f"experiment={need.experiment}", *jobs.joined(need.overrides, extra)]
        generators.append(Training(f"the generator {need.name}", arguments, _load("train", arguments)))
    for need, one, at in zip(table.needs, generators, trained(table.name, generators, launch), strict=True):
        if not at and (more := _to_make(one.folder, Path(need.out), need.count)) is not None:
            at = _call("sample", [f"run={one.folder}", f"out={need.out}", f"count={need.count}", *more])
        failed += [f"{need.name}: {at}"] if at else []
    return failed


def trained(table: str, trainings: Sequence[Training], launch: Launch | None = None) -> Iterator[str | None]:
    """Run the trainings that are not finished, and yield for each training what failed, or None.

    Args:
        table: name of the table, for messages.
        trainings: the trainings, in the order of the result.
        launch: starts all trainings at once, before the first result; None: one after the other, each when its result
            is requested.
    """
    if launch is not None:
        yield from _trained_at_once(trainings, launch)
        return
    for one in trainings:
        if one.finished:
            yield None
            continue
        say(f"\n{table}: training {one.name}", style="bold")
        yield prepare(one.config, one.arguments) or _call("train", one.arguments)


def _trained_at_once(trainings: Sequence[Training], launch: Launch) -> list[str | None]:
    failed = [None if one.finished else prepare(one.config, one.arguments) for one in trainings]
    todo: dict[Path, Training] = {}  # trainings that are equal have the same run folder; one of them is started
    for one, at in zip(trainings, failed, strict=True):
        if not at and not one.finished:
            todo.setdefault(one.folder, one)
    reasons = dict(zip(todo, launch([one.arguments for one in todo.values()]), strict=True)) if todo else {}
    # If the launcher itself fails, it gives no results, although some of its jobs may be finished.
    return [
        at or (None if one.finished else reasons.get(one.folder)) for one, at in zip(trainings, failed, strict=True)
    ]


def prepare(config: DictConfig, arguments: Sequence[str]) -> str | None:
    """Prepare the data of a training if necessary; demo data is first rendered. Return what failed, or None."""
    try:
        settings = resolved(config, "data")["data"]
        source, split, recipe = (build(settings[part]) for part in ("source", "split", "recipe"))
        work = members(source, split, recipe, settings["prepared"], build(settings["cache"]))
    except (ValueError, OSError) as error:
        return str(error)
    if _is_prepared(work):
        return None
    steps: list[tuple[str, Sequence[str]]] = [("prepare", arguments)]
    if source.demo and source.root.name in RENDERED and not _is_there(work):
        steps.insert(0, ("demo", ["render_only=true", f"root={source.root.with_name('demo_celebdf')}"]))
    return next((at for verb, each in steps if (at := _call(verb, each))), None)


def export(folder: Path, how: str) -> str | None:
    """Export a finished run, and score the file (see `Row.export`); return what failed, or None."""
    if exported(folder, how) != folder and (exported(folder, how) / "metrics.json").is_file():
        return None
    return _call("export", [f"run={folder}", "score=true", *([] if how == "float32" else [f"quantize={how}"])])


def exported(folder: Path, how: str) -> Path:
    """Return the folder with the results of a row: that of the run, or that of the file exported from it."""
    return folder / EXPORTS / how if how else folder


def score(folder: Path, config: DictConfig, test: Sequence[str]) -> str | None:
    """Score a finished run on one test set of a table; return what failed, or None."""
    _, own, there = scored(folder, config, test)
    return None if own or there else _call("evaluate", [f"run={folder}", *test])


def measure(folder: Path, metrics: Sequence[str]) -> str | None:
    """Evaluate the run of a generator or face swapper if it lacks one of the metrics; return what failed, or None."""
    run = Run(folder)
    needed = not run.detects and gather_generated(run).lacks(metrics)
    return _call("evaluate", [f"run={folder}"]) if needed else None


def scored(folder: Path, config: DictConfig, test: Sequence[str]) -> tuple[str, bool, bool]:
    """Return a test set's label, whether it is the run's own test split, and whether its predictions are up to date."""
    (own, split), (other, theirs) = _data(config), _data(_load("evaluate", [f"run={folder}", *test]))
    if other.name == own.name and theirs.protocol == split.protocol and theirs.seed == split.seed:
        return other.name, True, predictions_path(folder, "test").is_file()
    fallen_back = theirs.protocol == "predefined" and other.ELSE_RANDOM_GROUPS
    label = find_label(folder, "test", other.name, [theirs.protocol, *(["random_groups"] if fallen_back else [])])
    if label is None:
        return other.name, False, False
    # Predictions that are older than the crops were computed from earlier crops.
    made = next(other.root.glob("**/crops.parquet"), None)
    written = predictions_path(folder, "test", label).stat().st_mtime
    return label, False, made is None or made.stat().st_mtime <= written


def _data(config: DictConfig) -> tuple[Source, Split]:
    settings = resolved(config, "data")["data"]
    return build(settings["source"]), build(settings["split"])


def _load(verb: str, arguments: Sequence[str]) -> DictConfig:
    return jobs.load(verb, [quote(argument) for argument in arguments])


def _call(verb: str, arguments: Sequence[str]) -> str | None:
    code = jobs.call(verb, *(quote(argument) for argument in arguments))
    return f"unmask {verb} ended with exit code {code}" if code else None


def _to_make(run: Path, out: Path, count: int) -> list[str] | None:
    """Return further arguments for `unmask sample`; None if `out` already contains `count` samples of the run."""
    note = out / "generate.json"
    made = next(out.glob("crops/*/crops.parquet"), None)
    known = read_json(note, AGAIN) if note.is_file() else {}
    if known and known.get("weights") != file_hash(Run(run).checkpoint):
        return ["rerun=true"]  # the samples are from another generator
    have = 0 if made is None else int(pd.read_parquet(made.with_name("items.parquet"))["label"].sum())
    return None if have == count else []


def _is_prepared(work: Sequence[Member]) -> bool:
    try:
        for prepared, _ in work:
            prepared.store  # noqa: B018  raises if not prepared
    except StoreError:
        return False
    return True


def _is_there(work: Sequence[Member]) -> bool:
    """Return whether the raw data is complete, that is, its test list can be read; rendering writes this list last."""
    try:
        for prepared, split in work:
            prepared.manifest(split)
    except ManifestError:
        return False
    return True
