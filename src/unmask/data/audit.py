"""The shortcut audit: test whether file statistics alone separate real from fake.

A small classifier sees only file-level statistics (size, format, resolution, codec and colour statistics, and whether
our own watermark is detected; of sound, level, duration, bit rate, noise floor, clipping and silence). If this
classifier beats chance, a detector may learn these shortcuts instead of looking at the faces (arXiv:2403.17608).
"""

import importlib
import math
import threading

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.config import Settings
from unmask.data.manifest import STATISTIC, components

FOLDS, TREES, RESAMPLES, FEWEST = 5, 300, 500, 20
# The bootstrap resamples scored people, but not those on which the classifier was trained. With K folds, the variance
# of a mean over folds is therefore not 1 / K but 1 / K + 1 / (K - 1) of that of one fold (Nadeau and Bengio 2003,
# doi 10.1023/A:1024068626366). `python benchmarks/audit.py` measures the result.
WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))


def audit(items: pd.DataFrame, seed: int = 0) -> Settings:
    """Compute the cross-validated AUROC of a classifier that sees only file statistics; no person is in two folds.

    Returns:
        `auroc` over all methods with a 95 % interval `low, high` (bootstrap over groups, see `_group` and `WIDER`),
        `passed` (whether the interval contains 0.5), `num_real`, `num_fake`, the names of the `features`, the AUROC
        and interval of each of the `methods`, and a `note` in words. If the audit was not run, `auroc` and `passed` are
        None, and the note says why.
    """
    used = items[items["rejected"].isna()].reset_index(drop=True)
    label = used["label"].to_numpy(int)
    table = _statistics(used)
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    counts = {"num_real": real, "num_fake": fake, "features": sorted(map(str, table))}
    group = _group(used)
    score = None
    if len(table.columns) and min(real, fake) >= FEWEST and len(set(group)) >= FOLDS:
        score = _out_of_fold(_features(table), label, group, seed)
    if score is None:
        note = (
            f"not run: the audit needs at least {FEWEST} items per class in at least {FOLDS} independent groups, "
            "and no group may contain all items of a class"
        )
        if not len(table.columns):
            note = "not run: the files were not measured; `unmask prepare ... rerun=true` measures them"
        return counts | {"auroc": None, "low": None, "high": None, "passed": None, "methods": {}, "note": note}
    overall = _interval(score, label, group, seed)
    methods = {}
    for method in sorted(set(used["method"]) - {"real"}):
        rows = ((used["method"] == method) | (label == 0)).to_numpy()
        methods[method] = _interval(score[rows], label[rows], group[rows], seed)
    passed = overall["low"] <= 0.5 <= overall["high"]
    note = (
        "the file statistics alone do not separate real from fake"
        if passed
        else "the file statistics alone separate real from fake: a detector's results on this data may be due to them"
    )
    return counts | overall | {"passed": bool(passed), "methods": methods, "note": note}


def preload() -> None:
    """Import scikit-learn in a background thread, so that `audit` need not wait for it; the import takes seconds."""
    threading.Thread(target=importlib.import_module, args=("sklearn.ensemble",), daemon=True).start()


def _statistics(items: pd.DataFrame) -> pd.DataFrame:
    """Return the columns with file statistics; the prefix `statistic.` is removed from their names."""
    measured = [name for name in items.columns if name.startswith(STATISTIC)]
    return items[measured].rename(columns=lambda name: name.removeprefix(STATISTIC))


def _features(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the statistics as numbers [N, F], with strings one-hot encoded and missing values as -1."""
    words = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    return np.asarray(pd.get_dummies(table, columns=words, dtype=float).fillna(-1), np.float64)


def _group(items: pd.DataFrame) -> NDArray[np.int64]:
    """Return a group number for each row [N]; people connected by swaps form one group.

    A row without people is a group of its own.
    """
    of = components(items["groups"])
    names = [
        of[members[0]] if len(members) else item for item, members in zip(items["item"], items["groups"], strict=True)
    ]
    return np.unique(names, return_inverse=True)[1]


def _out_of_fold(
    features: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64], seed: int
) -> NDArray[np.float64] | None:
    """Return P(fake) of each row from a classifier trained without the row's group; None if a fold lacks a class."""
    # Imported here because every process of `unmask prepare` imports this file, and scikit-learn takes a second.
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    score = np.zeros(len(label))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, label, group):
        if len(np.unique(label[train])) < 2:  # one group contains a whole class, as when swaps connect all people
            return None
        trees = ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
        score[test] = trees.fit(features[train], label[train]).predict_proba(features[test])[:, 1]
    return score


def _interval(
    score: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64], seed: int
) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    names, member = np.unique(group, return_inverse=True)
    weights: list[NDArray[np.int64]] = []
    while len(weights) < RESAMPLES:
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weight = times[member]
        if weight[label == 0].sum() and weight[label == 1].sum():
            weights.append(weight)
    area = float(roc_auc_score(label, score))
    ends = np.quantile(weighted_auroc(score, label, np.stack(weights)), [0.025, 0.975])
    low, high = np.clip(area + WIDER * (ends - area), 0, 1)
    return {"auroc": area, "low": float(low), "high": float(high)}


def weighted_auroc(
    score: NDArray[np.float64], label: NDArray[np.int64], weight: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the AUROCs [R] of scores [N] for R sets of weights [R, N] in one call; scikit-learn would need R calls."""
    order = np.argsort(score, kind="stable")
    ties = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)  # start of each distinct score
    fake, real = (np.add.reduceat((weight * (label == kind))[:, order], ties, axis=1) for kind in (1, 0))
    below = real.cumsum(1) - real / 2  # reals with a lower score, plus half of those with the same score
    return np.asarray((fake * below).sum(1) / (fake.sum(1) * real.sum(1)))
