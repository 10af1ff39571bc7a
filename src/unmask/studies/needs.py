"""Make what the rows of a table need: rendered or prepared data, generators and their samples, scores on test sets.

Each step is a verb (a command of unmask) in its own process; finished steps are not repeated. Functions that run a step
return a description of what failed, or None.
"""

from collections.abc import Sequence
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
from unmask.runs.predictions import find_label, predictions_path
from unmask.runs.run import Run
from unmask.studies import jobs

RENDERED = ("demo_celebdf", "demo_celeba", "demo_deepfakeart")  # folders that `unmask demo render_only=true` makes
AGAIN = "delete the folder and run the same command again"  # what to do if the folder's generate.json is damaged


def make(table: table_spec.Table, extra: Sequence[str]) -> list[str]:
    """Train each generator that a table needs and make its samples; return descriptions of what failed."""
    failed = []
    for need in table.needs:
        arguments = [f"experiment={need.experiment}", *need.overrides, *extra]
        at = None
        folder = jobs.run_folder("train", [quote(argument) for argument in arguments])
        if not (folder / "metrics.json").is_file():
            say(f"\n{table.name}: training the generator {need.name}", style="bold")
            at = train(_load("train", arguments), arguments)
        # The run ID depends on the prepared data, which may not have existed before `train`.
        folder = jobs.run_folder("train", [quote(argument) for argument in arguments])
        if not at and (more := _to_make(folder, Path(need.out), need.count)) is not None:
            at = _call("sample", [f"run={folder}", f"out={need.out}", f"count={need.count}", *more])
        failed += [f"{need.name}: {at}"] if at else []
    return failed


def train(config: DictConfig, arguments: Sequence[str]) -> str | None:
    """Prepare the data if necessary (demo data is first rendered), then train; return what failed, or None."""
    given = list(arguments)
    try:
        settings = resolved(config, "data")["data"]
        source, split, recipe = (build(settings[part]) for part in ("source", "split", "recipe"))
        work = members(source, split, recipe, settings["prepared"])
    except (ValueError, OSError) as error:
        return str(error)
    steps = [("train", given)]
    if not _is_prepared(work):
        steps.insert(0, ("prepare", given))
        if source.demo and source.root.name in RENDERED and not _is_there(work):
            steps.insert(0, ("demo", ["render_only=true", f"root={source.root.with_name('demo_celebdf')}"]))
    return next((at for verb, each in steps if (at := _call(verb, each))), None)


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
