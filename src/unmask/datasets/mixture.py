"""Several data sets used as one. Detectors train on all of them; the column `dataset` keeps their results apart."""

from collections.abc import Mapping, Sequence

import pandas as pd

from unmask.config import Settings
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.data.split import Split


class Mixture(Source):
    """Several data sets used together. The recipe is the same for all data sets, but each data set has its own store.

    Each data set is divided by its own `split`. Identical files or crops in different splits are rejected, even if they
    are in different data sets. Items that only look alike are searched for within each data set, not across data sets.

    Args:
        parts: {any name: data config of one data set}; only the keys `source` and `split` of these configs are used.
        name: name of the mixture; None joins the names of its data sets.
        root: not used, because each data set has its own root.
        demo: whether some of the data is rendered.
    """

    def __init__(
        self, parts: Mapping[str, Settings], name: str | None = None, root: object = None, demo: bool = False
    ) -> None:
        found: list[tuple[Source, Split]] = [(part["source"], part["split"]) for part in parts.values()]
        names = [source.name for source, _ in found]
        if len(found) < 2:
            raise ValueError(
                "data.parts: a mixture needs at least two data sets; add each with +data@data.parts.NAME=DATASET"
            )
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"data.parts: several data sets are named {twice[0]}; give each its own data.parts.*.name")
        super().__init__(name or "+".join(names), found[0][0].root, demo or any(source.demo for source, _ in found))
        self._parts = found

    @property
    def parts(self) -> Sequence[tuple[Source, Split]]:
        """The data sets, each with its split."""
        return self._parts

    def find_items(self) -> list[Item]:
        """Return the items of all data sets."""
        return [item for source, _ in self._parts for item in source.find_items()]

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return an empty mapping, because a mixture is not a published data set."""
        return {}

    def explain(self) -> str:
        """Return a text that says where to download each data set, and which folder layout is expected."""
        return "\n".join(source.explain() for source, _ in self._parts)

    def require_root(self) -> None:
        """Raise an error if the folder of a data set is missing.

        Raises:
            ManifestError: folders are missing; the message lists the missing folders.
        """
        if missing := [f"{source.name}: {source.root}" for source, _ in self._parts if not source.root.is_dir()]:
            raise ManifestError(f"data.parts: no such folder: {', '.join(missing)}; correct data.parts.*.root")
