"""Rates per class: the share of a class's items above a threshold, with an exact confidence interval."""

from typing import NamedTuple

import pandas as pd


class Rate(NamedTuple):
    """The share of a class's items that are classified as fake.

    Attributes:
        label: 0 for reals, whose rate is the false-positive rate (FPR); 1 for fakes, whose rate is the true-positive
            rate (TPR).
        called: Number of items classified as fake.
        total: Number of scored items, at least 1.
        low: Lower end of the 95 % interval of the share.
        high: Upper end of the 95 % interval of the share.
    """

    label: int
    called: int
    total: int
    low: float
    high: float

    @property
    def name(self) -> str:
        """`FPR` or `TPR`."""
        return "TPR" if self.label else "FPR"

    @property
    def value(self) -> float:
        """Share of the class's items that are classified as fake."""
        return self.called / self.total


def clopper_pearson(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the exact confidence interval of a proportion, `hits` of `total` items (doi 10.1093/biomet/26.4.404).

    For any proportion and any number of items, the interval contains the true proportion with a probability of at least
    `confidence`, provided that the items are independent.

    Raises:
        ValueError: If `hits` is not between 0 and `total`, or there are no items.
    """
    if not 0 <= hits <= total or total < 1:
        raise ValueError(f"{hits} of {total} items: expected at least 1 item, and a count from 0 to the total")
    tail = (1 - confidence) / 2
    from scipy.special import betaincinv  # imported here because SciPy is slow to import

    low = float(betaincinv(hits, total - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, total - hits, 1 - tail)) if hits < total else 1.0
    return low, high


def rates(scored: pd.DataFrame, threshold: float) -> list[Rate]:
    """Compute the FPR and the TPR of scored items; a class without items is left out.

    Args:
        scored: One row per item with `label, score`, without missing scores.
        threshold: An item is classified as fake if its score is above this threshold.
    """
    found = []
    for label in (0, 1):
        called = scored.loc[scored["label"] == label, "score"] > threshold
        if len(called):
            hits = int(called.sum())
            found.append(Rate(label, hits, len(called), *clopper_pearson(hits, len(called))))
    return found
