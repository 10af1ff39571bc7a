"""Draw a picture that shows several faces, with numbered boxes, and below it the face crops with their scores."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting.lanes import crops
from unmask.reporting.run import Strips
from unmask.reporting.style import AXIS, FAKE, INK, REAL, STYLE, save

COLUMNS, MOST = 6, 18  # maximum numbers of crops per row and in total
WIDTH, HEIGHT = 8.0, 7.0  # inches: width of the figure and maximum height of the picture in it


def group(
    predictions: pd.DataFrame,
    strips: Strips,
    picture: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    *,
    score_threshold: float,
) -> bytes:
    """Draw a picture and its faces, framed in the colours of their predicted classes.

    Args:
        predictions: The rows of one item, one per face; face n is track n - 1.
        strips: Callable that returns the crops.
        picture: The whole picture, `[H, W, 3]`.
        boxes: Boxes of the faces in the order of the rows, `[N, 4]`, in pixels of the picture.
        score_threshold: A logit; scores above it are classified as fake.

    Returns:
        A PNG. Every face has a box; only the `MOST` faces with the highest scores have a crop.
    """
    rows = detection.frames(predictions).reset_index(drop=True)
    rows = rows.assign(colour=np.where(rows["score"] > score_threshold, FAKE, REAL))
    shown = rows.nlargest(MOST, "score").sort_values("track")
    lines = -(-len(shown) // COLUMNS)
    columns = -(-len(shown) // lines)
    tall = min(HEIGHT, WIDTH * picture.shape[0] / picture.shape[1])
    side = min(WIDTH / columns, 1.9)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, tall + (side + 0.35) * lines + 0.75), layout="constrained")
        heights = [tall, *[side + 0.3] * lines, 0.25]
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        _whole(figure.add_subplot(grid[0, :]), picture, boxes, rows)
        for place, row in enumerate(shown.to_dict("records")):
            axes = figure.add_subplot(grid[1 + place // columns, place % columns])
            (face,) = crops(strips, row["item"], [int(row["frame"])], int(row["track"]))
            _crop(axes, face, f"face {row['track'] + 1}: {row['prob']:.2f}", row["colour"])
        _scale(figure.add_subplot(grid[-1, :]), rows, float(detection.probability(score_threshold)))
        if len(shown) < len(rows):
            figure.suptitle(f"Crops of the {len(shown)} of {len(rows)} faces with the highest scores", fontsize=10)
        return save(figure, "png", dpi=130)


def _whole(axes: Axes, picture: NDArray[np.uint8], boxes: NDArray[np.floating], rows: pd.DataFrame) -> None:
    """Draw the picture with a numbered box for each face."""
    axes.imshow(picture)
    for (left, top, right, bottom), track, colour in zip(boxes, rows["track"], rows["colour"], strict=True):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2))
        label = {"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.2"}
        axes.annotate(
            str(track + 1), (max(left, 0), max(top, 0)), (1, 1), textcoords="offset points", color="white", fontsize=9,
            fontweight="bold", va="bottom", bbox=label, annotation_clip=False,
        )  # fmt: skip
    axes.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def _crop(axes: Axes, face: NDArray[np.uint8], title: str, colour: str) -> None:
    axes.imshow(face)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, edgecolor=colour, linewidth=2.5)
    axes.set_title(title, color=colour, fontsize=9)


def _scale(axes: Axes, rows: pd.DataFrame, threshold: float) -> None:
    """Draw all scores on a scale from 0 to 1."""
    axes.axvspan(threshold, 1, color=FAKE, alpha=0.15, linewidth=0)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
    axes.scatter(rows["prob"], np.full(len(rows), 0.5), c=rows["colour"].tolist(), s=50, clip_on=False, zorder=3)
    label = f"{AXIS} (classified as fake above the threshold {threshold:.2f})"
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xlabel=label)
