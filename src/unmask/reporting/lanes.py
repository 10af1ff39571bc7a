"""Select the parts of one item that are drawn over time: scored rows, and a lane (row of crops) for each face."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting.run import Strips

FACES, LANES = 10, 6  # maximum numbers of crops per face and of faces per item


class Face(NamedTuple):
    """A face crop [H, W, 3], its time as text, its probability of fake, and whether it is classified as fake."""

    picture: NDArray[np.uint8]
    when: str
    prob: float
    called: bool


class Lane(NamedTuple):
    """One face over time: its number (from 1), its mean probability, and some of its crops."""

    number: int
    mean: float
    faces: list[Face]


def scored_rows(predictions: pd.DataFrame, score_threshold: float) -> pd.DataFrame:
    """Select the scored rows of one item, and add the columns `when`, `seconds` and `called`.

    `seconds` is true if `when` is in seconds, and false if it is a frame number; `called` is true if the row is
    classified as fake.

    Raises:
        ValueError: If the rows belong to several items.
    """
    if predictions["item"].nunique() != 1:
        raise ValueError(f"expected the rows of one item, got {predictions['item'].nunique()} items")
    rows = detection.frames(predictions).dropna(subset=["score"]).sort_values(["track", "time", "frame"])
    seconds = bool(rows["time"].notna().all())  # pictures have no time
    when = rows["time"] if seconds else rows["frame"]
    return rows.assign(when=when, seconds=seconds, called=rows["score"] > score_threshold)


def selected(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Select up to `FACES` evenly spaced rows of each of the `LANES` highest-scoring tracks, by track number."""
    tracks = sorted(detection.tracks(rows).nlargest(LANES, "score")["track"])
    members = {int(track): rows[rows["track"] == track] for track in tracks}
    evenly = {
        track: np.unique(np.linspace(0, len(some) - 1, min(FACES, len(some))).round().astype(int))
        for track, some in members.items()
    }
    return {track: some.iloc[evenly[track]] for track, some in members.items()}


def lanes(predictions: pd.DataFrame, strips: Strips, *, score_threshold: float) -> list[Lane]:
    """Return the face crops of one item for a page: one lane per selected track, sorted by track number."""
    rows, item = scored_rows(predictions, score_threshold), str(predictions["item"].iloc[0])
    found = []
    for track, shown in selected(rows).items():
        pictures = crops(strips, item, shown["frame"].tolist(), track)
        words = [
            f"{when:.1f} s" if seconds else "" for when, seconds in zip(shown["when"], shown["seconds"], strict=True)
        ]
        faces = [Face(*values) for values in zip(pictures, words, shown["prob"], shown["called"], strict=True)]
        found.append(Lane(track + 1, float(rows.loc[rows["track"] == track, "prob"].mean()), faces))
    return found


def crops(strips: Strips, item: str, frames: list[int], track: int = 0) -> list[NDArray[np.uint8]]:
    """Return the crops of a face in the given frames.

    Raises:
        ValueError: If the numbers of crops and frames differ, because crops could then be shown with wrong scores.
    """
    faces = strips(item, frames, track) if frames else []
    if len(faces) != len(frames):
        raise ValueError(
            f"{item}: {len(frames)} faces were requested, but {len(faces)} found; the crops do not fit the predictions"
        )
    return faces
