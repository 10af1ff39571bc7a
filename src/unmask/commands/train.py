"""Train a module on a data set, select the weights by validation and score the test split once.

  unmask train experiment=celebdf/meso4 data.root=DIR
  unmask train experiment=celebdf/cnn_lstm trainer.max_epochs=3 trainer=gpu logger=wandb
  unmask train -m experiment=celebdf/meso4,celebdf/cnn_lstm seed=0,1,2

The run folder is outputs/NAME/ID, where ID is a hash of the config and the data: the same command finds the same
folder. A finished run is not repeated and an interrupted one resumes; rerun=true starts over. check=true validates the
config and stops. At the end, a table of test metrics is printed and report.html is written; report=false skips both.
A detector is also scored on test items that were saved again or resized (the suite in conf/suite/quick.yaml);
handling=false skips this. Scoring 192 pictures of 256 px took one to two minutes on two busy cores.
Presets are in conf/experiment; unmask train --cfg job shows the whole config. Arguments of Lightning's Trainer need no
plus sign: trainer.fast_dev_run=true, trainer.overfit_batches=2.
"""

import math
import os
import platform
import subprocess
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

from unmask.application import JobFailed, given, typed_command, verb
from unmask.config import Settings
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.config.values import check_optimizers
from unmask.console import log, quiet, say, show
from unmask.data.datamodule import DataModule, build_data
from unmask.data.duplicates import DUPLICATES
from unmask.evaluation.facts import detector_facts, measured_latency
from unmask.evaluation.handled import score_handled
from unmask.evaluation.measured import measured_range
from unmask.evaluation.suite import Detection
from unmask.explain import items
from unmask.files import write_text
from unmask.metrics.learning import did_not_learn
from unmask.parallel.devices import own_gpu, visible_gpus
from unmask.parallel.processes import PARENT, follow, started
from unmask.ranks import is_first
from unmask.reporting import publish, tables
from unmask.runs.checkpoints import best_epoch, resume_point
from unmask.runs.figures import write_json
from unmask.runs.folder import best_of, clear, in_use, removed_if_unused
from unmask.runs.identity import write_config
from unmask.runs.origins import require_unseen
from unmask.runs.predictions import predictions_path, write_predictions
from unmask.runs.run import Run
from unmask.studies import sweep
from unmask.studies.jobs import command
from unmask.training import trainer as trainers
from unmask.training.callbacks import SeedEachStep
from unmask.training.checkpoints import WholeCheckpoints, complete
from unmask.training.evaluation import Results, evaluate
from unmask.training.loggers import LogTestResults, build_loggers, closing_loggers
from unmask.training.module import Module


def train(cfg: DictConfig) -> float | None:
    """Train, validate and test the module of the config; return the monitored metric, which a sweep optimizes."""
    quiet()
    settings = check(cfg)
    data = build_data(settings["data"])
    out = Path(cfg.paths.out)
    if cfg.check:
        say("the config is valid")
        return None
    check_arguments(data)
    data.samples_per_process(trainers.processes(settings["trainer"]))  # raises if it is not a whole number
    if is_first():
        write_config(settings, out)
    if not cfg.rerun and (out / "metrics.json").is_file():
        return _already(out, cfg.report)
    with in_use(out) if is_first() else nullcontext():
        if cfg.rerun and is_first():
            clear(out)
        return _train(cfg, settings, data, out)


def _train(cfg: DictConfig, settings: Settings, data: DataModule, out: Path) -> float | None:
    """Train in the folder `out`, from its last checkpoint if it has one; return the monitored metric."""
    log.info(typed_command("train"))  # also marks the folder as not empty, see `removed_if_unused`
    seed_everything(cfg.seed, workers=True, verbose=False)
    module: Module = build(settings["module"])
    items.require_layers(module.trained, data, settings["explain"], settings["feature_maps"])
    if is_first():
        data.verify()
    data.setup("fit")
    require_unseen(settings["module"], data.items.query("split == 'test'")["item"])
    with closing_loggers():
        shown = LogTestResults((settings["logger"] or {}).get("faces", 0))
        loggers = build_loggers(settings)
        callbacks = [*_callbacks(settings["callbacks"], bool(loggers)), SeedEachStep(cfg.seed), shown]
        saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)  # otherwise, Lightning adds one
        options = {"logger": loggers, "enable_checkpointing": saves, "plugins": [WholeCheckpoints(module.frozen)]}
        trainer = trainers.build(settings["trainer"], module, callbacks, **options)
        results = _run(trainer, module, data, settings, out, None if cfg.rerun else resume_point(out))
    if results is None:
        return None
    if trainer.is_global_zero:
        _publish(settings, module, data, results["test"], out)
    return _score(module, results["val"])


def _publish(settings: Settings, module: Module, data: DataModule, test: Results, out: Path) -> None:
    """Add heat maps and feature maps to a finished run, then print its results and write its report page."""
    if len(data.duplicates):
        write_text(out / DUPLICATES, data.duplicates.to_csv(index=False))
    count, layers = settings["explain"], settings["feature_maps"]
    items.explain(module.trained, module.kind == "segmenter", test.table, data, out, count, layers)
    publish.show(out, settings["report"])


def _handle(settings: Settings, module: Module, data: DataModule, test: Results, out: Path) -> None:
    """Score a detector on test items that were saved again or resized, before metrics.json marks the run as finished.

    If the process is killed here, the same command resumes with the steps that have no prediction table yet.
    """
    if settings["report"] and settings["handling"] and test.table is not None and len(test.table):
        network, localises = module.trained.eval(), module.kind == "segmenter"
        score_handled(build(settings["handling"]), Detection(network, localises, data, best_of(out)), out)


def check(cfg: DictConfig) -> Settings:
    """Validate the config before any data is read and return it as plain values.

    Raises:
        ValueError: the config is invalid; the message has one line per problem.
    """
    settings = resolved(cfg)
    check_optimizers(settings["module"])
    trainers.check(settings["trainer"])
    return settings


def _already(out: Path, report: bool) -> float:
    """Show the results of a finished run, and return its monitored metric."""
    say(f"already finished: {out} (rerun=true starts over)")
    if is_first():
        publish.show(out, report)
    return float(Run(out).metrics["score"])


def _run(
    trainer: Trainer, module: Module, data: DataModule, settings: Settings, out: Path, last: Path | None
) -> dict[str, Results] | None:
    """Train, load the best weights, then score the validation split (for a detector's threshold) and the test split.

    Training resumes from the checkpoint `last` if it is not None.

    With `trainer.fast_dev_run`, only a few batches are processed; nothing is written, and the result is None.
    """
    say(f"resuming from {last} (epoch {best_epoch(last)})" if last else f"training in {out}")
    if (processes := trainer.num_devices * trainer.num_nodes) > 1:
        each = data.samples_per_process(processes)
        say(f"batches of {data.loader.batch_size} samples: {each} on each of {processes} devices")
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        for split in ("val", "test"):
            evaluate(trainer, module, data, split)
        say("trainer.fast_dev_run: training, validation and test succeeded; no weights and no metrics were written")
        return None
    if (stop := trainer.early_stopping_callback) is not None and stop.stopped_epoch:
        say(f"stopped early: {stop.patience} validations without a better {stop.monitor} (callbacks.early_stopping)")
    epochs, best = trainer.current_epoch, best_of(out)
    chosen = _keep(trainer, best)
    results = {split: evaluate(trainer, module, data, split, best) for split in ("val", "test")}
    if trainer.is_global_zero:
        complete(best)
        for split, found in results.items():
            if found.table is not None:
                protocol = data.protocol_words(split) | _selection(module, epochs, chosen)
                write_predictions(predictions_path(out, split), found.table, protocol, found.figures)
        module.to(trainer.strategy.root_device)
        _handle(settings, module, data, results["test"], out)
        epoch = best_epoch(best) if chosen else epochs or None
        facts = _learning(module, results["val"], epoch, epochs)
        facts |= measured_latency(module, data) if settings["latency"] else {}
        _write_metrics(out, module, data, results, facts)
    if not len(data.samples["test"]):
        say(f"no test metrics: {data.why_empty('test')}", style="yellow")
    return results


def _keep(trainer: Trainer, best: Path) -> bool:
    """Save the final weights if no callback selected weights by a metric, or if no epoch was trained.

    Returns:
        Whether the weights were selected by validation.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    kept = any(isinstance(callback, ModelCheckpoint) and callback.monitor is not None for callback in callbacks)
    chosen = bool(trainer.strategy.broadcast(kept and best.is_file()))
    if not chosen:
        trainer.save_checkpoint(best, weights_only=True)
    return chosen


def check_arguments(data: DataModule) -> None:
    """Reject data arguments on the command line that have no effect.

    Raises:
        ValueError: an argument has no effect, or `data.root` is not a folder.
    """
    typed = given()
    if "data.root" in typed:
        data.source.require_root()
    if problems := [f"{key}: {why}" for key, why in data.unread() if f"data.{key}" in typed]:
        raise ValueError("\n  ".join(["arguments without effect:", *(f"data.{problem}" for problem in problems)]))


def _score(module: Module, validation: Results) -> float:
    """Return the monitored metric of the best weights.

    Raises:
        ValueError: the metric is NaN or infinite.
    """
    score = validation.figures.get(module.monitor.removeprefix("val/"), math.nan)
    if not math.isfinite(score):
        raise ValueError(
            f"module.monitor={module.monitor} is {score} on the validation split, so it cannot select weights"
        )
    return score


def _learning(module: Module, validation: Results, best: int | None, epochs: int) -> Settings:
    """Return the best epoch, and a remark if there is no evidence that the model learned (see `did_not_learn`)."""
    number = None if best is None or epochs < 2 else best - 1
    table = validation.table if module.kind == "detector" else None
    remark = did_not_learn(table, module.monitor, number)
    if remark:
        say(remark, style="yellow")
    return {"best_epoch": best, "epochs": epochs, "remarks": [remark] if remark else []}


def _selection(module: Module, epochs: int, chosen: bool) -> dict[str, str]:
    if chosen:
        best = f"the epoch with the best {module.monitor} on the validation split, out of {epochs} epochs"
        how = best if epochs > 1 else "none: there was only one epoch"
    else:
        how = f"none: the weights {f'after the last of {epochs} epochs' if epochs else 'as initialized, not trained'}"
    return {
        "Selection": f"{how}; the test split was scored once, afterwards",
        "Threshold": "the one with the best balanced accuracy on the validation split",
    }


def _write_metrics(out: Path, module: Module, data: DataModule, results: dict[str, Results], facts: Settings) -> None:
    """Write metrics.json, which marks the run as finished."""
    found = module.facts()
    about = {
        "kind": module.kind,
        "monitor": module.monitor,
        "score": _score(module, results["val"]),
        **facts,
        "parameters": sum(p.numel() for p in module.trained.parameters()),
        **detector_facts(module, data, results["val"].table),
        **measured_range(module, data, out),
        "command": typed_command("train"),
        **found,
        **{split: found.figures for split, found in results.items()},
    }
    write_json(out / "metrics.json", about)
    if "cv" in found:
        show(tables.cross_validation(found["cv"]))
        say(tables.folds(found["cv"]))


def _callbacks(group: Settings | None, logged: bool) -> list[Any]:
    """Build the callbacks of the config, without entries that are null.

    Lightning raises if LearningRateMonitor has no logger, so it is left out unless the training is `logged`.
    """
    left_out = () if logged else (LearningRateMonitor,)
    return [part for part in build(group or {}).values() if part is not None and not isinstance(part, left_out)]


def start_job(cfg: DictConfig) -> float | None:
    """Run one job of a sweep in a separate process, so that it has its own device and W&B run and may use DDP.

    Any Hydra launcher or sweeper may call this function. Results are written to the job's folder. A job that is already
    finished is not repeated.

    Raises:
        JobFailed: the job failed; the message names the job and gives the reason.
    """
    job, out = HydraConfig.get(), Path(HydraConfig.get().runtime.output_dir)
    what = typed_command("train")
    if is_first():
        sweep.note(out, job.overrides.task)
    try:
        settings = resolved(cfg)
    except ValueError as error:
        raise JobFailed(f"this job failed: {what}\nunmask: {error}") from None
    if is_first():
        write_config(settings, out)
    if (out / "metrics.json").is_file() and not cfg.rerun and not cfg.check:
        return _already(out, cfg.report)
    place = str(out).replace("'", r"\'")
    line = command("train", *job.overrides.task, "hydra.mode=RUN", f"hydra.run.dir='{place}'")
    last = deque[str](maxlen=200)
    how: Settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with _gpu(cfg) as gpu, started(line, _sweep() | gpu, **how) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line)
        process.wait()
    if process.returncode:
        raise JobFailed(f"this job failed (exit code {process.returncode}): {what}\n{_why(''.join(last))}")
    return float(Run(out).metrics["score"]) if (out / "metrics.json").is_file() else None


def _gpu(cfg: DictConfig) -> AbstractContextManager[dict[str, str]]:
    """Reserve a GPU for a job on one GPU; SLURM itself gives GPUs to its jobs.

    All sweeps that are started in one folder on a machine share the locks.
    """
    shared = cfg.trainer.devices == 1 and cfg.trainer.accelerator != "cpu" and "SLURM_JOB_ID" not in os.environ
    return own_gpu(visible_gpus(), Path("outputs/.gpus") / platform.node()) if shared else nullcontext({})


def _why(said: str) -> str:
    """Return the end of a job's output: its error message or, for an unexpected error, its traceback."""
    return said[max(0, said.rfind("\nunmask: "), said.rfind("\nTraceback (most recent call last)")) :].strip()


def _sweep() -> dict[str, str]:
    """Return environment variables that make a job exit when the sweep exits.

    If a launcher runs this function in a separate process, that process also exits when the sweep exits. On a
    machine that does not run the sweep itself, the result is empty, and so it is for a job of SLURM, which may be
    requeued after the sweep has ended.
    """
    host, _, process = os.environ.get(sweep.SWEEP, "").rpartition(" ")
    if host != platform.node() or os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        return {}
    if int(process) != os.getpid():
        follow(int(process))
    return {PARENT: process}


def run(cfg: DictConfig) -> float | None:
    """Train, or start the training of a job of a sweep; a command that is refused leaves no run folder."""
    job = HydraConfig.get()
    chosen = "hydra.run.dir" in {override.partition("=")[0] for override in job.overrides.hydra}
    with removed_if_unused(Path(cfg.paths.out), chosen) if is_first() else nullcontext():
        return start_job(cfg) if job.mode == RunMode.MULTIRUN else train(cfg)


@verb("train")
def main(cfg: DictConfig) -> float | None:
    """Run `unmask train`."""
    return run(cfg)


if __name__ == "__main__":
    with sweep.running(), sweep.table_at_end():
        main()
