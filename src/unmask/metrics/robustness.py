"""How the metrics of a detector change when its test items are handled: one row per perturbation and level."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from unmask.metrics import bootstrap, detection, ranking
from unmask.metrics.rates import Rate, rates

CLEAN = "clean"  # name of the step without a perturbation
DROP = 0.05  # a fall of the AUC by more than this is reported, if the interval of the difference excludes 0


class Robustness(NamedTuple):
    """The metrics of one step.

    Attributes:
        name: name of the perturbation; `clean` for the unperturbed items.
        level: its level, from 1 (weakest); 0 for the unperturbed items.
        words: what was done.
        auroc: AUC over items, with the 95 % interval `low, high`; NaN if a class is missing or has too few items.
        low: lower end of the interval of the AUC.
        high: upper end of the interval of the AUC.
        fpr: false-positive rate at the run's threshold, with its interval; None without scored reals.
        tpr: true-positive rate at the run's threshold, with its interval; None without scored fakes.
        coverage: share of the items that could be scored.
        change: AUC minus that of the same items without the perturbation, on the items scored in both.
        change_low: lower end of the interval of the change.
        change_high: upper end of the interval of the change.
    """

    name: str
    level: int
    words: str
    auroc: float
    low: float
    high: float
    fpr: Rate | None
    tpr: Rate | None
    coverage: float
    change: float
    change_low: float
    change_high: float

    @property
    def falls(self) -> bool:
        """Whether the AUC is lower than on the clean items by more than `DROP`, and significantly so."""
        return self.change < -DROP and self.change_high < 0


def robustness(
    steps: Mapping[tuple[str, int], pd.DataFrame], threshold: float, resamples: int = 1000, seed: int = 0
) -> list[Robustness]:
    """Compute the metrics of each step of a suite.

    Args:
        steps: prediction tables by (name, level), with the step `("clean", 0)`; `attrs["protocol"]` of a table says
            what was done ("Perturbation").
        threshold: the run's threshold for whole items, a logit.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        One entry per step, in the given order.
    """
    clean = steps[CLEAN, 0]
    found = []
    for (name, level), table in steps.items():
        scored = detection.videos(table).dropna(subset=["score"])
        score, label = scored["score"].to_numpy(), scored["label"].to_numpy()
        area, low, high = float(ranking.auroc(score, label)), float("nan"), float("nan")
        if min((label == 0).sum(), (label == 1).sum()) >= bootstrap.FEWEST:
            low, high = bootstrap.interval(ranking.auroc(score, label, bootstrap.resample(label, resamples, seed)))
        by_class = {rate.name: rate for rate in rates(scored, threshold)}
        words = str(table.attrs.get("protocol", {}).get("Perturbation", name))
        change = _change(table, clean, resamples, seed)
        found.append(
            Robustness(
                name, level, words, area, low, high, by_class.get("FPR"), by_class.get("TPR"),
                detection.coverage(table), *change,
            )
        )  # fmt: skip
    return found


def _change(table: pd.DataFrame, clean: pd.DataFrame, resamples: int, seed: int) -> tuple[float, float, float]:
    """Return the change of the AUC and its interval; NaN if the two tables share no scored item."""
    try:
        pair = bootstrap.paired(table, clean, resamples, seed)
    except ValueError:
        return float("nan"), float("nan"), float("nan")
    return pair.difference, pair.low, pair.high


def mean_auroc(found: Sequence[Robustness]) -> float:
    """Return the summary of a suite: the mean AUC over its perturbed steps; NaN if none of them has one."""
    areas = [one.auroc for one in found if one.level and not np.isnan(one.auroc)]
    return float(np.mean(areas)) if areas else float("nan")


def worst(found: Sequence[Robustness]) -> Robustness | None:
    """Return the step after which the AUC falls most, if it falls significantly (see `Robustness.falls`)."""
    return min((one for one in found if one.falls), key=lambda one: one.change, default=None)
