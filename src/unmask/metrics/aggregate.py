"""From a prediction table to scores: one per frame or clip, one per video."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
FACTS = ["item", "label", "method", "dataset", "split"]


def probability(logit: ArrayLike) -> Array:
    """Turn logits into the probability of being fake, in [0, 1]; NaN stays NaN."""
    logit = np.asarray(logit, dtype=np.float64)
    small = np.exp(-np.abs(logit))  # never overflows
    return np.asarray(np.where(logit < 0, small, 1.0) / (1.0 + small))


def frames(predictions: pd.DataFrame) -> pd.DataFrame:
    """Add the column `prob` to a prediction table; rows that could not be scored keep NaN."""
    return predictions.assign(prob=probability(predictions["logit"].to_numpy(dtype=np.float64, na_value=np.nan)))


def videos(predictions: pd.DataFrame) -> pd.DataFrame:
    """Aggregate a prediction table to one row per item.

    A track's score is the mean probability over its rows; an item's is the highest of its tracks', because a video
    with one forged face is a fake. Grouping goes by `item` alone: folder and clip names repeat between methods.

    Args:
        predictions: Rows of frames or clips with `item, track, label, method, dataset, split, logit`.

    Returns:
        Columns `item, label, method, dataset, split, prob, num`, sorted by `item`; `num` counts the scored rows, and
        `prob` is NaN for an item of which nothing could be scored.

    Raises:
        ValueError: If an item has two labels, methods, data sets or splits.
    """
    facts = predictions[FACTS].drop_duplicates()
    twice = facts.loc[facts["item"].duplicated(), "item"]
    if len(twice):
        raise ValueError(
            f"{twice.nunique()} item(s) have more than one label, method, dataset or split, first {twice.iloc[0]!r}; "
            "an item must be unique: dataset/method/clip"
        )
    scored = frames(predictions).dropna(subset=["prob"])
    tracks = scored.groupby(["item", "track"], sort=True)["prob"].agg(["mean", "size"])
    items = tracks.groupby("item").agg(prob=("mean", "max"), num=("size", "sum"))
    table = facts.merge(items, how="left", left_on="item", right_index=True).sort_values("item", ignore_index=True)
    return table.assign(num=table["num"].fillna(0).astype(np.int64))


def unit(predictions: pd.DataFrame) -> Literal["picture", "video"]:
    """Tell what an item is: a picture, if no scored one has more than its frame 0; then frame and item are the same."""
    scored = predictions[predictions["logit"].notna()]
    first = (scored["frame"] == 0) & ~(scored["time"] > 0)  # a picture's time is 0 or not known
    return "picture" if len(scored) and first.all() and scored["item"].is_unique else "video"


def methods(predictions: pd.DataFrame) -> list[str]:
    """Name the manipulations of the fakes, sorted."""
    return sorted(str(name) for name in predictions.loc[predictions["label"] == 1, "method"].unique())


def of_method(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Take the rows of one manipulation together with all reals; `all` takes everything."""
    return table if method == "all" else table[(table["label"] == 0) | (table["method"] == method)]
