"""A matrix of detectors and data sets: the AUC of each run on each data set on which it was scored."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from unmask.metrics import bootstrap, detection, ranking
from unmask.reporting.run import Figure
from unmask.runs.predictions import labels, predictions_path, read_predictions
from unmask.runs.run import Run

MEAN, POOLED = "mean", "pooled"  # headers of the columns that combine all data sets


class Matrix(NamedTuple):
    """The AUC over items of several detectors on several data sets.

    Attributes:
        names: names of the detectors.
        sets: names of the data sets.
        figures: AUCs, one row per detector, one column per data set; None if not scored.
        mean: mean AUC of each detector over all data sets; NaN if it was not scored on all of them.
        pooled: AUC of each detector over the items of all data sets together; NaN if it was not scored on all.
    """

    names: Sequence[str]
    sets: Sequence[str]
    figures: Sequence[Sequence[Figure | None]]
    mean: Sequence[float]
    pooled: Sequence[float]


def matrix(runs: Sequence[Run], resamples: int = 1000) -> Matrix:
    """Compute the AUC of each run on its own test split and on all other data sets on which it was scored."""
    tables = [_tables(run) for run in runs]
    sets = list(dict.fromkeys(name for found in tables for name in found))
    figures = [[_figure(found[name], resamples) if name in found else None for name in sets] for found in tables]
    areas = [[figure.value if figure else float("nan") for figure in row] for row in figures]
    pooled = [_pooled(found) if found and len(found) == len(sets) else float("nan") for found in tables]
    mean = [float(np.mean(row)) if row else float("nan") for row in areas]
    return Matrix([run.name for run in runs], sets, figures, mean, pooled)


def _tables(run: Run) -> dict[str, pd.DataFrame]:
    """Return a run's test predictions, keyed by data set name; the run's own data set comes first."""
    found = {}
    for label in (None, *labels(run.folder, "test")):
        table = read_predictions(predictions_path(run.folder, "test", label))
        if len(table):
            found[label or str(table["dataset"].iloc[0])] = table
    return found


def _figure(table: pd.DataFrame, resamples: int) -> Figure:
    scored = detection.videos(table).dropna(subset=["score"])
    score, label = scored["score"].to_numpy(), scored["label"].to_numpy()
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    low = high = float("nan")
    if min(real, fake) >= bootstrap.FEWEST:
        low, high = bootstrap.of_auroc(score, label, resamples, 0)
    return Figure(float(ranking.auroc(score, label)), low, high, real, fake, detection.coverage(table))


def _pooled(tables: Mapping[str, pd.DataFrame]) -> float:
    scored = [detection.videos(table).dropna(subset=["score"]) for table in tables.values()]
    every = pd.concat(scored, ignore_index=True)
    return float(ranking.auroc(every["score"], every["label"]))


def console(found: Matrix) -> Table:
    """Return the matrix for a terminal; each cell shows the AUC above its interval."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    shown.add_column("AUC of", overflow="fold")
    for name in (*found.sets, MEAN, POOLED):
        shown.add_column(f"on {name}" if name in found.sets else name, justify="right", overflow="fold", min_width=9)
    for name, row, mean, pooled in zip(found.names, found.figures, found.mean, found.pooled, strict=True):
        shown.add_row(Text(name), *map(_cell, row), _number(mean), _number(pooled))
    return shown


def _cell(figure: Figure | None) -> Text:
    if figure is None:
        return Text("not run")
    if not figure.known:
        return Text(f"n/a\n{figure.reason}")
    bounds = f"{figure.low:.2f}-{figure.high:.2f}" if figure.bounded else figure.unbounded
    return Text(f"{figure.value:.3f}\n{bounds}")


def _number(value: float) -> Text:
    return Text("" if np.isnan(value) else f"{value:.3f}")
