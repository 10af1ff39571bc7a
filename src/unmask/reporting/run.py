"""The data that a report shows about one run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.config import Settings
from unmask.metrics import detection
from unmask.metrics.calibrate import Calibration
from unmask.metrics.groups import Group
from unmask.metrics.robustness import Robustness

# item, frame numbers, track -> one uint8 face crop [H, W, 3] per frame
Strips = Callable[[str, list[int], int], list[NDArray[np.uint8]]]
NAMES = {
    "auroc": "AUC",
    "ap": "AP",
    "eer": "EER",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "brier": "Brier",
    "ece": "ECE",
    "log_loss": "Log loss",
    "tpr_at_1": "TPR@1%",
    "tpr_at_5": "TPR@5%",
    "fpr_at_95": "FPR@95%",
    "pauc": "pAUC",
    "aurc": "AURC",
}


class Figure(NamedTuple):
    """A metric: its value and 95 % interval (NaN if unknown), its numbers of real and fake items, and its coverage."""

    value: float
    low: float
    high: float
    real: int
    fake: int
    coverage: float

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval; it needs at least `bootstrap.FEWEST` items of each class."""
        return not math.isnan(self.low)

    @property
    def reason(self) -> str:
        """Short reason why there is no value."""
        if not self.real and not self.fake:
            return "none scored"
        return "no fakes" if not self.fake else "no reals" if not self.real else "no predicted fakes"

    @property
    def unbounded(self) -> str:
        """Short reason why there is a value but no interval."""
        return "too few" if self.real and self.fake else self.reason


class HeatMap(NamedTuple):
    """A heat map or feature maps of an item: the item, why it is shown, its score, and a PNG of the input and maps."""

    item: str
    why: str
    prob: float
    png: bytes


class HeatMaps(NamedTuple):
    """Heat maps of some items.

    Attributes:
        shown: The items.
        localiser: Whether the maps are predicted masks; the pictures then contain the true masks, too.
        agreement: Rank correlation with maps of the network with permuted weights: 0 is unrelated, 1 is equal.
        limit: Agreement above which the maps hardly depend on the learned weights.
    """

    shown: Sequence[HeatMap]
    localiser: bool
    agreement: float
    limit: float


class LayerMaps(NamedTuple):
    """Feature maps of one layer.

    Attributes:
        layer: Name of the layer.
        shape: Channels, height and width of the layer's output.
        channels: Numbers of the channels that the pictures show.
        shown: The items.
    """

    layer: str
    shape: tuple[int, ...]
    channels: Sequence[int]
    shown: Sequence[HeatMap]


@dataclass
class RunReport:
    """Predictions and metrics of one detector on one test set, as a report shows them.

    Attributes:
        name: Name of the detector in every table.
        predictions: Test predictions (see `metrics.detection`).
        score_thresholds: Thresholds for `frame` and `video`, as scores (logits), chosen on validation data.
        summary: From `metrics.detection.summary`.
        protocol: How the metrics were measured, heading -> text: data set, split, frames per video, crop, ...
        command: The command line that reproduces the run.
        validation: Validation predictions, if there are any.
        curves: The run's `metrics.csv`; NaN where a metric was not logged.
        audit: `auroc, low, high, num_real, num_fake, passed, features, methods, note` of the shortcut audit; None
            if the run has no audit file. If the audit could not run, `auroc` is None and `note` gives the reason.
        remarks: Sentences shown with the metrics, such as a warning that the model did not learn.
        preset: Name of the preset, without the seed.
        seedless_id: ID that is equal for runs that differ only in their seed; empty if that is unknown.
        network: Further facts to show, such as the number of parameters.
        heat: Heat maps, if any were made.
        duplicates: Pairs of near-duplicate items of the data set, as text.
        about: Origin of the run, heading -> text: data set, data root, network, folder, ...
        calibrations: Maps from scores to calibrated probabilities, fitted to validation data, by name.
        groups: Error rates of groups of items, by name of the attribute that defines the groups.
        suites: Metrics on perturbed items, by name of the robustness suite; the clean items come first.
        layers: Feature maps, one entry per layer.
        cost: Size and cost of the network as numbers (see `reporting.cost`).
        speech: For recordings, from `metrics.speakers.summary`; None for pictures and videos.
    """

    name: str
    predictions: pd.DataFrame
    score_thresholds: Mapping[str, float]
    summary: pd.DataFrame
    protocol: Mapping[str, str]
    command: str
    validation: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    audit: Settings | None = None
    remarks: Sequence[str] = ()
    preset: str = ""
    seedless_id: str = ""
    network: Settings = field(default_factory=dict)
    heat: HeatMaps | None = None
    duplicates: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)
    suites: Mapping[str, Sequence[Robustness]] = field(default_factory=dict)
    layers: Sequence[LayerMaps] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    speech: pd.DataFrame | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds as probabilities, for display; decisions are made on scores."""
        return {level: float(detection.probability(cut)) for level, cut in self.score_thresholds.items()}

    @cached_property
    def unit(self) -> str:
        """Kind of the scored items: `video`, `image` or `recording`."""
        return detection.unit(self.predictions)

    @cached_property
    def scored(self) -> dict[str, pd.DataFrame]:
        """The scored rows of each level shown: `frame` and `video`, or only `image` or only `recording`."""
        return detection.reported(self.predictions)

    @property
    def whole(self) -> str:
        """The level with one score per item: `video`, `image` or `recording`."""
        return list(self.scored)[-1]

    def methods(self) -> list[str]:
        """List the manipulations in the summary: first `all`, then each manipulation in order of increasing AUC.

        The AUC is that of whole items, not of frames. Manipulations with equal AUCs are sorted by name, and
        manipulations without an AUC come last.
        """

        def place(method: str) -> tuple[bool, float, str]:
            figure = self.figure(self.whole, method, "auroc")
            return method != "all", figure.value if figure is not None and figure.known else math.inf, method

        return sorted(self.summary["method"].unique(), key=place)

    def figure(self, level: str, method: str, metric: str) -> Figure | None:
        """Look up a metric in the summary; None if it is missing. All levels except `frame` are stored as `video`."""
        table = self.summary
        rows = table[
            (table["level"] == ("frame" if level == "frame" else "video"))
            & (table["method"] == method)
            & (table["metric"] == metric)
        ]
        if rows.empty:
            return None
        row = rows.iloc[0]
        numbers = (float(row["value"]), float(row["low"]), float(row["high"]))
        return Figure(*numbers, int(row["real"]), int(row["fake"]), float(row["coverage"]))


def common_unit(runs: Sequence[RunReport]) -> str:
    """Return the unit of all runs, such as `image`; `video` if they differ."""
    units = {run.unit for run in runs}
    return units.pop() if len(units) == 1 else "video"


def all_methods(runs: Sequence[RunReport]) -> list[str]:
    """List the manipulations of all runs, without `all`."""
    names = (name for run in runs for name in run.summary["method"])
    return [name for name in dict.fromkeys(names) if name != "all"]


def percent(share: float) -> str:
    """Format a share as a percentage; a share below 1 is never rounded to 100 %."""
    if math.isnan(share):
        return "n/a (no items)"
    whole = f"{100 * share:.0f} %"
    return whole if share in (0, 1) or whole not in ("0 %", "100 %") else f"{min(100 * share, 99.9):.1f} %"


def shares(numbers: Sequence[int]) -> list[str]:
    """Format the share of each count as a percentage; the percentages sum to 100 (largest-remainder method).

    The percentages are whole numbers. If a share would be rounded to 0 % or 100 %, all percentages have one decimal.
    """
    total = sum(numbers)
    if not total:
        return ["n/a: none"] * len(numbers)
    whole, tenths = _largest_remainder(numbers, 100), _largest_remainder(numbers, 1000)
    if all(0 < part < 100 or number in (0, total) for part, number in zip(whole, numbers, strict=True)):
        return [f"{part} %" for part in whole]
    return [
        "< 0.1 %" if number and not part else "> 99.9 %" if number < total and part == 1000 else f"{part / 10:g} %"
        for part, number in zip(tenths, numbers, strict=True)
    ]


def _largest_remainder(numbers: Sequence[int], parts: int) -> list[int]:
    """Divide `parts` in proportion to the numbers, into whole numbers that sum to `parts`."""
    total = sum(numbers)
    found = [number * parts // total for number in numbers]
    order = sorted(range(len(numbers)), key=lambda at: (-(numbers[at] * parts % total), at))
    for at in order[: parts - sum(found)]:
        found[at] += 1
    return found
