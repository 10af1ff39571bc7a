"""The scores of one video over its seconds, with the faces that were scored; and of one picture."""

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting.run import Strips
from unmask.reporting.style import FAKE, INK, REAL, SERIES, STYLE, save

FACES, LANES = 10, 6  # of a face so many crops are shown, of so many faces


def timeline(predictions: pd.DataFrame, strips: Strips | None = None, *, score_threshold: float) -> bytes:
    """Draw the frame scores of one item over time, the threshold, and the crops of each face beneath.

    Args:
        predictions: The rows of one item; of more than `LANES` faces those with the highest mean are drawn.
        strips: Gives the face crops; without it only the scores are drawn.
        score_threshold: Frame threshold, a logit; scores above it are called fake.

    Returns:
        A PNG.

    Raises:
        ValueError: If the rows belong to several items, or `strips` gives more or fewer faces than it was asked for.
    """
    if predictions["item"].nunique() != 1:
        raise ValueError("a timeline shows one item; select its rows first")
    rows = detection.frames(predictions).dropna(subset=["score"]).sort_values(["track", "time", "frame"])
    seconds = bool(rows["time"].notna().all())  # pictures have no time
    called, threshold = rows["score"] > score_threshold, float(detection.probability(score_threshold))
    rows = rows.assign(when=rows["time"] if seconds else rows["frame"], seconds=seconds, called=called)
    lanes, number = _lanes(rows), rows["track"].nunique()
    item = str(predictions["item"].iloc[0])
    faces: dict[int, list[NDArray[np.uint8]]] = {}
    if strips is not None:
        faces = {track: crops(strips, item, shown["frame"].tolist(), track) for track, shown in lanes.items()}
    heights = [1.7] + [1.15 if number == 1 else 1.35] * len(faces)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.45 + sum(heights) if faces else 2.0), layout="constrained")
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        _scores(figure.add_subplot(grid[0]), rows[rows["track"].isin(list(lanes))], threshold)
        for lane, (track, pictures) in enumerate(faces.items()):
            axes = figure.add_subplot(grid[lane + 1])
            _faces(axes, pictures, lanes[track])
            if number > 1:
                mean = rows.loc[rows["track"] == track, "prob"].mean()
                axes.set_title(f"face {track + 1}: mean {mean:.2f}", loc="left", color=_line(lane), fontsize=9)
        if number > len(lanes):
            figure.suptitle(f"The {len(lanes)} of {number} faces with the highest scores", fontsize=10)
        return save(figure, "png", dpi=130)


def single(predictions: pd.DataFrame, strips: Strips, *, score_threshold: float) -> bytes:
    """Draw one picture as it was scored, in the colour of its call, above the place of its score between 0 and 1.

    Args:
        predictions: The one row of the item.
        strips: Gives the picture.
        score_threshold: A logit; scores above it are called fake.

    Returns:
        A PNG.
    """
    rows = detection.frames(predictions)
    prob, item = float(rows["prob"].iloc[0]), str(rows["item"].iloc[0])
    colour = FAKE if rows["score"].iloc[0] > score_threshold else REAL
    threshold = float(detection.probability(score_threshold))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 5.0), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=[12, 1])
        above.imshow(crops(strips, item, [int(rows["frame"].iloc[0])])[0])
        above.set(xticks=[], yticks=[])
        above.spines[:].set(visible=True, edgecolor=colour, linewidth=3)
        above.set_title(f"probability of being fake {prob:.2f}", color=colour)
        below.axvspan(threshold, 1, color=FAKE, alpha=0.15, linewidth=0)
        below.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        below.plot(prob, 0.5, "o", color=colour, markersize=9, clip_on=False)
        below.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xlabel=f"above the threshold {threshold:.2f}: called fake")
        return save(figure, "png", dpi=130)


def crops(strips: Strips, item: str, frames: list[int], track: int = 0) -> list[NDArray[np.uint8]]:
    """Fetch a face in these frames, and refuse a number that does not fit: a face must stand at its own score."""
    faces = strips(item, frames, track) if frames else []
    if len(faces) != len(frames):
        raise ValueError(
            f"{item}: {len(frames)} faces were asked for and {len(faces)} came; crops and predictions do not match"
        )
    return faces


def _lanes(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Pick the `LANES` most suspicious tracks, in order, and of each up to `FACES` rows, evenly spread."""
    tracks = sorted(detection.tracks(rows).nlargest(LANES, "score")["track"])
    members = {int(track): rows[rows["track"] == track] for track in tracks}
    evenly = {
        track: np.unique(np.linspace(0, len(some) - 1, min(FACES, len(some))).round().astype(int))
        for track, some in members.items()
    }
    return {track: some.iloc[evenly[track]] for track, some in members.items()}


def _line(lane: int) -> str:
    return SERIES[lane % len(SERIES)]


def _scores(axes: Axes, rows: pd.DataFrame, threshold: float) -> None:
    """Draw a line per track, with the side that is called fake shaded."""
    axes.axhspan(threshold, 1.03, color=FAKE, alpha=0.07, linewidth=0)
    axes.axhline(threshold, color=INK, linewidth=1, linestyle="--")
    tracks = list(rows.groupby("track"))
    for lane, (number, track) in enumerate(tracks):
        line = INK if len(tracks) == 1 else _line(lane)
        name = f"face {int(str(number)) + 1}"
        axes.plot(track["when"], track["prob"], color=line, linewidth=1.2, alpha=0.6, label=name)
        colours = np.where(track["called"], FAKE, REAL)
        axes.scatter(track["when"], track["prob"], c=colours.tolist(), s=26, zorder=3, linewidths=0)
    axes.set(
        ylim=(-0.03, 1.03), xlabel="seconds" if rows["seconds"].all() else "frame", ylabel="probability\nof being fake"
    )
    if rows.empty:
        axes.text(0.5, 0.5, "could not be scored", ha="center", va="center", transform=axes.transAxes)
    elif rows["when"].max() > rows["when"].min():
        axes.margins(x=0.02)
    else:
        axes.set_xticks([float(rows["when"].iloc[0])])
    axes.text(
        1.008, threshold, f"threshold\n{threshold:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=8
    )
    if len(tracks) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(tracks))


def _faces(axes: Axes, faces: Iterable[NDArray[np.uint8]], rows: pd.DataFrame) -> None:
    """Show each face in the colour of its call, with its second and its score; a face is one unit wide and high."""
    step = 1.08
    shown = zip(faces, rows["when"], rows["prob"], rows["called"], strict=True)
    for number, (face, when, prob, called) in enumerate(shown):
        left, colour = number * step, FAKE if called else REAL
        axes.imshow(face, extent=(left, left + 1, 0, 1), interpolation="antialiased")
        axes.add_patch(Rectangle((left, 0), 1, 1, fill=False, edgecolor=colour, linewidth=2))
        words = f"{when:.1f} s   {prob:.2f}" if rows["seconds"].all() else f"{prob:.2f}"
        axes.text(left + 0.5, -0.06, words, color=colour, fontsize=8, ha="center", va="top")
    axes.set(xlim=(-0.02, FACES * step - step + 1.02), ylim=(-0.2, 1.02))
    axes.set_axis_off()
