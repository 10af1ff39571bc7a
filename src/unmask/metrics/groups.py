"""Error rates of groups of items, such as the groups defined by an `attribute.*` column of a manifest."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from unmask.metrics.bootstrap import FEWEST
from unmask.metrics.rates import Rate, rates

UNKNOWN = "unknown"  # name of the group of the items without a value


class Group(NamedTuple):
    """The error rates of one group, each with its number of items and its Clopper-Pearson interval.

    Attributes:
        name: The group's value, as text.
        fpr: False-positive rate; None without scored reals.
        tpr: True-positive rate; None without scored fakes.
    """

    name: str
    fpr: Rate | None
    tpr: Rate | None


class Gap(NamedTuple):
    """The largest difference in a rate between two groups: `low` has the lowest rate, and `high` has the highest."""

    value: float
    low: str
    high: str


def by_group(scored: pd.DataFrame, groups: "pd.Series[str]", threshold: float) -> list[Group]:
    """Compute the FPR and the TPR of each group at one threshold.

    Args:
        scored: One row per item with `item, label, score`, such as from `aggregate.videos`, without missing scores.
        groups: The group of each item, indexed by `item`, such as `items.set_index("item")["attribute.Male"]`.
        threshold: An item is classified as fake if its score is above this threshold.

    Returns:
        The groups with scored items, sorted by name. Items without a group, or with a missing value, form the last
        group, `unknown`.

    Raises:
        ValueError: If an item has two groups.
    """
    twice = groups.index[groups.index.duplicated()]
    if len(twice):
        raise ValueError(f"item {twice[0]!r} occurs twice in the table of groups; expected one row per item")
    value = scored["item"].map(groups)
    named = value.astype(object).where(value.notna(), UNKNOWN).map(str)
    names = sorted(named.unique(), key=lambda name: (name == UNKNOWN, name))
    found = []
    for name in names:
        by_label = {rate.label: rate for rate in rates(scored[(named == name).to_numpy()], threshold)}
        found.append(Group(name, by_label.get(0), by_label.get(1)))
    return found


def largest_gap(groups: Sequence[Group], label: int, fewest: int = FEWEST) -> Gap | None:
    """Return the largest difference in the FPR (label 0) or the TPR (label 1) between two groups.

    The group `unknown` and groups with fewer than `fewest` items of the class are excluded, because rates of few items
    vary by chance. The result is None if fewer than two groups remain.
    """
    found = [
        (rate.value, one.name)
        for one in groups
        if (rate := (one.fpr, one.tpr)[label]) and one.name != UNKNOWN and rate.total >= fewest
    ]
    if len(found) < 2:
        return None
    (low, lowest), (high, highest) = min(found), max(found)
    return Gap(high - low, lowest, highest)
