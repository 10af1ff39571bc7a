"""A picture that shows several faces: the whole of it with a numbered box for each, and the crops with their scores."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting.run import Strips
from unmask.reporting.style import FAKE, INK, REAL, STYLE, save
from unmask.reporting.timeline import crops

COLUMNS, MOST = 6, 18  # crops in a row, and in all
WIDTH, HEIGHT = 8.0, 7.0  # of the figure, and the most of the picture in it, inches


def group(
    predictions: pd.DataFrame, threshold: float, strips: Strips, picture: NDArray[np.uint8], boxes: NDArray[np.floating]
) -> bytes:
    """Draw a picture with its faces in the colours of their calls.

    Args:
        predictions: A row for each face, of one item; face n is track n - 1.
        threshold: Scores above it are called fake.
        strips: Gives the crops.
        picture: The whole of it, `[H, W, 3]`.
        boxes: Of the faces, in the order of the rows, `[N, 4]`, px of the picture.

    Returns:
        A PNG. Of more than `MOST` faces the crops of the highest scores are shown; each has its box.
    """
    rows = detection.frames(predictions).reset_index(drop=True)
    shown = rows.nlargest(MOST, "prob").sort_values("track")
    lines = -(-len(shown) // COLUMNS)
    columns = -(-len(shown) // lines)
    tall = min(HEIGHT, WIDTH * picture.shape[0] / picture.shape[1])
    side = min(WIDTH / columns, 1.9)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, tall + (side + 0.35) * lines + 0.75), layout="constrained")
        heights = [tall, *[side + 0.3] * lines, 0.25]
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        _whole(figure.add_subplot(grid[0, :]), picture, boxes, rows, threshold)
        item, values = str(rows["item"].iloc[0]), zip(shown["frame"], shown["track"], shown["prob"], strict=True)
        for place, (frame, track, prob) in enumerate(values):
            axes = figure.add_subplot(grid[1 + place // columns, place % columns])
            (face,) = crops(strips, item, [int(frame)], int(track))
            _crop(axes, face, int(track), prob, threshold)
        _scale(figure.add_subplot(grid[-1, :]), rows, threshold)
        if len(shown) < len(rows):
            figure.suptitle(f"{len(rows)} faces; the crops of the {len(shown)} with the highest scores", fontsize=10)
        return save(figure, "png", dpi=130)


def _whole(
    axes: Axes, picture: NDArray[np.uint8], boxes: NDArray[np.floating], rows: pd.DataFrame, threshold: float
) -> None:
    """The picture with a numbered box for each face."""
    axes.imshow(picture)
    for (left, top, right, bottom), track, prob in zip(boxes, rows["track"], rows["prob"], strict=True):
        colour = _colour(prob, threshold)
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2))
        label = {"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.2"}
        axes.annotate(
            str(track + 1), (max(left, 0), max(top, 0)), (1, 1), textcoords="offset points", color="white", fontsize=9,
            fontweight="bold", va="bottom", bbox=label, annotation_clip=False,
        )  # fmt: skip
    axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def _crop(axes: Axes, face: NDArray[np.uint8], track: int, prob: float, threshold: float) -> None:
    colour = _colour(prob, threshold)
    axes.imshow(face)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, edgecolor=colour, linewidth=2.5)
    axes.set_title(f"face {track + 1}: {prob:.2f}", color=colour, fontsize=9)


def _scale(axes: Axes, rows: pd.DataFrame, threshold: float) -> None:
    """The place of each score between 0 and 1."""
    axes.axvspan(threshold, 1, color=FAKE, alpha=0.15, linewidth=0)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
    colours = [_colour(prob, threshold) for prob in rows["prob"]]
    axes.scatter(rows["prob"], np.full(len(rows), 0.5), c=colours, s=50, clip_on=False, zorder=3)
    label = f"probability of being fake; above the threshold {threshold:.2f}: called fake"
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xlabel=label)


def _colour(prob: float, threshold: float) -> str:
    return FAKE if prob > threshold else REAL
