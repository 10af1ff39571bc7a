"""Data modules for tests: one data set, with settings by their names alone."""

from dataclasses import fields
from pathlib import Path

import pandas as pd

from unmask.config.check import resolved
from unmask.data.datamodule import DataModule, build_data
from unmask.data.dataset import Sampling
from unmask.data.loader import Loader
from unmask.data.manifest import Item
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.store import CropStore


class DataOf(DataModule):
    """The data module of one source; `split_seed` is the split's seed, `seed` the loader's.

    Args:
        source: the data set.
        prepared: where crops are kept.
        recipe: file -> crops.
        parts: classes of `split` and `sampling` where other ones are wanted, `augment`, `blend`, and the settings of
            the parts.
    """

    def __init__(self, source: Source, prepared: Path, recipe, *, split=Split, sampling=Sampling, **parts) -> None:
        def pick(kind):
            return {field.name: parts.pop(field.name) for field in fields(kind) if field.name in parts}

        dealt = {"seed": parts.pop("split_seed")} if "split_seed" in parts else {}
        loader = pick(Loader)
        made = split(**pick(split), **dealt), sampling(**pick(sampling)), Loader(**loader)
        super().__init__(source, recipe, *made, **parts, prepared=prepared)
        ((self.prepared, _),) = self.members
        self.root, self.folder = source.root, self.prepared.folder

    def find_items(self) -> list[Item]:
        return self.source.find_items()

    def manifest(self) -> pd.DataFrame:
        return self.prepared.manifest(self.split)

    @property
    def store(self) -> CropStore:
        return self.prepared.store


def from_config(cfg) -> DataModule:
    """The data module of a composed config."""
    return build_data(resolved(cfg, "data")["data"])
