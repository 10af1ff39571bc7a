"""Pixels on which an exported model is compared with the network it was made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.prepared import members
from unmask.data.store import CropStore
from unmask.export.wrapped import Parts
from unmask.media.kinds import MediaError
from unmask.runs.run import Run

COUNT = 64  # number of frames or clips


@dataclass(frozen=True)
class Pixels:
    """Pixels for a comparison.

    Attributes:
        values: uint8 [N, 3, S, S] or [N, T, 3, S, S].
        source: what they are, in words.
    """

    values: NDArray[np.uint8]
    source: str


def pixels_of(run: Run, parts: Parts, count: int = COUNT) -> Pixels:
    """Return the run's own validation crops, spread evenly; random pixels if the crops are not on this machine."""
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
    unit = "frames" if parts.frames is None else "clips"
    return Pixels(values, f"{len(values)} {unit} of the run's validation split")


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


def random_pixels(parts: Parts, count: int = COUNT) -> Pixels:
    """Return random pixels, the same in each call."""
    side, clip = parts.crop_size, () if parts.frames is None else (parts.frames,)
    values = np.random.default_rng(0).integers(0, 256, (count, *clip, 3, side, side), np.uint8)
    unit = "pictures" if parts.frames is None else "clips"
    return Pixels(values, f"{count} {unit} of random pixels")
