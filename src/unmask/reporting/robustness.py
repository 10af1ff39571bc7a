"""Show the robustness of a detector to perturbations: terminal table, plot and remark."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from rich import box
from rich.table import Table
from rich.text import Text

from unmask.metrics.rates import Rate
from unmask.metrics.robustness import CLEAN, Robustness, worst
from unmask.reporting.plots import svg
from unmask.reporting.run import percent
from unmask.reporting.style import FAINT, INK, SERIES

FEW = 12  # maximum number of steps in a plot with intervals; more steps are drawn as curves


def table(name: str, found: Sequence[Robustness]) -> Table:
    """Return a table of a suite's metrics, one row per step, at most 80 columns wide; `name` is the detector's name."""
    title = Text(f"\n{name}: robustness to perturbations", "bold")
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown.add_column("perturbation", overflow="fold", max_width=26)
    for name in ("AUC", "95 % interval", "TPR", "FPR", "scored"):
        shown.add_column(name, justify="right")
    for one in found:
        bounds = "too few" if np.isnan(one.low) else f"{one.low:.3f}-{one.high:.3f}"
        rates = [rate_text(rate) for rate in (one.tpr, one.fpr)]
        style = "yellow" if one.falls else None
        shown.add_row(_what(one), area_text(one), bounds, *rates, percent(one.coverage), style=style)
    return shown


def _what(one: Robustness) -> str:
    return one.words if one.level else "none"


def area_text(one: Robustness) -> str:
    """Format the AUC of a step; `n/a` if it is undefined."""
    return "n/a" if np.isnan(one.auroc) else f"{one.auroc:.3f}"


def rate_text(rate: Rate | None) -> str:
    """Format a rate; `n/a` for a class without items."""
    return "n/a" if rate is None else f"{rate.value:.3f}"


def remark(name: str, found: Sequence[Robustness], unit: str) -> str | None:
    """Describe the largest significant decrease in AUC (see `Robustness.falls`); None if no decrease is significant."""
    lowest = worst(found)
    if lowest is None:
        return None
    clean = next(one for one in found if one.name == CLEAN)
    return (
        f"The AUC drops from {clean.auroc:.3f} to {lowest.auroc:.3f} after the perturbation '{lowest.words}' "
        f"(suite {name}): this detector is not robust to such changes of the {unit}s."
    )


def plot(found: Sequence[Robustness]) -> bytes:
    """Draw the AUC of each step with its interval, or curves over levels if there are many steps; return an SVG."""
    clean = next(one for one in found if one.name == CLEAN)
    steps = [one for one in found if one.level]
    if len(steps) <= FEW:
        return svg(lambda axes: _dots(axes, steps, clean), (5.4, 0.9 + 0.34 * len(steps)))
    return svg(lambda axes: _curves(axes, steps, clean), (6.4, 4.4))


def _dots(axes: Axes, steps: Sequence[Robustness], clean: Robustness) -> None:
    for row, one in enumerate(steps):
        axes.plot([one.low, one.high], [row, row], color=SERIES[0], linewidth=2)
        axes.plot(one.auroc, row, "o", color=SERIES[0], markersize=5.5)
    for tick in axes.set_yticks(range(len(steps)), [one.words for one in steps]):
        tick.label1.set_parse_math(False)
    _reference(axes.axvline, clean)
    axes.set(xlabel="AUC after perturbation", ylim=(len(steps) - 0.5, -0.5))
    axes.set_xlim(min(0.4, axes.get_xlim()[0]), 1.02)
    axes.grid(False, axis="y")


def _curves(axes: Axes, steps: Sequence[Robustness], clean: Robustness) -> None:
    for number, (name, levels) in enumerate(_by_name(steps).items()):
        place, style = [0, *(one.level for one in levels)], "-" if number < len(SERIES) else "--"
        areas = [clean.auroc, *(one.auroc for one in levels)]
        axes.plot(place, areas, style, marker="o", markersize=4, color=SERIES[number % len(SERIES)], label=name)
    _reference(axes.axhline, clean)
    axes.set(xlabel="Level (0: no perturbation)", ylabel="AUC after perturbation")
    axes.set_xticks(range(1 + max(one.level for one in steps)))
    axes.set_ylim(min(0.4, axes.get_ylim()[0]), 1.02)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.2)


def _reference(line: Callable[..., object], clean: Robustness) -> None:
    line(0.5, color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
    line(clean.auroc, color=INK, linewidth=1, linestyle="--")


def _by_name(steps: Sequence[Robustness]) -> Mapping[str, list[Robustness]]:
    found = dict[str, list[Robustness]]()
    for one in steps:
        found.setdefault(one.name, []).append(one)
    return found
