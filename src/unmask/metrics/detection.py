"""Metrics of a detector, computed from its prediction table alone.

A table has one row per scored frame or clip: `item, track, frame, time, label, method, dataset, split, logit`. Label 1
is fake. An item that could not be scored has one row with a null logit. Metrics exclude such items instead of giving
them a probability of 0.5. Each excluded item lowers the coverage, which is reported with every metric.

Rankings and decisions use scores, which are logits (see `aggregate`). A threshold is also a logit; `probability`
converts it for display.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import bootstrap, operating, ranking, risk
from unmask.metrics.aggregate import (
    frames,
    logit,
    methods,
    of_method,
    probability,
    require_finite,
    tracks,
    unit,
    videos,
)
from unmask.metrics.calibration import brier, ece, log_loss
from unmask.metrics.decisions import accuracy, balanced_accuracy, f1, precision, recall, specificity
from unmask.metrics.ranking import auroc, average_precision, eer, pr_curve, roc_curve

__all__ = [
    "METRICS",
    "accuracy",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "coverage",
    "ece",
    "eer",
    "evaluate",
    "f1",
    "frames",
    "levels",
    "log_loss",
    "logit",
    "methods",
    "of_method",
    "pr_curve",
    "precision",
    "probability",
    "quick",
    "recall",
    "reported",
    "require_finite",
    "roc_curve",
    "specificity",
    "summary",
    "threshold",
    "tracks",
    "unit",
    "videos",
]

Array = NDArray[np.float64]
METRICS = (
    "auroc",
    "ap",
    "eer",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "brier",
    "ece",
    "log_loss",
    "tpr_at_1",
    "tpr_at_5",
    "fpr_at_95",
    "pauc",
    "aurc",
)


def levels(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the scored rows at both levels, `frame` and `video`, each with `item, label, method, score, prob`."""
    tables = {"frame": frames(predictions), "video": videos(predictions)}
    return {level: table.dropna(subset=["score"]) for level, table in tables.items()}


def reported(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the scored rows at the reported levels: `frame` and `video`, or only `image` or only `recording`."""
    tables, items = levels(predictions), unit(predictions)
    return tables if items == "video" else {items: tables["video"]}


def coverage(predictions: pd.DataFrame) -> float:
    """Return the share of items that could be scored; NaN for an empty table."""
    scored = predictions.loc[predictions["logit"].notna(), "item"].nunique()
    everything = predictions["item"].nunique()
    return scored / everything if everything else float("nan")


def evaluate(
    score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, threshold: float = 0.0
) -> dict[str, Array]:
    """Compute all `METRICS` from logits `[N]`, labels `[N]` and weights (None or `[..., N]`) -> values `[...]` each.

    `tpr_at_1` and `tpr_at_5` are TPRs at an FPR of 1 % and 5 %, `fpr_at_95` is the FPR at a TPR of 95 %, and `pauc` is
    the standardised partial AUC up to an FPR of 10 % (see `operating`). `aurc` is the error rate averaged over
    all coverages (see `risk`).
    """
    table, prob = ranking.counts(score, label, weight), probability(score)
    return {
        "auroc": ranking.area(table),
        "ap": ranking.precision_sum(table),
        "eer": ranking.equal_error_rate(table),
        "accuracy": accuracy(score, label, weight, threshold),
        "balanced_accuracy": balanced_accuracy(score, label, weight, threshold),
        "precision": precision(score, label, weight, threshold),
        "recall": recall(score, label, weight, threshold),
        "f1": f1(score, label, weight, threshold),
        "brier": brier(prob, label, weight),
        "ece": ece(prob, label, weight),
        "log_loss": log_loss(score, label, weight),
        "tpr_at_1": operating.highest_tpr(table, 0.01),
        "tpr_at_5": operating.highest_tpr(table, 0.05),
        "fpr_at_95": operating.lowest_fpr(table, 0.95),
        "pauc": operating.partial_area(table, 0.1),
        "aurc": risk.aurc(score, label, weight, threshold),
    }


# Names of the metrics that `quick` computes.
WATCHED = tuple(f"{level}_{name}" for level in ("frame", "video") for name in ("auroc", "ap", "eer", "acc"))
SMALLER = ("eer", "loss")  # last parts of the names of monitored metrics for which smaller values are better


def mode_of(metric: str) -> str:
    """Return `min` if smaller values of a monitored metric are better, as for `val/loss`; else return `max`."""
    return "min" if metric.rpartition("/")[2].rpartition("_")[2] in SMALLER else "max"


def quick(predictions: pd.DataFrame) -> dict[str, float]:
    """Compute the metrics monitored during training, without intervals.

    Returns:
        `{frame,video}_{auroc,ap,eer,acc}`. The threshold of `acc` is a probability of 0.5. If a class is missing,
        `auroc`, `ap` and `eer` are NaN.
    """
    figures = {}
    for level, rows in levels(predictions).items():
        score, label = rows["score"].to_numpy(), rows["label"].to_numpy()
        table = ranking.counts(score, label)
        figures[f"{level}_auroc"] = float(ranking.area(table))
        figures[f"{level}_ap"] = float(ranking.precision_sum(table))
        figures[f"{level}_eer"] = float(ranking.equal_error_rate(table))
        figures[f"{level}_acc"] = float(accuracy(score, label))
    return figures


def per_dataset(predictions: pd.DataFrame) -> dict[str, float]:
    """Compute the AUC over items of each data set in a table, and the mean of these AUCs.

    Returns:
        `video_auroc/DATASET` for each data set and `video_auroc/mean`; empty if the table has only one data set. If a
        class is missing in a data set, its AUC is NaN and is excluded from the mean.
    """
    names = sorted(predictions["dataset"].dropna().unique()) if "dataset" in predictions else []
    if len(names) < 2:
        return {}
    level = list(levels(predictions))[-1]
    found = {name: quick(predictions[predictions["dataset"] == name])[f"{level}_auroc"] for name in names}
    known = [value for value in found.values() if value == value]
    mean = float(np.mean(known)) if known else float("nan")
    return {f"{level}_auroc/{name}": value for name, value in found.items()} | {f"{level}_auroc/mean": mean}


def _cut(score: Array, label: Array) -> float:
    """Return the threshold with the highest balanced accuracy, midway between its two neighbouring scores."""
    table = ranking.counts(score, label)
    if not 0 < label.sum() < len(label) or len(table.score) < 2:
        return 0.0
    balance = (table.fake / table.fake[-1] - table.real / table.real[-1])[:-1]
    above, below = table.score[:-1], table.score[1:]
    # Among equally good cuts, choose the one with the widest gap. Rounding removes summation errors from equal values.
    best = np.lexsort((below - above, -np.round(balance, 12)))[0]
    middle = (above[best] + below[best]) / 2
    return float(middle if middle < above[best] else below[best])  # adjacent floats have no midpoint


def threshold(predictions: pd.DataFrame) -> dict[str, float]:
    """Choose the thresholds with the highest balanced accuracy on validation data.

    Returns:
        `{"frame": t, "video": t}`. Each t is a logit; a score above it is classified as fake. Among equally good
        thresholds, the one with the widest gap between its neighbouring scores is chosen. If there is only one class
        or one distinct score, t is 0, which is a probability of 0.5.
    """
    return {
        level: _cut(rows["score"].to_numpy(), rows["label"].to_numpy()) for level, rows in levels(predictions).items()
    }


def require_thresholds(thresholds: Mapping[str, float | None]) -> None:
    """Raise an error for a threshold that is missing, NaN or infinite.

    Raises:
        ValueError: If there is such a threshold; the message names its level and its value.
    """
    for level, value in thresholds.items():
        if value is None or not np.isfinite(value):
            raise ValueError(
                f"the {level} threshold is {value}; expected a finite logit. Thresholds are fitted to the validation "
                "split during training; train the run again"
            )


def summary(
    predictions: pd.DataFrame, thresholds: Mapping[str, float], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compute all metrics with 95 % intervals, for all fakes and for each manipulation, each against all reals.

    Intervals are percentiles of a stratified bootstrap over videos; that of the AUC is also corrected for bias and
    skewness (see `bootstrap.accelerated`). Frame metrics are also resampled by video, because
    the frames of a video are not independent. If a class has fewer than `bootstrap.FEWEST` videos, intervals are NaN.

    Args:
        predictions: The test predictions.
        thresholds: The thresholds for `frame` and `video`, from `threshold` on validation data.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        Columns `level, method, metric, value, low, high, real, fake, coverage`. `real` and `fake` are the numbers of
        scored videos. `coverage` is the share of scored videos among all reals and the fakes of the row's method.
        Undefined values are NaN.

    Raises:
        ValueError: If a threshold or a logit is not finite.
    """
    require_thresholds(thresholds)
    return pd.DataFrame(list(_rows(predictions, thresholds, resamples, seed)))


def _rows(
    predictions: pd.DataFrame, thresholds: Mapping[str, float], resamples: int, seed: int
) -> Iterator[dict[str, object]]:
    """Yield the rows of the table that `summary` returns."""
    for level, table in levels(predictions).items():
        for method in ("all", *methods(predictions)):
            rows = of_method(table, method)
            items = rows[["item", "label"]].drop_duplicates("item").sort_values("item", ignore_index=True)
            fake = int(items["label"].sum())
            shared = {"real": len(items) - fake, "fake": fake, "coverage": coverage(of_method(predictions, method))}
            score, label = rows["score"].to_numpy(), rows["label"].to_numpy()
            figures = evaluate(score, label, threshold=thresholds[level])
            moved = _resampled(rows, items, thresholds[level], resamples, seed)
            for metric, value in figures.items():
                known = moved[metric] if np.isfinite(value) else np.empty(0)
                if metric == "auroc" and len(known):
                    left_out = bootstrap.left_out(score, label, items["item"].searchsorted(rows["item"]))
                    low, high = bootstrap.accelerated(known, float(value), left_out, items["label"])
                else:
                    low, high = bootstrap.interval(known)
                row = {"level": level, "method": method, "metric": metric, "value": float(value)}
                yield row | {"low": low, "high": high} | shared


def _resampled(
    rows: pd.DataFrame, items: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> dict[str, Array]:
    """Compute each metric on all resamples of the items -> values `[resamples]`; empty if there are too few items."""
    if items["label"].value_counts().reindex([0, 1], fill_value=0).min() < bootstrap.FEWEST:
        return {metric: np.empty(0) for metric in METRICS}
    times = bootstrap.resample(items["label"], resamples, seed)
    score, label = rows["score"].to_numpy(), rows["label"].to_numpy()
    column = items["item"].searchsorted(rows["item"]) if len(rows) else np.empty(0, dtype=np.int64)
    step = max(1, bootstrap.CELLS // len(rows))
    parts = [
        evaluate(score, label, np.take(times[start : start + step], column, axis=1), threshold)
        for start in range(0, resamples, step)
    ]
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS}
