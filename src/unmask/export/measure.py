"""Compare two exported files of one detector on the same crops: accuracy with interval, and speed."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data.dataset import CropDataset
from unmask.data.predictions import COLUMNS
from unmask.data.prepared import members
from unmask.export.inputs import Values
from unmask.export.onnx import session
from unmask.export.pixels import pixels_of
from unmask.export.quantize import logits_of, quantize_file
from unmask.export.record import require_pictures, wrapped_of
from unmask.files import replacing
from unmask.metrics import delong, detection
from unmask.networks.latency import cpu_name
from unmask.runs.run import Run

CALIBRATION = 128  # number of validation crops or clips for int8
PAIRS = 30  # number of timed passes of each file, alternating
AT_ONCE = 64  # samples that are read at once


@dataclass(frozen=True)
class Measured:
    """Two files of one detector, the first in float32, on the test split of its run.

    Attributes:
        items: number of test items; 0 if the crops are not on this machine, and then the areas are None.
        areas: the AUC of each file with its 95 % interval.
        difference: the AUC of the second file minus that of the first, with DeLong's paired 95 % interval.
        milliseconds: median duration of one sample of each file, batch size 1, one thread.
        ratio: how many times as fast the second file is: the median over pairs of passes, and the quartiles.
        device: name of the CPU.
    """

    items: int
    areas: tuple[delong.Area, delong.Area] | None
    difference: delong.Difference | None
    milliseconds: tuple[float, float]
    ratio: tuple[float, float, float]
    device: str

    def __str__(self) -> str:
        """Describe the result in two sentences."""
        before, after = self.milliseconds
        middle, low, high = self.ratio
        speed = (
            f"{before:.2f} -> {after:.2f} ms per sample on 1 thread of {self.device}, {middle:.2f} times as fast "
            f"(quartiles {low:.2f} to {high:.2f})"
        )
        if self.areas is None or self.difference is None:
            return f"the accuracy was not measured, because the test crops are not on this machine; {speed}"
        first, second = (f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in self.areas)
        apart = f"{self.difference.value:+.4f} [{self.difference.low:+.4f}, {self.difference.high:+.4f}]"
        return f"AUC on {self.items} test items {first} -> {second}, difference {apart}; {speed}"


def quantize_run(run: Run, path: Path, how: str) -> str:
    """Quantize the exported file of a run in place, and describe how accuracy, speed and size changed.

    Args:
        run: the run.
        path: the file that was exported from it, in float32; it is replaced.
        how: one of `quantize.KINDS`.

    Raises:
        ValueError: the run is a detector of sound, or int8 was requested, but there are no validation crops on this
            machine.
    """
    require_pictures(run, f"quantize={how}")
    pixels = pixels_of(run, wrapped_of(run, "none").parts, CALIBRATION)
    if how == "int8" and "random" in pixels.source:
        raise ValueError(
            f"quantize={how}: needs crops of the run's validation split, which are not on this machine; prepare the "
            "data of the run first (unmask prepare), or set quantize=dynamic"
        )
    with replacing(path) as part:
        found = quantize_file(path, part, how, pixels.values)
        measured = measure(run, path, part, pixels.values[:1])
        sizes = [one.stat().st_size / 1e6 for one in (path, part)]
    return f"{found}; {sizes[0]:.2f} -> {sizes[1]:.2f} MB\n{measured}"


def measure(run: Run, first: Path, second: Path, sample: Values) -> Measured:
    """Score the test split of a run with two exported files, and time them.

    Args:
        run: the run from which both files were exported.
        first: the file in float32.
        second: the other file.
        sample: one sample, uint8 [1, 3, S, S] or [1, T, 3, S, S], for the timing.
    """
    times = paired_times(first, second, sample)
    ratios = times[:, 0] / times[:, 1]
    middle, low, high = (float(np.quantile(ratios, share)) for share in (0.5, 0.25, 0.75))
    before, after = (float(1000 * np.median(column)) for column in times.T)
    samples = samples_of(run, "test")
    if samples is None or not len(samples):
        return Measured(0, None, None, (before, after), (middle, low, high), cpu_name())
    scored = [_videos(samples, path) for path in (first, second)]
    label = scored[0]["label"]
    areas = (delong.auroc(scored[0]["score"], label), delong.auroc(scored[1]["score"], label))
    difference = delong.paired(scored[1]["score"], scored[0]["score"], label)
    return Measured(len(label), areas, difference, (before, after), (middle, low, high), cpu_name())


def samples_of(run: Run, split: str) -> CropDataset | None:
    """Return the samples of a split of the run's own data; None if its crops are not on this machine."""
    source, splitting, recipe = (run.build(f"data.{name}") for name in ("source", "split", "recipe"))
    names = set(run.predictions(split)["item"])
    for prepared, _ in members(source, splitting, recipe, run.config["data"]["prepared"], run.cache):
        store = prepared.find()
        if store is not None and names & set(store.items["item"]):
            items = store.items[store.items["item"].isin(names)]
            samples: CropDataset = run.build("data.sampling").samples(store, items, recipe)
            return samples
    return None


def _videos(samples: CropDataset, path: Path) -> pd.DataFrame:
    """Return one row per item with its label and its score, computed by an exported file."""
    logits = [
        logits_of(path, np.asarray(samples.pixels(range(at, min(at + AT_ONCE, len(samples))))))
        for at in range(0, len(samples), AT_ONCE)
    ]
    logit = np.concatenate(logits).astype(np.float64)
    table = samples.table[list(COLUMNS)].assign(logit=logit, dataset="", split="test")
    return detection.videos(table).dropna(subset=["score"]).sort_values("item")


def paired_times(first: Path, second: Path, sample: Values) -> NDArray[np.float64]:
    """Return the durations [PAIRS, 2] of alternating passes, so that other load affects both files alike."""
    runs, times = [session(path) for path in (first, second)], np.zeros((PAIRS, 2))
    for run in runs:
        run(sample)
    for row in times:
        for column, run in enumerate(runs):
            begun = time.perf_counter()
            run(sample)
            row[column] = time.perf_counter() - begun
    return times
