"""Log the metrics of a run to metrics.csv: one row per step; a resumed run continues the same file."""

import csv
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from unmask.files import DamagedError, replacing

EVERY = 2.0  # s: minimum time between two writes of the file


class MetricsCsv(Logger):
    """Write every logged metric to `<folder>/metrics.csv`.

    Lightning's CSVLogger deletes the file when a run is resumed. Here, a resumed run keeps the file, and values that it
    logs again for a step replace the old values, so that the final file equals that of an uninterrupted run. Writes are
    atomic.

    Args:
        folder: the run's folder.

    Raises:
        DamagedError: the file of a resumed run is damaged.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows = _read(self.path) if self.path.is_file() else {}
        self._written = float("-inf")

    @property
    def name(self) -> str:
        """The logger's name in Lightning."""
        return "metrics_csv"

    @property
    def experiment(self) -> None:
        """None, because there is nothing to open: `save` writes the whole file."""

    @property
    def version(self) -> str:
        """An empty string, because there is only one file per run."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Store the metrics of a step; `save` writes them."""
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is already in the run's folder."""

    @rank_zero_only
    def save(self) -> None:
        """Write the file unless it was written in the last `EVERY` seconds; the Trainer calls this after every row."""
        if time.monotonic() - self._written > EVERY:
            self._write()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Write the file, so that a run resumed from this checkpoint has all earlier rows."""
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
        """Write the rows that have not been written yet."""
        self._write()


def _read(path: Path) -> dict[int, dict[str, Any]]:
    """Return the rows of the file, by step."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        values = {int(row.pop("step")): {key: value for key, value in row.items() if value} for row in rows}
        for value in (value for row in values.values() for value in row.values()):
            float(value)  # raises an error if it is not a number; the text is kept, so that it is rewritten unchanged
        return values
    except (csv.Error, ValueError, TypeError, KeyError) as error:
        fix = "delete it, which loses the curves of earlier epochs, or start the run over with rerun=true"
        raise DamagedError(f"{path} is damaged ({error}); {fix}") from None
