"""Check on the validation split whether a model learned anything. If not, its metrics are not a valid result."""

import math

import numpy as np
import pandas as pd

from unmask.metrics import bootstrap, ranking
from unmask.metrics.aggregate import frames, unit, videos

CHANCE = 0.5  # AUC of random guessing
TAIL = 0.025  # share of resamples that lie below a 95 % interval
LEVELS = {"frame_auroc": frames, "video_auroc": videos}


def did_not_learn(
    validation: pd.DataFrame | None, monitor: str, best_epoch: int | None, resamples: int = 1000
) -> str | None:
    """Explain why a run's metrics are not a valid result; return None if they are valid.

    The metrics of a detector are valid if its validation AUC is significantly better than chance: the monitored AUC or,
    with another monitor, the AUC over items. This also holds if the first epoch is the best one, as it can be with
    pretrained weights or much data. The metrics of other models are valid unless the first epoch is the best one.

    Args:
        validation: Prediction table of a detector's validation split with the best weights. None for a generator, and
            for a segmenter, which can find pixels although its scores of items are not better than chance.
        monitor: `val/METRIC`, the metric that selected the best epoch.
        best_epoch: Index of the best epoch, from 0; None if there was only one epoch or the best epoch is unknown.
        resamples: Number of bootstrap resamples over items, drawn within each class.

    Returns:
        A sentence to show with the metrics, or None.
    """
    reasons = [f"the best epoch by {monitor} is the first one"] if best_epoch == 0 else []
    if validation is not None:
        name = monitor.removeprefix("val/")
        level = name if name in LEVELS else "video_auroc"
        guessing = _guessing(LEVELS[level](validation), unit(validation), resamples)
        if guessing is None:
            return None
        reasons.append(f"val/{level} {guessing}")
    return f"There is no evidence that the model learned anything: {', and '.join(reasons)}." if reasons else None


def _guessing(table: pd.DataFrame, noun: str, resamples: int) -> str | None:
    """Return the end of a sentence that says why the AUC of a table may be due to chance; None if it is not.

    Unlike the intervals in reports, this interval is also computed for few items. The fewer items there are, the wider
    the interval is, and the more likely it contains 0.5.
    """
    rows = table.dropna(subset=["score"])
    items = rows[["item", "label"]].drop_duplicates("item").sort_values("item", ignore_index=True)
    fake = int((items["label"] == 1).sum())
    real = len(items) - fake
    counts = f"{real} real and {fake} fake {noun}s"
    if not real or not fake:
        return f"is undefined, with {counts} scored"
    if 1 / math.comb(len(items), fake) > TAIL:  # probability that random scores rank all items correctly
        return f"is computed from {counts}, too few to distinguish the model from chance"
    score, label, column = rows["score"].to_numpy(), rows["label"].to_numpy(), items["item"].searchsorted(rows["item"])
    times = bootstrap.resample(items["label"], resamples, seed=0)
    step = max(1, bootstrap.CELLS // len(rows))
    parts = [ranking.auroc(score, label, times[at : at + step][:, column]) for at in range(0, resamples, step)]
    low, high = bootstrap.interval(np.concatenate(parts))
    if low > CHANCE:
        return None
    found = f"is {float(ranking.auroc(score, label)):.2f} on {counts} (95 % interval {low:.2f} to {high:.2f})"
    return f"{found}, which is not significantly better than chance"
