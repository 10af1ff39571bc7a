"""Write report.html from finished runs: one self-contained page with figures, plots, faces, protocol and audit.

  unmask report run=DIR
  unmask report run=[DIR_A,DIR_B] out=compare.html
  unmask report table=demo                 a table of conf/table: measured beside published; what was not run says so
  unmask report table=demo run=true        and what is missing is run first

Everything is computed from what lies in the run folders: prediction tables, and heat maps made when the run was
trained. No model is run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig

from unmask.commands import _explain, _tables
from unmask.commands._arguments import refuse_unread
from unmask.commands._shell import console, fail_clearly, say
from unmask.config import conf_dir
from unmask.data import duplicates
from unmask.data.store import AGAIN, CropStore
from unmask.files import read_json
from unmask.metrics import detection
from unmask.metrics.learning import did_not_learn
from unmask.reporting import page, tables
from unmask.reporting.run import RunReport
from unmask.runs import Run, register_resolvers

register_resolvers()

PAGE = "report.html"
SEEN = "Seen in training"  # the word of a protocol for files that the run was trained on


def report(folders: Sequence[Path], out: Path | None, title: str | None, resamples: int) -> Path:
    """Write the page of one or several runs and print its table."""
    runs = [Run(folder) for folder in folders]
    reports = [gather(run, resamples) for run in runs]
    path = write(runs, reports, out, title)
    tell(reports)
    say(f"report: {path}")
    return path


def write(runs: Sequence[Run], reports: Sequence[RunReport], out: Path | None = None, title: str | None = None) -> Path:
    """Write the page of one or several runs; where it lies."""
    names = [entry.name for entry in reports]
    for run, entry in zip(runs, reports, strict=True):
        if names.count(entry.name) > 1:  # two runs of one preset: told apart by their folders
            entry.name = f"{entry.name} ({run.folder.name})"
    path = out or (runs[0].folder / PAGE if len(runs) == 1 else Path("outputs") / PAGE)
    page.write(
        path,
        reports,
        title or f"{', '.join(names)} on {_dataset(reports[0])}",
        strips=Strips(runs),
        demo=any(bool(run.config.data.get("demo")) for run in runs),
    )
    return path


def tell(reports: Sequence[RunReport]) -> None:
    """Print the table, and what each network costs."""
    console.print(tables.console(reports))
    for entry in reports:
        say(f"{entry.name}: {'; '.join(f'{name} {text}' for name, text in entry.network.items())}")


def _dataset(report: RunReport) -> str:
    """The data set of a report's predictions; of an empty test split that of the validation."""
    tables = (report.predictions, report.validation)
    return next(str(table["dataset"].iloc[0]) for table in tables if table is not None and len(table))


def gather(run: Run, resamples: int = 1000, split: str = "test", dataset: str | None = None) -> RunReport:
    """All that a page tells of a run, from the files of its folder."""
    thresholds, predictions = run.score_thresholds, run.predictions(split, dataset)
    protocol = dict(predictions.attrs["protocol"])
    protocol["Seed"] = str(run.config.get("seed"))
    # Predictions of old runs hold no figures; those of the run's own test are in its metrics.
    figures = predictions.attrs["figures"] or (run.metrics[split] if dataset is None else {})
    curves = run.folder / "metrics.csv"
    return RunReport(
        name=run.name,
        predictions=predictions,
        score_thresholds=thresholds,
        summary=detection.summary(predictions, thresholds, resamples),
        protocol=protocol,
        command=run.metrics["command"],
        validation=run.predictions("val"),
        curves=pd.read_csv(curves) if curves.is_file() else None,
        audit=_audit(run),
        network=_network(run.metrics) | _pixels(figures),
        heat=_explain.read(run.folder),
        remarks=[*_learning(run), *_seen(protocol), *_empty(predictions, split)],
        duplicates=_duplicates(run),
    )


def _learning(run: Run) -> list[str]:
    """The run's remarks on its training; of an old run they are worked out from its validation."""
    if "remarks" in run.metrics:
        return list(run.metrics["remarks"])
    remark = did_not_learn(run.predictions("val"), str(run.metrics["monitor"]), None)
    return [remark] if remark else []


def _seen(protocol: Mapping[str, str]) -> list[str]:
    return [f"{SEEN}: {protocol[SEEN]}."] if SEEN in protocol else []


def _empty(predictions: pd.DataFrame, split: str) -> list[str]:
    return [] if len(predictions) else [f"There are no {split} figures: the {split} split is empty."]


def _network(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What the network costs, and what cross-validation found where there was one."""
    facts = {"Parameters": f"{metrics['parameters']:,}"}
    if metrics.get("flops"):  # not of old runs, and not where nothing that is counted happens
        facts["GFLOPs a sample"] = f"{metrics['flops'] / 1e9:.3g}"
    if cv := metrics.get("cv"):
        settings = ", ".join(f"{name} {value:.3g}" for name, value in cv["settings"].items())
        facts["Classifier"] = f"{cv['classifier']}, {settings}"
        figures = ", ".join(tables.deviating(cv, name) for name in tables.CROSS_VALIDATED)
        facts["Cross-validation"] = f"{figures}; {tables.folds(cv).removeprefix('cross-validation: ')}"
    return facts


def _pixels(figures: Mapping[str, float]) -> dict[str, str]:
    """A localiser's figures, in words."""
    if "iou" not in figures:
        return {}
    auc, f1, iou = (figures[name] for name in ("pixel_auroc", "pixel_f1", "iou"))
    return {"Pixels": f"AUC {auc:.3f}, F1 {f1:.3f}, IoU {iou:.3f}: of the manipulated pictures, called at 0.5"}


def _store(run: Run) -> CropStore | None:
    """The crops that the run read, if they are still there."""
    data = run.config.data
    folder = Path(data.prepared) / (data.name or "") / run.build("data.recipe").key
    return CropStore(folder) if (folder / "crops.parquet").is_file() else None


def _audit(run: Run) -> dict[str, Any] | None:
    store = _store(run)
    path = store.folder / "audit.json" if store else None
    if path is None or not path.is_file():
        return None
    audit = read_json(path, AGAIN)
    return audit if audit["auroc"] is not None else None


def _duplicates(run: Run, most: int = 20) -> list[str]:
    """The pairs of look-alike items that the run noted, a line each: unrelated ones first."""
    path = run.folder / duplicates.DUPLICATES
    if not path.is_file():
        return []
    pairs = pd.read_csv(path)
    unrelated = ~pairs["related"].astype(bool)
    shown = pd.concat([pairs[unrelated], pairs[~unrelated].head(max(0, most - int(unrelated.sum())))])
    return list(duplicates.listed(shown, most))


class Strips:
    """Face crops for the page; a grey square where the crop is no longer at hand."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.stores = [store for store in map(_store, runs) if store is not None]

    def __call__(self, item: str, frames: list[int], track: int) -> list[NDArray[np.uint8]]:
        """The crops of a face in these frames of an item, each [H, W, 3]."""
        grey = np.full((96, 96, 3), 200, np.uint8)
        found: dict[int, NDArray[np.uint8]] = {}
        for store in self.stores:
            rows, pixels = store.of_item(item, frames)
            places = zip(rows["frame"], rows["track"], pixels, strict=True)
            found |= {int(frame): crop.transpose(1, 2, 0) for frame, face, crop in places if face == track}
            if found:
                break
        return [found.get(frame, grey) for frame in frames]


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="report")
@fail_clearly
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    if cfg.get("table") is not None:
        refuse_unread(("table", "table.", "run", "out", "overrides", "resamples"), "has no effect on a table")
        _tables.make(cfg, gather)
        return
    if cfg.run is None or str(cfg.run).lower() == "true":
        raise ValueError("nothing to report: pass run=DIR, run=[DIR_A,DIR_B] or table=NAME (unmask list tables)")
    refuse_unread(("run", "out", "title", "resamples"), "has no effect on the report of runs; a table is table=NAME")
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    report([Path(folder) for folder in folders], Path(cfg.out) if cfg.out else None, cfg.title, cfg.resamples)


if __name__ == "__main__":
    main()
