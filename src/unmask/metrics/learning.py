"""Did a training learn anything? What its validation says, before anybody takes its figures for a result."""

import math

import numpy as np
import pandas as pd

from unmask.metrics import bootstrap, ranking
from unmask.metrics.aggregate import frames, unit, videos

CHANCE = 0.5  # AUC of guessing
TAIL = 0.025  # share of resamples below a 95 % interval
LEVELS = {"frame_auroc": frames, "video_auroc": videos}


def did_not_learn(
    validation: pd.DataFrame | None, monitor: str, best_epoch: int | None, resamples: int = 1000
) -> str | None:
    """Say why a run's figures are no result, if they are not.

    A training that never beats its first epoch, or whose monitored figure on the validation split cannot be told from
    guessing, has not shown that it learnt. The first rule serves every monitor, the second one AUC.

    Args:
        validation: Prediction table of the validation split, by the best weights; None of a generator.
        monitor: `val/FIGURE`, which chose the best epoch.
        best_epoch: Number of the best epoch, from 0; None where there was only one, or it is not known.
        resamples: Bootstrap resamples over items, drawn within each class.

    Returns:
        A sentence to be shown beside the figures, or None.
    """
    reasons = []
    if best_epoch == 0:
        reasons.append(f"the best epoch by {monitor} is the first one")
    name = monitor.removeprefix("val/")
    if (
        validation is not None
        and name in LEVELS
        and (words := _guessing(LEVELS[name](validation), unit(validation), resamples))
    ):
        reasons.append(f"{monitor} {words}")
    return f"This training is not shown to have learned: {', and '.join(reasons)}." if reasons else None


def _guessing(table: pd.DataFrame, noun: str, resamples: int) -> str | None:
    """Say so where the AUC of a table cannot be told from chance.

    Unlike a published interval this one is computed of few items too: the fewer, the sooner it holds chance.
    """
    rows = table.dropna(subset=["score"])
    items = rows[["item", "label"]].drop_duplicates("item").sort_values("item", ignore_index=True)
    fake = int((items["label"] == 1).sum())
    real = len(items) - fake
    told = f"{real} real and {fake} fake {noun}s"
    if not real or not fake:
        return f"does not exist, with {told} scored"
    if 1 / math.comb(len(items), fake) > TAIL:  # the chance that guessing ranks them all rightly
        return f"rests on {told}, too few to tell it from guessing"
    score, label, column = rows["score"].to_numpy(), rows["label"].to_numpy(), items["item"].searchsorted(rows["item"])
    times = bootstrap.resample(items["label"], resamples, seed=0)
    step = max(1, bootstrap.CELLS // len(rows))
    parts = [ranking.auroc(score, label, times[at : at + step][:, column]) for at in range(0, resamples, step)]
    low, high = bootstrap.interval(np.concatenate(parts))
    if low > CHANCE:
        return None
    found = f"is {float(ranking.auroc(score, label)):.2f} on {told} (95 % interval {low:.2f} to {high:.2f})"
    return f"{found}, which is not above guessing"
