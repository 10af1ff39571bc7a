"""Figures of a detector of synthetic speech: EER, DCF and AUC with intervals over speakers, for each attack.

Recordings of the same speaker are not independent samples. The bootstrap therefore resamples whole speakers, with all
their real and fake recordings. The intervals are wider than intervals over recordings, and show how the metrics vary
between speakers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.metrics import bootstrap, costs, ranking
from unmask.metrics.aggregate import methods, of_method
from unmask.metrics.detection import coverage, levels
from unmask.metrics.ranking import counts

Array = NDArray[np.float64]
FIGURES = ("auroc", "eer", "min_dcf", "act_dcf")
LEVELS = {"frame": "utterance", "video": "file"}  # names of the levels of a prediction table, and for recordings


def figures(score: Array, label: Array, weight: Array | None, price: costs.Costs) -> dict[str, Array]:
    """Compute `FIGURES` from logits [N], labels [N] and weights (None or [..., N]) -> values [...] each."""
    table = counts(score, label, weight)
    return {
        "auroc": ranking.area(table),
        "eer": ranking.equal_error_rate(table),
        "min_dcf": costs.least_cost(table, price),
        "act_dcf": costs.actual_dcf(score, label, weight, price),
    }


def summary(
    predictions: pd.DataFrame,
    speakers: Mapping[str, str],
    price: costs.Costs = costs.ASVSPOOF5,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute all figures with 95 % intervals over speakers, for all fakes and for each attack against all reals.

    Args:
        predictions: the prediction table; its rows are windows of recordings.
        speakers: the speaker of each item; an item without one is a speaker of its own.
        price: costs of errors and the prior of the DCF.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        Columns `level, method, metric, value, low, high, real, fake, speakers, coverage`. The level is `utterance`,
        each window alone, or `file`, all windows of a recording. `real` and `fake` are numbers of scored recordings. If
        fewer than `bootstrap.FEWEST` speakers were scored, intervals are NaN.
    """
    return pd.DataFrame(list(_rows(predictions, speakers, price, resamples, seed)))


def _rows(
    predictions: pd.DataFrame, speakers: Mapping[str, str], price: costs.Costs, resamples: int, seed: int
) -> Iterator[dict[str, object]]:
    for level, table in levels(predictions).items():
        for method in ("all", *methods(predictions)):
            rows = of_method(table, method)
            label, score = rows["label"].to_numpy(), rows["score"].to_numpy(np.float64)
            of = np.array([speakers.get(item, item) for item in rows["item"]], object)
            who, names = pd.factorize(of, sort=True)
            items = rows.drop_duplicates("item")
            shared = {
                "real": int((items["label"] == 0).sum()),
                "fake": int((items["label"] == 1).sum()),
                "speakers": len(names),
                "coverage": coverage(of_method(predictions, method)),
            }
            moved = _resampled(score, label, np.asarray(who), price, resamples, seed)
            for metric, value in figures(score, label, None, price).items():
                low, high = bootstrap.interval(moved[metric] if np.isfinite(value) else [])
                yield {
                    "level": LEVELS[level], "method": method, "metric": metric, "value": float(value), "low": low,
                    "high": high, **shared,
                }  # fmt: skip


def _resampled(
    score: Array, label: Array, speaker: NDArray[np.int64], price: costs.Costs, resamples: int, seed: int
) -> dict[str, Array]:
    """Compute each figure on all resamples of the speakers -> values [resamples]; empty if there are too few speakers.

    Args:
        score: logits [N].
        label: labels [N].
        speaker: number of each row's speaker [N].
        price: see `summary`.
        resamples: see `summary`.
        seed: see `summary`.
    """
    count = int(speaker.max()) + 1 if len(speaker) else 0
    if count < bootstrap.FEWEST:
        return {metric: np.empty(0) for metric in FIGURES}
    times = bootstrap.resample_groups(count, resamples, seed)
    step = max(1, bootstrap.CELLS // len(score))
    parts = [
        figures(score, label, np.take(times[start : start + step], speaker, axis=1), price)
        for start in range(0, resamples, step)
    ]
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in FIGURES}
