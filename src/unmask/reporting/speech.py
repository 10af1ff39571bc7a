"""The metrics of a detector of synthetic speech, arranged for a report page."""

from typing import NamedTuple

import pandas as pd

from unmask.reporting.run import Figure

HEADINGS = {"auroc": "AUC", "eer": "EER", "min_dcf": "Minimum DCF", "act_dcf": "Actual DCF"}


class Row(NamedTuple):
    """The metrics of one attack (or of all), one for each of `HEADINGS`, and the number of scored speakers."""

    method: str
    speakers: int
    figures: list[Figure]


def by_level(summary: pd.DataFrame) -> list[tuple[str, list[Row]]]:
    """Arrange the table of `metrics.speakers.summary` by level, files first; `utterance` is left out if it is the same.

    It is the same if each file has one scored window.
    """
    parts = {str(level): part.drop(columns="level").reset_index(drop=True) for level, part in summary.groupby("level")}
    if len(parts) == 2 and parts["utterance"].equals(parts["file"]):
        del parts["utterance"]
    return [(level, _rows(part)) for level, part in parts.items()]


def _rows(table: pd.DataFrame) -> list[Row]:
    found = []
    for method in table["method"].unique():
        one = table[table["method"] == method].set_index("metric")
        figures = []
        for row in (one.loc[metric] for metric in HEADINGS):
            value, low, high = (float(row[name]) for name in ("value", "low", "high"))
            figures.append(Figure(value, low, high, int(row["real"]), int(row["fake"]), float(row["coverage"])))
        found.append(Row(str(method), int(one["speakers"].iloc[0]), figures))
    return found
