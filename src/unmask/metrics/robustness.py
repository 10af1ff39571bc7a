"""Robustness: metrics of a detector on perturbed test items, one row per perturbation and level."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from unmask.metrics import bootstrap, detection, ranking
from unmask.metrics.rates import Rate, rates

CLEAN = "clean"  # name of the step without perturbation
DROP = 0.05  # a decrease of the AUC by more than this is reported if the interval of the difference excludes 0


class Robustness(NamedTuple):
    """The metrics of one step of a suite, which applies perturbations to test items at several levels.

    Attributes:
        name: name of the perturbation; `clean` for the unperturbed items.
        level: level of the perturbation, from 1 (weakest); 0 for the unperturbed items.
        words: description of the perturbation.
        auroc: AUC over items; NaN if a class is missing.
        low: lower end of the 95 % interval of the AUC; NaN if a class has too few items.
        high: upper end of the 95 % interval of the AUC.
        fpr: false-positive rate at the run's threshold, with its interval; None without scored reals.
        tpr: true-positive rate at the run's threshold, with its interval; None without scored fakes.
        coverage: share of the items that could be scored.
        change: AUC minus the AUC of the clean items, computed on the items scored in both steps.
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
        """Whether the AUC is significantly lower than on the clean items, by more than `DROP`."""
        return self.change < -DROP and self.change_high < 0


def robustness(
    steps: Mapping[tuple[str, int], pd.DataFrame], threshold: float, resamples: int = 1000, seed: int = 0
) -> list[Robustness]:
    """Compute the metrics of each step of a suite: of the clean items, and of each perturbation at each level.

    Args:
        steps: prediction tables by (name, level), including `("clean", 0)`; `attrs["protocol"]["Perturbation"]` of a
            table describes the perturbation.
        threshold: the run's threshold for items, a logit.
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
            low, high = bootstrap.of_auroc(score, label, resamples, seed)
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
    """Return the change in AUC and its interval; NaN if the two tables share no scored item."""
    try:
        pair = bootstrap.paired(table, clean, resamples, seed)
    except ValueError:
        return float("nan"), float("nan"), float("nan")
    return pair.difference, pair.low, pair.high


def mean_auroc(found: Sequence[Robustness]) -> float:
    """Return the mean AUC over the perturbed steps of a suite; NaN if no step has an AUC."""
    areas = [one.auroc for one in found if one.level and not np.isnan(one.auroc)]
    return float(np.mean(areas)) if areas else float("nan")


def worst(found: Sequence[Robustness]) -> Robustness | None:
    """Return the step with the largest significant decrease in AUC (see `Robustness.falls`), or None."""
    return min((one for one in found if one.falls), key=lambda one: one.change, default=None)
