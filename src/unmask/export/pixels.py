"""Pixels or sound on which an exported model is compared with the network it was made of."""

from dataclasses import dataclass

import numpy as np

from unmask.data.prepared import members
from unmask.data.store import CropStore
from unmask.export.inputs import Values
from unmask.export.wrapped import AnyParts
from unmask.media.kinds import MediaError
from unmask.runs.run import Run

COUNT = 64  # number of frames, clips or windows of sound


@dataclass(frozen=True)
class Pixels:
    """Pixels for a comparison or, for a detector of sound, waveforms.

    Attributes:
        values: uint8 [N, 3, S, S] or [N, T, 3, S, S], or float32 [N, S].
        source: what they are, in words.
    """

    values: Values
    source: str


def pixels_of(run: Run, parts: AnyParts, count: int = COUNT) -> Pixels:
    """Return the run's own validation samples, spread evenly; random ones if the data is not on this machine."""
    store = _store_of(run)
    if store is None:
        return random_pixels(parts, count)
    names = run.predictions("val")["item"]
    items = store.items[store.items["item"].isin(names)]
    samples = run.build("data.sampling").samples(store, items, run.build("data.recipe"))
    if not len(samples):
        return random_pixels(parts, count)
    rows = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    values = np.asarray(samples.pixels(rows.tolist()))
    return Pixels(values, f"{len(values)} {parts.input.unit} of the run's validation split")


def _store_of(run: Run) -> CropStore | None:
    """Return the first store on this machine that holds crops of the run's validation split; None without one."""
    try:
        source, split, recipe = (run.build(f"data.{name}") for name in ("source", "split", "recipe"))
        names = set(run.predictions("val")["item"])
        for prepared, _ in members(source, split, recipe, run.config["data"]["prepared"], run.cache):
            store = prepared.find()
            if store is not None and names & set(store.items["item"]):
                return store
    except (ValueError, OSError, KeyError, ImportError, MediaError):  # the data is on another machine
        return None
    return None


def random_pixels(parts: AnyParts, count: int = COUNT) -> Pixels:
    """Return random pixels or noise, the same in each call."""
    return Pixels(parts.input.random(count), f"{count} {parts.input.noise}")
