"""Draw test results for loggers as uint8 pictures [H, W, 3]: ROC curve, confusion matrix and largest errors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unmask.metrics import detection
from unmask.reporting import examples
from unmask.reporting.run import shares
from unmask.reporting.style import DASHES, FAINT, FAKE, FPR, INK, REAL, SERIES, STYLE, TPR

Picture = NDArray[np.uint8]
# item, track, frame -> face crop [H, W, 3]
Faces = Callable[[str, int, int], Picture]
COLUMNS = 4


class Mistake(NamedTuple):
    """The face with the most misleading score in a misclassified video, and its caption."""

    face: Picture
    caption: str
    label: int


def mistakes(predictions: pd.DataFrame, threshold: float, faces: Faces, most: int) -> list[Mistake]:
    """Return at most `most` errors, largest first; `threshold` is the video threshold, a logit."""
    found = []
    for choice in examples.errors(predictions, threshold)[0][:most]:
        rows = detection.frames(predictions[predictions["item"] == choice.item]).dropna(subset=["score"])
        score = rows["score"].to_numpy()
        at = int(score.argmin() if choice.label else score.argmax())
        track, frame = int(rows["track"].iloc[at]), int(rows["frame"].iloc[at])
        words = f"{choice.why}, score {choice.prob:.2f}\n{choice.item}\nframe {frame}: {rows['prob'].iloc[at]:.2f}"
        found.append(Mistake(faces(choice.item, track, frame), words, choice.label))
    return found


def sheet(shown: Sequence[Mistake]) -> Picture:
    """Draw faces in a grid, each above its caption and framed in the colour of its true class."""
    rows = -(-len(shown) // COLUMNS)

    def draw(figure: Figure) -> None:
        for axes, mistake in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, shown, strict=False):
            axes.imshow(mistake.face)
            colour = FAKE if mistake.label else REAL
            frame = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=4)
            axes.add_patch(frame)
            why, item, at = mistake.caption.split("\n")
            words = "\n".join([why, *item.rsplit("/", 1), at])
            axes.text(0.5, -0.04, words, transform=axes.transAxes, va="top", ha="center", fontsize=7, parse_math=False)
        for axes in figure.axes:
            axes.set_axis_off()

    return _picture(draw, (2.3 * COLUMNS, 2.8 * rows))


def roc(tables: Mapping[str, pd.DataFrame]) -> Picture:
    """Draw one ROC curve per named table; the tables have the columns `score` and `label`."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        for number, (name, table) in enumerate(tables.items()):
            fpr, tpr, _ = detection.roc_curve(table["score"], table["label"])
            area = float(detection.auroc(table["score"], table["label"]))
            words = f"{name}  {'one class only' if np.isnan(area) else f'{area:.3f}'}"
            axes.plot(fpr, tpr, DASHES[number], color=SERIES[number], label=words)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=FPR, ylabel=TPR)
        axes.legend(loc="lower right")

    return _picture(draw, (4.2, 3.6))


def confusion(videos: pd.DataFrame, threshold: float) -> Picture:
    """Draw the confusion matrix of videos: counts, and their shares of each row.

    Args:
        videos: scored videos with `score, label`.
        threshold: a logit; scores above it are classified as fake.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for label in (0, 1):
            called = videos.loc[videos["label"] == label, "score"] > threshold
            for call in (0, 1):
                _cell(axes, call, label, (int((~called).sum()), int(called.sum())))
        names = ("real", "fake")
        title = f"Predicted class, threshold {detection.probability(threshold):.2f}"
        axes.set(xlim=(0, 2), ylim=(2, 0), ylabel="True class", title=title)
        axes.set_xticks([0.5, 1.5], names)
        axes.set_yticks([0.5, 1.5], names)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(False)
        axes.spines[:].set_visible(False)

    return _picture(draw, (3.6, 3.4))


def _cell(axes: Axes, call: int, label: int, numbers: tuple[int, int]) -> None:
    """Draw a cell of the confusion matrix; `numbers` are the counts of its row."""
    colour = REAL if call == label else FAKE
    share = numbers[call] / max(sum(numbers), 1)
    axes.add_patch(Rectangle((call + 0.02, label + 0.02), 0.96, 0.96, color=colour, alpha=0.1 + 0.4 * share, lw=0))
    axes.text(call + 0.5, label + 0.45, str(numbers[call]), ha="center", va="center", fontsize=16, color=INK)
    axes.text(call + 0.5, label + 0.68, shares(numbers)[call], ha="center", va="center", color=INK)


def _picture(draw: Callable[[Figure], None], size: tuple[float, float], dpi: int = 120) -> Picture:
    """Draw on a figure of `size` inches and return its pixels."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        canvas: Any = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba(), np.uint8)[..., :3].copy()
