"""Selective classification: the error rate of a detector that abstains on its least confident items.

The confidence of a decision is the distance of the score from the threshold. Each wrong decision counts as one error.
`score` and `label` are `[N]`, and `weight` is None or `[..., N]`, as in `ranking`. Items with equal confidence form one
step: all of them are accepted or none, so their order has no effect.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import ranking
from unmask.metrics.calibration import ratio

Array = NDArray[np.float64]


def _accepted(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None, threshold: float) -> tuple[Array, Array]:
    """Return the cumulative weights `[..., K]` of wrong and of all decisions, most confident step first."""
    score = np.asarray(score, dtype=np.float64)
    wrong = (score > threshold) != (np.asarray(label) == 1)
    steps = ranking.counts(np.abs(score - threshold), wrong, weight)  # wrong decisions are counted as fakes
    return steps.fake, steps.fake + steps.real


def aurc(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0) -> Array:
    """Compute the area under the risk-coverage curve: the error rate averaged over all coverages; lower is better.

    The definition is by Geifman and El-Yaniv (2017, arXiv 1705.08500). Without ties, the result is the mean over k of
    the error rate of the k most confident items. It is NaN if the total weight is 0.
    """
    wrong, accepted = _accepted(score, label, weight, threshold)
    if accepted.shape[-1] == 0:
        return np.full(accepted.shape[:-1], np.nan)
    risk = ranking.share(wrong, accepted)
    return ratio(np.sum(ranking.increments(accepted) * risk, axis=-1), accepted[..., -1])


def risk_coverage(
    score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0
) -> tuple[Array, Array]:
    """Compute the risk-coverage curve.

    Returns:
        Coverage (share of items that are decided) and risk (share of wrong decisions among these), each `[..., K]`,
        from the most confident step to a coverage of 1. The risk is NaN where no item is decided.
    """
    wrong, accepted = _accepted(score, label, weight, threshold)
    total = np.broadcast_to(accepted[..., -1:], accepted.shape)
    return ratio(accepted, total), ratio(wrong, accepted)
