"""Build the data module of a run, for its own data set or for another one with the run's recipe and sampling."""

from dataclasses import replace

from unmask.config import Settings
from unmask.config.build import build
from unmask.data.cache import Cache
from unmask.data.datamodule import PARTS, DataModule
from unmask.runs.run import Run

OF_THE_DATA = ("source", "split")  # config parts of the other data set; all remaining parts are those of the run


def data_of(run: Run, other: Settings | None = None, prepared: str | None = None, **machine: int) -> DataModule:
    """Build the data module of a run.

    Args:
        run: the run, whose recipe, sampling and loader are used.
        other: the config of another data set, whose `source` and `split` are used; None for the run's own data set.
        prepared: folder or URL of prepared crops; None for the one in the config. A URL in the run's own config is not
            read, because the run may come from someone else; only crops that are already in the cache are used.
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
    cache = build(other.get("cache")) if other is not None else Cache.default() if prepared else run.cache
    return DataModule(**parts, prepared=prepared or (other or settings)["prepared"], cache=cache)
