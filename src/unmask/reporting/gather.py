"""Collect the data for a report page from the files in a run's folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.config import Settings
from unmask.data import duplicates
from unmask.data.manifest import ATTRIBUTE, components
from unmask.data.prepared import members
from unmask.data.store import AGAIN, CropStore, StoreError
from unmask.data.stores import sound_of
from unmask.files import DamagedError, read_json
from unmask.metrics import detection, speakers
from unmask.metrics.calibrate import CALIBRATIONS
from unmask.metrics.groups import Group, by_group
from unmask.metrics.learning import did_not_learn
from unmask.metrics.robustness import CLEAN, Robustness, robustness
from unmask.reporting import about, tables
from unmask.reporting.cost import cost, latency_words
from unmask.reporting.feature_maps import read_feature_maps
from unmask.reporting.robustness import remark
from unmask.reporting.run import HeatMap, HeatMaps, RunReport
from unmask.reporting.sounds import spectrogram
from unmask.runs.predictions import ROBUSTNESS, predictions_path, read_predictions, step_of
from unmask.runs.run import Run

SEEN = "Seen in training"  # key in a protocol for the number of test items that were in the training split
HEAT = "explain"  # folder of heat maps in a run's folder


def gather(run: Run, resamples: int = 1000, split: str = "test", dataset: str | None = None) -> RunReport:
    """Collect the data for a report on one split from the files in the run's folder."""
    thresholds, predictions = run.score_thresholds, run.predictions(split, dataset)
    protocol = dict(predictions.attrs["protocol"])
    if not run.imported:
        protocol["Seed"] = str(run.config.get("seed"))
    handled = suites(run, resamples) if split == "test" and dataset is None else {}
    return RunReport(
        name=run.name,
        predictions=predictions,
        score_thresholds=thresholds,
        summary=detection.summary(predictions, thresholds, resamples),
        protocol=protocol,
        command=run.metrics["command"],
        preset=run.preset,
        seedless_id=run.seedless_id,
        validation=_validation(run),
        curves=_curves(run.folder / "metrics.csv"),
        audit=_audit(run),
        network=_network(run.metrics) | _pixels(predictions.attrs["figures"]) | _datasets(predictions),
        heat=_heat(run.folder),
        layers=read_feature_maps(run.folder),
        cost=cost(run.metrics),
        remarks=[*_learning(run), *_seen(protocol), *_empty(predictions, split), *_handled(handled, predictions)],
        duplicates=_duplicates(run),
        about=about.of_run(run),
        calibrations={name: one for name in CALIBRATIONS if (one := run.calibration(name)) is not None},
        groups=_groups(run, predictions) if dataset is None else {},
        suites=handled,
        speech=_speech(run, predictions, resamples),
    )


def _validation(run: Run) -> pd.DataFrame | None:
    """Read the validation predictions; None for imported scores without validation rows."""
    missing = run.imported and not predictions_path(run.folder, "val").is_file()
    return None if missing else run.predictions("val")


def suites(run: Run, resamples: int = 1000) -> dict[str, list[Robustness]]:
    """Compute the metrics of all robustness suites in the run's folder, by name of the suite."""
    names = sorted(folder.name for folder in (run.folder / ROBUSTNESS).glob("*"))
    return {name: found for name in names if (found := suite_metrics(run, name, resamples))}


def suite_metrics(run: Run, name: str, resamples: int = 1000) -> list[Robustness]:
    """Compute a robustness suite's metrics, clean items first; empty unless clean and perturbed items were scored."""
    tables = (run.folder / ROBUSTNESS / name).glob("*.parquet")
    steps = {step_of(path): read_predictions(path) for path in tables}
    if (CLEAN, 0) not in steps or len(steps) < 2:
        return []
    ordered = dict(sorted(steps.items(), key=lambda step: (step[0] != (CLEAN, 0), step[0])))
    return robustness(ordered, run.score_thresholds["video"], resamples)


def _curves(path: Path) -> pd.DataFrame | None:
    """Read the metrics logged during training; None if the file does not exist."""
    if not path.is_file():
        return None
    try:
        table: pd.DataFrame = pd.read_csv(path).apply(pd.to_numeric)
    except ValueError as error:
        fix = "delete it; the report is then written without curves"
        raise DamagedError(f"{path} is damaged ({str(error).strip()}); {fix}") from None
    return table


def _learning(run: Run) -> list[str]:
    """Return the stored remarks on the training; for old runs, compute them from the validation predictions."""
    if "remarks" in run.metrics:
        return list(run.metrics["remarks"])
    table = run.predictions("val") if run.kind == "detector" else None
    remark = did_not_learn(table, str(run.metrics["monitor"]), None)
    return [remark] if remark else []


def _seen(protocol: Mapping[str, str]) -> list[str]:
    return [f"{SEEN}: {protocol[SEEN]}."] if SEEN in protocol else []


def _groups(run: Run, predictions: pd.DataFrame) -> dict[str, list[Group]]:
    """Compute the error rates by group, for each attribute of the data set's items."""
    stores = _stores(run)
    if not stores:
        return {}
    items = pd.concat([store.items for store in stores], ignore_index=True).drop_duplicates("item").set_index("item")
    scored, cut = detection.videos(predictions).dropna(subset=["score"]), run.score_thresholds["video"]
    names = [name for name in items.columns if name.startswith(ATTRIBUTE)] if len(scored) else []
    return {name.removeprefix(ATTRIBUTE): by_group(scored, items[name], cut) for name in names}


def _handled(found: Mapping[str, list[Robustness]], predictions: pd.DataFrame) -> list[str]:
    unit = detection.unit(predictions)
    remarks = (remark(name, steps, unit) for name, steps in found.items())
    return [sentence for sentence in remarks if sentence]


def _empty(predictions: pd.DataFrame, split: str) -> list[str]:
    return [] if len(predictions) else [f"There are no {split} metrics: the {split} split is empty."]


def _network(metrics: Settings) -> dict[str, str]:
    """Return the size and cost of the network, and any results of cross-validation, as text."""
    if "parameters" not in metrics:
        return {"Weights": "none, because the scores were imported"}
    facts = {"Parameters": f"{metrics['parameters']:,}"}
    if metrics.get("flops"):  # missing in old runs, and zero if no operation was counted
        facts["GFLOPs per sample"] = f"{metrics['flops'] / 1e9:.3g}"
    facts |= latency_words(metrics.get("latency"))
    if cv := metrics.get("cv"):
        settings = ", ".join(f"{name} {value:.3g}" for name, value in cv["settings"].items())
        facts["Classifier"] = f"{cv['classifier']}, {settings}"
        figures = ", ".join(tables.deviating(cv, name) for name in tables.CROSS_VALIDATED)
        facts["Cross-validation"] = f"{figures}; {tables.folds(cv).removeprefix('cross-validation: ')}"
    return facts


def _pixels(figures: Mapping[str, float]) -> dict[str, str]:
    """Return the pixel metrics of a localiser as text."""
    if "iou" not in figures:
        return {}
    auc, f1, iou = (figures[name] for name in ("pixel_auroc", "pixel_f1", "iou"))
    return {"Pixels": f"AUC {auc:.3f}, F1 {f1:.3f}, IoU {iou:.3f} on manipulated pictures, at the threshold 0.5"}


def _datasets(predictions: pd.DataFrame) -> dict[str, str]:
    """Return the AUC of each data set and the pooled AUC as text; empty for a single data set."""
    if not (found := detection.per_dataset(predictions)):
        return {}
    level = next(iter(found)).partition("_")[0]
    pooled = detection.quick(predictions)[f"{level}_auroc"]
    each = ", ".join(f"{name.partition('/')[2]} {value:.3f}" for name, value in found.items())
    return {"Data sets": f"{level} AUC {pooled:.3f} pooled; {each}"}


def _stores(run: Run) -> list[CropStore]:
    """Return the existing stores of the run's crops, one per data set."""
    if run.imported:
        return []
    source, recipe, split = (run.build(f"data.{part}") for part in ("source", "recipe", "split"))
    every = members(source, split, recipe, run.config["data"]["prepared"], run.cache)
    return [store for part, _ in every if (store := part.find()) is not None]


def _audit(run: Run) -> Settings | None:
    path = next((store.folder / "audit.json" for store in _stores(run)), None)
    if path is None or not path.is_file():
        return None
    return read_json(path, AGAIN)


def _duplicates(run: Run, most: int = 20) -> list[str]:
    """List at most `most` near-duplicate pairs that the run recorded; pairs of unrelated items come first."""
    path = run.folder / duplicates.DUPLICATES
    if not path.is_file():
        return []
    pairs = pd.read_csv(path)
    unrelated = ~pairs["related"].astype(bool)
    shown = pd.concat([pairs[unrelated], pairs[~unrelated].head(max(0, most - int(unrelated.sum())))])
    return list(duplicates.listed(shown, most))


def _speech(run: Run, predictions: pd.DataFrame, resamples: int) -> pd.DataFrame | None:
    """Compute the metrics over speakers, which are the groups of the data set; None for pictures and videos."""
    stores = [store for store in _stores(run) if len(store.sounds) and not len(store.crops)]
    if not stores or not predictions["logit"].notna().any():
        return None
    items = pd.concat([store.items for store in stores], ignore_index=True).drop_duplicates("item")
    members = [[f"item {item}", *groups] for item, groups in zip(items["item"], items["groups"], strict=True)]
    of = components(members)
    return speakers.summary(predictions, {item: str(of[f"item {item}"]) for item in items["item"]}, resamples=resamples)


class Sounds:
    """A callable that reads recordings for a report page."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.stores = [store for run in runs for store in _stores(run)]

    def __call__(self, item: str) -> NDArray[np.int16] | None:
        """Return the recording of an item [S], or None if the item has no sound."""
        for store in self.stores:
            try:
                if (found := sound_of(store, item)) is not None:
                    return found
            except StoreError:  # a shard at a URL that is not in the cache
                continue
        return None


class Strips:
    """A callable that reads face crops for a report page; missing crops are replaced by grey squares.

    For an item that has sound, but no crops, the picture is the spectrogram of its sound.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.stores = [store for run in runs for store in _stores(run)]
        self.sounds = Sounds(runs)

    def __call__(self, item: str, frames: list[int], track: int) -> list[NDArray[np.uint8]]:
        """Return one crop [H, W, 3] of a face (the track) for each of these frames of an item."""
        grey = np.full((96, 96, 3), 200, np.uint8)
        found: dict[int, NDArray[np.uint8]] = {}
        if not any((store.crops["item"] == item).any() for store in self.stores):
            sound = self.sounds(item)
            return [grey if sound is None else spectrogram(sound)] * len(frames)
        for store in self.stores:
            try:
                rows, pixels = store.of_item(item, frames)
            except StoreError:  # a shard at a URL that is not in the cache
                continue
            places = zip(rows["frame"], rows["track"], pixels, strict=True)
            found |= {int(frame): crop.transpose(1, 2, 0) for frame, face, crop in places if face == track}
            if found:
                break
        return [found.get(frame, grey) for frame in frames]


def _heat(out: Path) -> HeatMaps | None:
    """Read the heat maps that `explain` wrote into a run's folder; None if there are none."""
    path = out / HEAT / "explain.json"
    if not path.is_file():
        return None
    about = read_json(path, "delete it; the report is then written without heat maps")
    shown = [
        HeatMap(entry["item"], entry["why"], entry["prob"], (path.parent / entry["file"]).read_bytes())
        for entry in about["items"]
    ]
    agreement = math.nan if about["agreement"] is None else about["agreement"]
    return HeatMaps(shown, about["localiser"], agreement, about["limit"])
