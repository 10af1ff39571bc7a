"""Aggregate a prediction table to scores: one per frame or clip, and one per video.

Rankings and decisions use the score, which is a logit: large logits stay distinct, while their probabilities round to 0
or 1. Tables also contain the probability, for calibration and for display.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from unmask.metrics import ranking

Array = NDArray[np.float64]
FACTS = ["item", "label", "method", "dataset", "split"]
UNIT, RECORDING = "Unit", "recording"  # entry of the protocol of a table of recordings
SHOWN = 5  # maximum number of rows that an error message shows
TOP = 5  # number of rows that `top_k` keeps
SURE_FAKE, SURE_REAL = math.log(0.8 / 0.2), math.log(0.2 / 0.8)  # logits of the probabilities 0.8 and 0.2


def probability(logit: ArrayLike) -> Array:
    """Convert logits to the probability of being fake, in [0, 1]; NaN stays NaN."""
    logit = np.asarray(logit, dtype=np.float64)
    small = np.exp(-np.abs(logit))  # never overflows
    return np.asarray(np.where(logit < 0, small, 1.0) / (1.0 + small))


def logit(prob: ArrayLike) -> Array:
    """Convert probabilities in [0, 1] to logits; 0 and 1 become the lowest and the highest finite number."""
    prob = np.asarray(prob, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.nan_to_num(np.log(prob) - np.log1p(-prob), nan=np.nan))


def require_finite(predictions: pd.DataFrame) -> None:
    """Raise an error for logits that are NaN or infinite.

    A missing logit is allowed only for an item that was rejected before it reached the network; the `frame` of its row
    is -1. Infinite logits, and NaN in rows with any other `frame`, come from a broken network or input.

    Raises:
        ValueError: If a logit is infinite, or NaN in a row whose `frame` is not -1; the message names the first rows.
    """
    values = _values(predictions)
    bad = np.isinf(values) | (np.isnan(values) & (predictions["frame"].to_numpy() >= 0))
    _refuse(predictions, values, bad)


def frames(predictions: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `score` (the logit) and `prob` to a prediction table; rows without a score keep NaN.

    Raises:
        ValueError: If a logit is infinite.
    """
    values = _values(predictions)
    _refuse(predictions, values, np.isinf(values))
    return predictions.assign(score=values, prob=probability(values))


def median(score: Array) -> Array:
    """Return the middle score of a track's sorted scores `[N]`, or the two middle scores if N is even."""
    return score[(len(score) - 1) // 2 : len(score) // 2 + 1]


def highest(score: Array) -> Array:
    """Return the highest of a track's sorted scores `[N]`."""
    return score[-1:]


def top_k(score: Array) -> Array:
    """Return the `TOP` highest of a track's sorted scores `[N]`, or all scores if N is below `TOP`."""
    return score[-TOP:]


def confident(score: Array) -> Array:
    """Return the confident scores among a track's sorted scores `[N]`; if too few are confident, return all scores.

    This is the rule of the winning entry of the Deepfake Detection Challenge (Seferbekov 2020,
    github.com/selimsef/dfdc_deepfake_challenge). If more than 11 rows, and more than N / 2.5 rounded down, have a
    probability above 0.8, only these rows are returned. Otherwise, if more than 90 % of the rows have a probability
    below 0.2, only those rows are returned. The original rule pools the rows of all faces of a video; here, each
    track is treated separately.
    """
    fake, real = score[score > SURE_FAKE], score[score < SURE_REAL]
    if len(fake) > len(score) // 2.5 and len(fake) > 11:
        return fake
    return real if len(real) > 0.9 * len(score) else score


# Functions that select rows of a track by their sorted scores; the track's probability is the mean over these rows.
AGGREGATIONS: Mapping[str, Callable[[Array], Array] | None] = {
    "mean": None,  # all rows
    "median": median,
    "max": highest,
    "top-k": top_k,
    "confident": confident,
}


def tracks(predictions: pd.DataFrame, aggregation: str = "mean") -> pd.DataFrame:
    """Aggregate the scored rows of a prediction table to one row per track, which is usually one face of an item.

    Args:
        predictions: Rows of frames or clips with `item, track, logit`.
        aggregation: One of `AGGREGATIONS`; it selects rows of each track.

    Returns:
        Columns `item, track, num, score, prob`: `num` is the number of all scored rows, `prob` the mean probability of
        the selected rows, and `score` the logit of `prob`.

    Raises:
        ValueError: If a logit is infinite, or the aggregation does not exist.
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation {aggregation!r}: expected one of {', '.join(AGGREGATIONS)}")
    scored = frames(predictions).dropna(subset=["score"])
    groups = scored.groupby(["item", "track"], sort=True)
    found = groups.size().rename("num").reset_index()
    number, score = np.asarray(groups.ngroup(), np.int64), scored["score"].to_numpy(np.float64)
    if (keep := AGGREGATIONS[aggregation]) is not None and len(score):
        score, number = _kept(score, number, keep)
    scores = _track_scores(score, number)
    return found.assign(score=scores, prob=probability(scores))


def _kept(score: Array, track: NDArray[np.int64], keep: Callable[[Array], Array]) -> tuple[Array, NDArray[np.int64]]:
    """Return the selected scores of all tracks, and the track number of each score."""
    order = np.lexsort((score, track))
    parts = np.split(score[order], np.flatnonzero(np.diff(track[order])) + 1)
    kept = [keep(part) for part in parts]
    return np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(part) for part in kept])


def videos(predictions: pd.DataFrame, aggregation: str = "mean") -> pd.DataFrame:
    """Aggregate a prediction table to one row per item.

    The probability of a track is the mean over the rows that `aggregation` selects. The probability of an item is the
    maximum over its tracks, because a video with one forged face is a fake. The score is the logit of this probability.
    The logit is computed as log(mean p) - log(mean (1 - p)) from the rows' logits, so that no p is rounded to 0 or 1.
    Rows are grouped by the full `item` name, because several methods use the same clip names.

    Args:
        predictions: Rows of frames or clips with `item, track, label, method, dataset, split, logit`.
        aggregation: One of `AGGREGATIONS`; it selects rows of each track.

    Returns:
        Columns `item, label, method, dataset, split, score, prob, num`, sorted by `item`; `num` counts the scored
        rows, and `score` and `prob` are NaN for an item without scored rows.

    Raises:
        ValueError: If an item has several labels, methods, data sets or splits, a logit is infinite, or the aggregation
            does not exist.
    """
    facts = predictions[FACTS].drop_duplicates()
    twice = facts.loc[facts["item"].duplicated(), "item"]
    if len(twice):
        raise ValueError(
            f"{twice.nunique()} item(s) have more than one label, method, dataset or split, such as {twice.iloc[0]!r}; "
            "item names must be unique, such as dataset/method/clip"
        )
    items = tracks(predictions, aggregation).groupby("item").agg(score=("score", "max"), num=("num", "sum"))
    items.insert(1, "prob", probability(items["score"]))
    table = facts.merge(items, how="left", left_on="item", right_index=True).sort_values("item", ignore_index=True)
    return table.assign(num=table["num"].fillna(0).astype(np.int64))


def choose(validation: pd.DataFrame) -> str:
    """Return the name of the aggregation with the highest AUC over the items of validation predictions.

    If several are equally good, the first in `AGGREGATIONS` is returned. Without scored items of both classes, `mean`
    is returned.
    """
    best, best_area = next(iter(AGGREGATIONS)), -1.0
    for name in AGGREGATIONS:
        table = videos(validation, name).dropna(subset=["score"])
        area = float(ranking.auroc(table["score"], table["label"]))
        if area > best_area:  # never true for NaN
            best, best_area = name, area
    return best


def _values(predictions: pd.DataFrame) -> Array:
    return predictions["logit"].to_numpy(dtype=np.float64, na_value=np.nan)


def _refuse(predictions: pd.DataFrame, values: Array, bad: NDArray[np.bool_]) -> None:
    if not bad.any():
        return
    rows = predictions.assign(logit=values)[bad]
    first = "; ".join(
        f"{item}, track {track}, frame {frame}: {value}"
        for item, track, frame, value in rows[["item", "track", "frame", "logit"]].head(SHOWN).itertuples(index=False)
    )
    raise ValueError(
        f"{len(rows)} of {len(predictions)} logits are not finite ({first}). Every logit must be a finite number, "
        "except those of rejected items (frame -1). The network's weights or its input are broken: check the run's "
        "checkpoint, and train it again"
    )


def _track_scores(score: Array, track: NDArray[np.int64]) -> Array:
    """Compute the logit of each track's mean probability from the logits `[N]` and the track numbers `[N]` of rows.

    Mathematically equal results are bitwise equal. The result does not change if the rows are reordered (`math.fsum`
    rounds only once) or if all of them are repeated (counts are divided by their greatest common divisor). If all
    logits of a track are equal, the result is this logit; if the logits are symmetric around 0, the result is 0.
    """
    if not len(score):
        return np.empty(0)
    order = np.lexsort((score, track))
    score, track = score[order], track[order]
    first = np.flatnonzero((np.diff(track, prepend=-1) != 0) | (np.diff(score, prepend=np.nan) != 0))
    count = np.diff(first, append=len(score))  # number of rows with each distinct logit of a track
    score, track = score[first], track[first]
    start = np.flatnonzero(np.diff(track, prepend=-1))
    last = np.append(start[1:], len(score)) - 1
    weight = count // np.gcd.reduceat(count, start)[track]
    low, high = score[start], score[last]
    # The sums of p and of 1 - p are computed relative to their largest terms, whose logarithms are added at the end.
    fake, real = (-np.logaddexp(0, sign * score) for sign in (-1, 1))
    top_fake, top_real = fake[last], real[start]
    terms = weight * np.exp(fake - top_fake[track]), weight * np.exp(real - top_real[track])
    fakes, reals = (_sums(term.tolist(), [*start.tolist(), len(score)]) for term in terms)
    return np.where(low == high, low, top_fake - top_real + np.log(fakes / reals))


def _sums(terms: list[float], bounds: list[int]) -> Array:
    """Sum the terms between consecutive bounds; each sum is rounded only once."""
    return np.array([math.fsum(terms[a:b]) for a, b in itertools.pairwise(bounds)])


def unit(predictions: pd.DataFrame) -> Literal["image", "video", "recording"]:
    """Return what the items are: `recording` if the protocol says so, `image` if each scored item is one, else `video`.

    An image has a single row with frame 0.
    """
    if predictions.attrs.get("protocol", {}).get(UNIT) == RECORDING:
        return "recording"
    scored = predictions[predictions["logit"].notna()]
    first = (scored["frame"] == 0) & ~(scored["time"] > 0)  # an image's time is 0 or unknown
    return "image" if len(scored) and first.all() and scored["item"].is_unique else "video"


def methods(predictions: pd.DataFrame) -> list[str]:
    """Return the sorted names of the manipulation methods with which the fakes of a table were made."""
    return sorted(str(name) for name in predictions.loc[predictions["label"] == 1, "method"].unique())


def of_method(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the rows of one manipulation and of all reals; for the method `all`, return all rows."""
    return table if method == "all" else table[(table["label"] == 0) | (table["method"] == method)]
