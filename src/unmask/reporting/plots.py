"""Plots as SVG or PNG bytes, drawn with Matplotlib's object interface, without windows or global figures."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unmask.metrics import calibration, detection
from unmask.metrics.risk import aurc, risk_coverage
from unmask.reporting.group import group
from unmask.reporting.run import RunReport
from unmask.reporting.style import AXIS, DASHES, FAINT, FAKE, FPR, INK, REAL, SERIES, STYLE, TPR, save
from unmask.reporting.timeline import scores, single, timeline

__all__ = [
    "by_method",
    "group",
    "histogram",
    "precision_recall",
    "reliability",
    "risk",
    "roc",
    "scores",
    "single",
    "timeline",
    "training",
]

Dash = Literal["-", "--", "-.", ":"]
ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "handlelength": 1.6, "columnspacing": 1.4}
WORDS = {"val": "validation", "auroc": "AUC", "epoch": "(epoch)", "step": "(step)"}


def svg(draw: Callable[[Axes], None], size: tuple[float, float] = (4.2, 3.6)) -> bytes:
    """Call `draw` on the axes of a new figure (`size` in inches), and return the figure as SVG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        return save(figure, "svg")


def _legend(axes: Axes, names: Sequence[str], place: Literal["lower right", "lower left", "best"]) -> None:
    """Add a legend; names are drawn as plain text, without mathtext."""
    if not names:
        return
    lines = [Line2D([], [], color=_colour(i), linestyle=_dash(i)) for i in range(len(names))]
    for text in axes.legend(lines, [name.lstrip("_") for name in names], loc=place, handlelength=2.2).get_texts():
        text.set_parse_math(False)


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _dash(number: int) -> Dash:
    return DASHES[number % len(DASHES)]


def _words(name: str) -> str:
    """Return the name of a logged metric, such as `val/video_auroc`, in words."""
    return " ".join(WORDS.get(word, word) for word in name.replace("/", "_").split("_"))


def _unit(axes: Axes, across: str, up: str) -> None:
    """Label both axes and set their range to 0 to 1."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=across, ylabel=up)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _missing(axes: Axes) -> None:
    """Write on a plot why it has no curve."""
    words = "Not defined: needs scored\nreal and fake items"
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes, color=INK, fontsize=10)


def roc(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw one ROC curve per named table; the tables have the columns `score` and `label`."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        names = []
        for number, (name, table) in enumerate(tables.items()):
            fpr, tpr, _ = detection.roc_curve(table["score"], table["label"])
            area = float(detection.auroc(table["score"], table["label"]))
            axes.plot(fpr, tpr, color=_colour(number), linestyle=_dash(number))
            names.append(name if np.isnan(area) else f"{name}  {area:.3f}")
        _unit(axes, FPR, TPR)
        if names == list(tables):
            _missing(axes)
        _legend(axes, names, "lower right")

    return svg(draw)


def precision_recall(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw one precision-recall curve per named table; the tables have the columns `score` and `label`."""

    def draw(axes: Axes) -> None:
        names = []
        for number, (name, table) in enumerate(tables.items()):
            recall, precision, _ = detection.pr_curve(table["score"], table["label"])
            value = float(detection.average_precision(table["score"], table["label"]))
            if not np.isnan(value):
                axes.step(recall, precision, where="pre", color=_colour(number), linestyle=_dash(number))
            names.append(name if np.isnan(value) else f"{name}  {value:.3f}")
        _unit(axes, "Recall", "Precision")
        if names == list(tables):
            _missing(axes)
        _legend(axes, names, "lower left")

    return svg(draw)


def risk(tables: Mapping[str, pd.DataFrame], thresholds: Mapping[str, float]) -> bytes:
    """Draw one risk-coverage curve per level: the error rate against the fraction of items decided.

    Args:
        tables: scored rows by level, with the columns `score` and `label`.
        thresholds: `frame` and `video` thresholds, as scores.
    """

    def draw(axes: Axes) -> None:
        names = []
        for number, (name, table) in enumerate(tables.items()):
            cut = thresholds["frame" if name == "frame" else "video"]
            decided, wrong = risk_coverage(table["score"], table["label"], threshold=cut)
            axes.plot(decided, wrong, color=_colour(number), linestyle=_dash(number))
            area = float(aurc(table["score"], table["label"], threshold=cut))
            names.append(name if np.isnan(area) else f"{name}  {area:.3f}")
        axes.set(xlim=(-0.02, 1.02), xlabel="Coverage (fraction of items decided)", ylabel="Error rate")
        axes.set_ylim(-0.01, max(0.1, axes.get_ylim()[1]))
        _legend(axes, names, "best")

    return svg(draw)


def histogram(table: pd.DataFrame, threshold: float, unit: str = "videos") -> bytes:
    """Draw histograms of the probabilities of real and fake items, and the threshold (a probability)."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 21).tolist()
        for label, colour, name in ((0, REAL, "real"), (1, FAKE, "fake")):
            scores = table.loc[table["label"] == label, "prob"]
            axes.hist(scores, edges, histtype="stepfilled", color=colour, alpha=0.28)
            axes.hist(scores, edges, histtype="step", color=colour, linewidth=1.6, label=name)
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.2f}")
        axes.set(xlim=(0, 1), xlabel=AXIS, ylabel=f"Number of {unit}")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(**ABOVE, ncols=3)

    return svg(draw)


def reliability(tables: Mapping[str, pd.DataFrame]) -> bytes:
    """Draw the observed fraction of fakes against the predicted probability; marker areas show the bin sizes."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        for number, table in enumerate(tables.values()):
            bins = calibration.reliability(table["prob"], table["label"]).dropna()
            area = 6 + 500 * bins["weight"] / max(bins["weight"].sum(), 1)
            colour, marker = _colour(number), "os"[number % 2]
            axes.scatter(bins["prob"], bins["fake"], s=area, color=colour, marker=marker, alpha=0.7, linewidths=0)
        _unit(axes, AXIS, "Observed fraction of fakes")
        lines = [Line2D([], [], color=_colour(i), marker="os"[i % 2], linewidth=0) for i in range(len(tables))]
        axes.legend(lines, list(tables), loc="upper left", handlelength=1)

    return svg(draw)


def by_method(run: RunReport) -> bytes:
    """Draw the AUC, with its interval if there is one, for each manipulation at each level."""
    methods = run.methods()
    counted = {method: run.figure(run.whole, method, "auroc") for method in methods}
    known = any(figure.known for figure in counted.values() if figure)
    shifts = (-0.13, 0.13) if len(run.scored) == 2 else (0.0,)

    def draw(axes: Axes) -> None:
        axes.axvline(0.5, color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        for number, (level, shift) in enumerate(zip(run.scored, shifts, strict=True)):
            for row, method in enumerate(methods):
                figure = run.figure(level, method, "auroc")
                if figure is None or not figure.known:
                    continue
                axes.plot([figure.low, figure.high], [row + shift] * 2, color=_colour(number), linewidth=2)
                axes.plot(figure.value, row + shift, "os"[number], color=_colour(number), markersize=5.5)
        numbers = {name: one.fake if one else 0 for name, one in counted.items()}
        words = [f"{name}\n{number} fake{'' if number == 1 else 's'}" for name, number in numbers.items()]
        names = axes.set_yticks(range(len(methods)), words)
        if not known:
            _missing(axes)
        for tick in names:
            tick.label1.set_parse_math(False)
        axes.set(xlabel="AUC (chance level: 0.5)", ylim=(len(methods) - 0.5, -0.5))
        axes.set_xlim(min(0.4, axes.get_xlim()[0]), 1.02)
        axes.grid(False, axis="y")
        levels = list(run.scored)
        lines = [
            Line2D([], [], color=_colour(i), marker="os"[i], linewidth=2, markersize=5.5) for i in range(len(levels))
        ]
        axes.legend(lines, levels, **ABOVE, ncols=2)

    return svg(draw)


def training(curves: pd.DataFrame) -> dict[str, bytes]:
    """Draw the losses and the validation AUC over the training steps, if they are in the log.

    Args:
        curves: The run's `metrics.csv`, with one column per metric; NaN where a metric was not logged.

    Returns:
        SVGs by label of the vertical axis, `Loss` and `AUC`.
    """
    curves = _during_training(curves)
    names = [str(name) for name in curves.columns if curves[name].notna().any() and not str(name).startswith("test")]
    losses = [name for name in names if name.split("/")[-1].startswith("loss") or name.endswith("_loss")]
    areas = [name for name in names if name.endswith("auroc")]
    groups = {"Loss": losses, "AUC": areas} if "step" in curves else {}
    return {label: svg(partial(_over_steps, curves, names, label)) for label, names in groups.items() if names}


def _over_steps(curves: pd.DataFrame, names: Sequence[str], label: str, axes: Axes) -> None:
    """Draw logged metrics over the training steps."""
    for number, name in enumerate(names):
        points = curves[["step", name]].dropna()
        marker = "o" if len(points) < 40 else ""
        axes.plot(points["step"], points[name], _dash(number), color=_colour(number), marker=marker, ms=3.5)
    axes.set(xlabel="Training step", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes, [_words(name) for name in names], "best")


def _during_training(curves: pd.DataFrame) -> pd.DataFrame:
    """Remove metrics that were logged after training: on the test split, and of the selected weights.

    The validation metrics of the selected weights are logged after the last training step, although these weights
    belong to an earlier step. A curve with these metrics would show a change that did not happen.
    """
    names = [str(name) for name in curves.columns]
    trained = curves[[name for name in names if name.startswith(("train", "lr-"))]].notna().any(axis=1)
    validated = curves[[name for name in names if name.startswith("val")]].notna().any(axis=1)
    if "step" not in names or not trained.any() or not validated.any():
        return curves
    last = curves.loc[validated, "step"].max()
    return curves[curves["step"] < last] if last > curves.loc[trained, "step"].max() else curves
