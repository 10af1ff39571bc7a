"""Draw the scores of one video over time with its face crops, or the score of one picture."""

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting.lanes import FACES, crops, scored_rows, selected
from unmask.reporting.run import Strips
from unmask.reporting.style import AXIS, FAKE, INK, REAL, SERIES, STYLE, save


def timeline(predictions: pd.DataFrame, strips: Strips | None = None, *, score_threshold: float) -> bytes:
    """Draw the frame scores of one item over time, the threshold, and the crops of each face below.

    Args:
        predictions: The rows of one item. Only the `LANES` faces with the highest scores are drawn.
        strips: Callable that returns face crops; if None, only the scores are drawn.
        score_threshold: Frame threshold, a logit; scores above it are classified as fake.

    Returns:
        A PNG.

    Raises:
        ValueError: If the rows belong to several items, or `strips` returns a wrong number of faces.
    """
    rows, threshold = scored_rows(predictions, score_threshold), float(detection.probability(score_threshold))
    lanes, number = selected(rows), rows["track"].nunique()
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


def scores(predictions: pd.DataFrame, *, score_threshold: float) -> bytes:
    """Draw the frame scores of one item over time with the threshold, as an SVG that fits on a phone."""
    rows, threshold = scored_rows(predictions, score_threshold), float(detection.probability(score_threshold))
    rows = rows[rows["track"].isin(list(selected(rows)))]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.5 if rows["track"].nunique() < 2 else 3.2), layout="constrained")
        _scores(figure.add_subplot(), rows, threshold)
        return save(figure, "svg")


def single(predictions: pd.DataFrame, strips: Strips, *, score_threshold: float) -> bytes:
    """Draw a picture framed in the colour of its predicted class, above a scale with its score.

    Args:
        predictions: The single row of the item.
        strips: Callable that returns the picture.
        score_threshold: A logit; scores above it are classified as fake.

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
        above.set_title(f"{AXIS} {prob:.2f}", color=colour)
        below.axvspan(threshold, 1, color=FAKE, alpha=0.15, linewidth=0)
        below.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        below.plot(prob, 0.5, "o", color=colour, markersize=9, clip_on=False)
        below.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xlabel=f"Classified as fake above the threshold {threshold:.2f}")
        return save(figure, "png", dpi=130)


def _line(lane: int) -> str:
    return SERIES[lane % len(SERIES)]


def _scores(axes: Axes, rows: pd.DataFrame, threshold: float) -> None:
    """Draw a line for each track, and shade the range of scores that are classified as fake."""
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
        ylim=(-0.03, 1.03),
        xlabel="Time (s)" if rows["seconds"].all() else "Frame",
        ylabel="Predicted\nprobability of fake",
    )
    if rows.empty:
        axes.text(0.5, 0.5, "No frame was scored", ha="center", va="center", transform=axes.transAxes)
    elif rows["when"].max() > rows["when"].min():
        axes.margins(x=0.02)
    else:
        axes.set_xticks([float(rows["when"].iloc[0])])
    axes.text(
        1.008, threshold, f"threshold\n{threshold:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9
    )
    if len(tracks) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(tracks), 3))


def _faces(axes: Axes, faces: Iterable[NDArray[np.uint8]], rows: pd.DataFrame) -> None:
    """Draw each face as a unit square, framed in the colour of its predicted class, with its time and score."""
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
