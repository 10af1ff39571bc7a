"""Build the data module of a run, for its own data set or for another one with the run's recipe and sampling."""

from dataclasses import replace

from unmask.config import Settings
from unmask.config.build import build
from unmask.data.datamodule import PARTS, DataModule
from unmask.runs.run import Run

OF_THE_DATA = ("source", "split")  # config parts of the other data set; all remaining parts are those of the run


def data_of(run: Run, other: Settings | None = None, prepared: str | None = None, **machine: int) -> DataModule:
    """Build the data module of a run.

    Args:
        run: the run, whose recipe, sampling and loader are used.
        other: the config of another data set, whose `source` and `split` are used; None for the run's own data set.
        prepared: folder of prepared crops; None for the folder in the config.
        machine: `batch_size` and `num_workers`, to replace the values in the run's config.

    Raises:
        ValueError: the run's config names a class that must not be built, its parts are incompatible, or the run has
            imported scores instead of weights.
    """
    run.require_weights()
    settings = run.config["data"]
    theirs = () if other is None else OF_THE_DATA
    kept = [name for name in PARTS if settings.get(name) is not None and name not in theirs]
    parts = {name: run.build(f"data.{name}") for name in kept}
    if other is not None:
        parts |= {name: build(other[name]) for name in OF_THE_DATA}
        parts["sampling"] = replace(parts["sampling"], balance="none")  # balancing affects only training batches
    if machine:
        parts["loader"] = replace(parts["loader"], **machine)
    folder = prepared or (other or settings)["prepared"]
    return DataModule(**parts, prepared=folder)
