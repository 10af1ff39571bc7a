"""Group runs that differ only in their seed, and summarize their metrics."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from unmask.reporting.run import RunReport


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample) of a metric over several seeds."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        """Return the mean and the deviation as text, such as `0.912 ± 0.013`."""
        return f"{self.mean:.3f} ± {self.deviation:.3f}"


class Seeds(NamedTuple):
    """Runs of the same config and data with different seeds."""

    runs: Sequence[RunReport]

    @property
    def name(self) -> str:
        """Name of the group in tables: the preset and the number of seeds."""
        return f"{self.runs[0].preset}, {len(self.runs)} seeds"

    def spread(self, level: str, method: str, metric: str) -> Spread | None:
        """Summarize a metric over the seeds; None if a run lacks it."""
        figures = [run.figure(level, method, metric) for run in self.runs]
        values = [figure.value for figure in figures if figure is not None and figure.known]
        if len(values) < len(self.runs):
            return None
        return Spread(statistics.fmean(values), statistics.stdev(values))


def by_seed(runs: Sequence[RunReport]) -> list[Seeds]:
    """Return groups of at least two runs that have the same config, prepared data and test set, but different seeds."""
    found: dict[tuple[str, ...], dict[str, RunReport]] = defaultdict(dict)
    for run in runs:
        if run.seedless_id:
            key = (run.seedless_id, *(run.protocol.get(word, "") for word in ("Data", "Split", "Manifest")))
            found[key].setdefault(run.protocol.get("Seed", ""), run)
    return [Seeds(list(seeds.values())) for seeds in found.values() if len(seeds) > 1]
