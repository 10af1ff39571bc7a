"""The data of a run: what it was trained on, or another data set in its recipe, sampling and sizes."""

from dataclasses import replace

from unmask.config import Settings
from unmask.config.build import build
from unmask.data.datamodule import PARTS, DataModule
from unmask.runs.run import Run

OF_THE_DATA = ("source", "split")  # what another data set brings along; everything else is the run's


def data_of(run: Run, other: Settings | None = None, prepared: str | None = None, **machine: int) -> DataModule:
    """The data module of a run.

    Args:
        run: brings its recipe, its sampling and its sizes.
        other: the data config of another data set, of which `source` and `split` are taken; None for the run's own.
        prepared: where prepared crops are kept; None for the folder of the config.
        machine: `batch_size` and `num_workers`, where others are wanted than the run's.

    Raises:
        ValueError: the run's config describes what it may not build, or parts that do not go together.
    """
    settings = run.config["data"]
    theirs = () if other is None else OF_THE_DATA
    kept = [name for name in PARTS if settings.get(name) is not None and name not in theirs]
    parts = {name: run.build(f"data.{name}") for name in kept}
    if other is not None:
        parts |= {name: build(other[name]) for name in OF_THE_DATA}
        parts["sampling"] = replace(parts["sampling"], balance="none")  # of training batches, which nobody draws here
    if machine:
        parts["loader"] = replace(parts["loader"], **machine)
    folder = prepared or (other or settings)["prepared"]
    return DataModule(**parts, prepared=folder)
