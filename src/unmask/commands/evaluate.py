"""Score a finished run on its own test split or on another data set.

  unmask evaluate run=DIR                              its own test split
  unmask evaluate run=DIR data=celebdf_v1 data.root=DIR    another data set
  unmask evaluate run=[A,B] data=celebdf_v1,celebdf_v2     several runs on several data sets: a matrix of AUCs
  unmask evaluate run=DIR suite=handling               its test items after re-encoding, resizing, ...
  unmask evaluate run=DIR evaluator=inception count=10000  a generator: FID, KID and other metrics of its samples
  unmask evaluate run=DIR identity.pretrained=vggface2     a face swapper: PSNR, SSIM, LPIPS, identity similarity, ...

Other data is scored with the run's recipe (how faces are cropped), sampling and threshold. It must be prepared with
that recipe; if it is not, the error message shows how. Predictions are written to the run folder; those of a pack
(run=PACK or run=hf://owner/name@REVISION), to outputs/packs. A suite (a set of
perturbations) writes one prediction table per perturbation and level to robustness/ in the run folder; if the process
is killed, the same command resumes. For a generator, the metrics of its samples are written to generation.json, and
nearest.png shows the samples that are most similar to training pictures, each next to these pictures. For a face
swapper, held-out faces are reconstructed (A -> A) and swapped (A -> B), and the metrics are written to generation.json.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from unmask.application import given, refuse_unread, verb
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import console, quiet, say
from unmask.data.bucket import is_url
from unmask.data.datamodule import DataModule
from unmask.evaluation.generators import evaluate_generator
from unmask.evaluation.handled import run_with_progress
from unmask.evaluation.loading import data_of
from unmask.evaluation.suite import Detection, Suite
from unmask.evaluation.swappers import evaluate_swapper
from unmask.metrics.robustness import mean_auroc
from unmask.reporting import across, robustness, tables
from unmask.reporting.gather import SEEN, gather, suite_metrics
from unmask.runs.opening import open_run, writable
from unmask.runs.predictions import free_label, predictions_path, write_predictions
from unmask.runs.run import Run
from unmask.training import trainer as trainers
from unmask.training.evaluation import evaluate as evaluate_split

MACHINE = {"data.batch_size": "batch_size", "data.loader.num_workers": "num_workers"}  # without effect on metrics
OWN = ("recipe", "sampling", "loader", "augment", "blend")  # data settings that always come from the run
READ = {
    "detector": ("run", "split", "resamples", "trainer", "trainer.", "suite", "suite."),
    "generator": ("run", "split", "trainer", "trainer.", "evaluator", "evaluator.", "count", "seed", "lpips."),
    "swapper": ("run", "split", "trainer", "trainer.", "evaluator", "evaluator.", "identity.", "lpips."),
}
MAKERS = {"generator": evaluate_generator, "swapper": evaluate_swapper}  # by kind of run
SPLITS = ("val", "test")
evaluated: list[Path] = []  # run folder of each evaluation in this process, for the matrix that is printed at the end


def evaluate_all(cfg: DictConfig) -> float:
    """Score one or several runs; return the metric of the last one (see `evaluate`)."""
    quiet()
    if OmegaConf.is_missing(cfg, "run") or not cfg.run:
        raise ValueError("run missing: unmask evaluate run=DIR (unmask list runs lists all runs)")
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    runs = [writable(open_run(str(folder))) for folder in folders]
    figures = [evaluate(run, cfg) for run in runs]
    evaluated.extend(run.folder for run in runs)
    return figures[-1]


def evaluate(run: Run, cfg: DictConfig) -> float:
    """Score a run on one split; return its AUC over items.

    With a suite, return the mean AUC over its steps. For a generator, return the Frechet distance of its samples; for a
    swapper, return the PSNR of reconstructed faces.
    """
    kind = "detector" if run.detects else run.kind  # raises if the run is unfinished
    check_arguments(kind, cfg)
    data, own = load_data(run, cfg), data_of(run)
    if "data.root" in given():
        data.source.require_root()
    if kind in MAKERS:
        settings = resolved(cfg, "split", "count", "seed", "evaluator", "identity", "lpips", "trainer")
        return MAKERS[kind](run, settings, data, cfg.get("data") is not None)
    trainer_settings = resolved(cfg, "trainer")["trainer"]
    trainers.check(trainer_settings)
    data.verify()
    data.setup("test")
    if not len(data.samples[cfg.split]):
        say(f"nothing was evaluated or written: {data.why_empty(cfg.split)}", style="yellow")
        return float("nan")
    if cfg.get("suite") is not None:
        return evaluate_suite(run, build(resolved(cfg, "suite")["suite"]), data, own, cfg)
    module = run.module()
    trainer = trainers.build(trainer_settings, module, logger=False, enable_checkpointing=False)
    figures, table = evaluate_split(trainer, module, data, cfg.split)
    assert table is not None
    if not trainer.is_global_zero:
        return float("nan")
    protocol = protocol_of(run, data, own, cfg.split)
    label = free_label(run.folder, cfg.split, data.name, data.name == own.name, table, protocol)
    path = predictions_path(run.folder, cfg.split, label)
    write_predictions(path, table, protocol, figures)
    report = gather(run, cfg.resamples, cfg.split, label)
    console.print(tables.console([report]))
    say(f"predictions: {path}")
    figure = report.figure("video", "all", "auroc")
    return figure.value if figure else float("nan")


def evaluate_suite(run: Run, suite: Suite, data: DataModule, own: DataModule, cfg: DictConfig) -> float:
    """Score a run on a robustness suite, print a table of its steps (perturbations), and return their mean AUC."""
    if data.name != own.name:
        suite = replace(suite, name=f"{suite.name}-{data.name}")
    fast = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    network = run.network().to("cuda" if fast else "cpu")
    detection = Detection(network, run.kind == "segmenter", data, run.checkpoint)
    run_with_progress(suite, detection, cfg.split, run.folder)
    found = suite_metrics(run, suite.name, cfg.resamples)
    console.print(robustness.table(run.name, found))
    if not math.isnan(mean := mean_auroc(found)):  # NaN without real or without fake items
        say(f"mean AUC over the {len(found) - 1} steps: {mean:.3f}")
    say(f"predictions: {run.folder / 'robustness' / suite.name}; unmask report run={run.folder} shows the curves")
    return mean_auroc(found)


def check_arguments(kind: str, cfg: DictConfig) -> None:
    """Reject arguments that have no effect or would score only a part of the split.

    Raises:
        ValueError: an argument is rejected.
    """
    if cfg.split not in SPLITS:
        raise ValueError(f"split={cfg.split}: expected one of {', '.join(SPLITS)}")
    if "trainer.fast_dev_run" in given() or any(key.startswith("trainer.limit_") for key in given()):
        raise ValueError(
            "trainer.limit_*_batches and trainer.fast_dev_run: not supported, because the whole split is evaluated"
        )
    of_data = [f"data.{key}" for key in cfg.get("data") or () if key not in OWN]
    groups = ("data", "paths.data", "data.source.", "data.split.", "data.people.", "data.parts.", "data@data.parts.")
    other = [*groups, *of_data, *MACHINE] if of_data else []
    refuse_unread(
        (*READ[kind], "paths.prepared", *other),
        f"has no effect on the evaluation of a {kind}, because recipe, sampling and sizes come from the run"
        + ("" if other else "; to choose another data set, use data=NAME"),
    )


def load_data(run: Run, cfg: DictConfig) -> DataModule:
    """Return the data to score: the run's own, or the data set in `data=`, with the run's recipe and sampling."""
    prepared = cfg.paths.prepared if "paths.prepared" in given() or is_url(cfg.paths.prepared) else None
    if cfg.get("data") is None:
        return data_of(run, prepared=prepared)
    typed = {name: OmegaConf.select(cfg, key) for key, name in MACHINE.items() if key in given()}
    return data_of(run, resolved(cfg, "data")["data"], prepared, **typed)


def protocol_of(run: Run, data: DataModule, own: DataModule, split: str) -> dict[str, str]:
    """Return the evaluation protocol {heading: text}: data, choice of weights and threshold, items seen in training."""
    chosen = _selection(run, split if data.name == own.name else "")
    words: dict[str, str] = data.protocol_words(split) | chosen
    if data.name != own.name:
        words["Trained on"] = own.name
    if count := seen_in_training(data, own, split):
        total = int((data.items["split"] == split).sum())
        words[SEEN] = (
            f"{count} of these {total} items are in the run's training split, so "
            "the metrics are too good by an unknown amount"
        )
    return words


def _selection(run: Run, split: str) -> dict[str, str]:
    """Return how weights and threshold were selected; read it from predictions that this call does not overwrite."""
    found: dict[str, str] = run.predictions("test" if split == "val" else "val").attrs["protocol"]
    return {key: found[key] for key in ("Selection", "Threshold") if key in found}


def seen_in_training(data: DataModule, own: DataModule, split: str) -> int:
    """Count the items of a split that were in the run's training split; 0 if the training data is not available."""
    try:
        own.setup("test")
    except (ValueError, OSError):
        return 0
    tested, trained = data.items[data.items["split"] == split], own.items[own.items["split"] == "train"]
    if "sha256" in tested and "sha256" in trained:
        return int(tested["sha256"].dropna().isin(trained["sha256"].dropna()).sum())
    same = data.name == own.name  # without hashes, items are compared by name, which works only within one data set
    return int(tested["item"].isin(trained["item"]).sum()) if same else 0


def show_matrix() -> None:
    """If there were several evaluations, print the AUC of each run on each data set that it was scored on."""
    folders = list(dict.fromkeys(evaluated))
    if len(evaluated) < 2 or not all(Run(folder).detects for folder in folders):
        return
    console.print(across.console(across.matrix([Run(folder) for folder in folders])))
    hint = f"unmask report run=[{','.join(map(str, folders))}] shows this table as a heat map"
    console.print(hint, markup=False, soft_wrap=True)  # not `say`: after a sweep, Hydra's log is the terminal, too


@verb("evaluate")
def main(cfg: DictConfig) -> float:
    """Run `unmask evaluate`."""
    return evaluate_all(cfg)


if __name__ == "__main__":
    main()
    show_matrix()
