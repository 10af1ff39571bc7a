"""The curves of a run as metrics.csv: one row a step, and a resumed run goes on with the same file."""

import csv
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from unmask.files import replacing

EVERY = 2.0  # seconds between two writes, at least


class MetricsCsv(Logger):
    """Write every logged figure to `<folder>/metrics.csv`.

    Lightning's CSVLogger deletes the file when a run is resumed. Here what is logged again for a step replaces what
    stood there, so that an interrupted run's file is that of an uninterrupted one. The file is replaced as a whole.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}
        self._written = float("-inf")
        if self.path.is_file():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self._rows[int(row["step"])] = {key: value for key, value in row.items() if value and key != "step"}

    @property
    def name(self) -> str:
        """What Lightning calls this logger."""
        return "metrics_csv"

    @property
    def experiment(self) -> None:
        """Nothing that is opened: the file is written when there are figures."""

    @property
    def version(self) -> str:
        """There is one file a run."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep figures of a step; they are written by `save`."""
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's config lies in its folder."""

    @rank_zero_only
    def save(self) -> None:
        """Write the file, unless it was written just now: the Trainer asks after every row, and the file grows."""
        if time.monotonic() - self._written > EVERY:
            self._write()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Write, so that a run that goes on from this checkpoint finds all that came before."""
        self._write()

    @rank_zero_only
    def _write(self) -> None:
        if not self._rows:
            return
        self._written = time.monotonic()
        names = sorted({name for row in self._rows.values() for name in row} - {"epoch"})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", "epoch", *names])
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self._write()
