"""The data of a run: its own data set, or another one with the run's recipe, sampling and sizes."""

from dataclasses import replace

from unmask.config import Settings
from unmask.config.build import build
from unmask.data.datamodule import PARTS, DataModule
from unmask.runs.run import Run

OF_THE_DATA = ("source", "split")  # parts taken from another data set; all others are the run's


def data_of(run: Run, other: Settings | None = None, prepared: str | None = None, **machine: int) -> DataModule:
    """Build the data module of a run.

    Args:
        run: the run, with its recipe, sampling and sizes.
        other: the config of another data set, whose `source` and `split` are used; None for the run's own.
        prepared: folder of prepared crops; None for the one in the config.
        machine: `batch_size` and `num_workers`, to override those of the run.

    Raises:
        ValueError: the run's config names a class that may not be built, or its parts are incompatible.
    """
    settings = run.config["data"]
    theirs = () if other is None else OF_THE_DATA
    kept = [name for name in PARTS if settings.get(name) is not None and name not in theirs]
    parts = {name: run.build(f"data.{name}") for name in kept}
    if other is not None:
        parts |= {name: build(other[name]) for name in OF_THE_DATA}
        parts["sampling"] = replace(parts["sampling"], balance="none")  # only for training batches, unused here
    if machine:
        parts["loader"] = replace(parts["loader"], **machine)
    folder = prepared or (other or settings)["prepared"]
    return DataModule(**parts, prepared=folder)
