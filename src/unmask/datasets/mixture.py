"""Several data sets as one: detectors train on all of them, and the column `dataset` separates the results."""

from collections.abc import Mapping, Sequence

import pandas as pd

from unmask.config import Settings
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.data.split import Split


class Mixture(Source):
    """Several data sets used together, each prepared by the same recipe in its own store.

    Each data set is divided by its own `split`. Leaks between data sets are rejected if files or stored pixels are
    identical; look-alike pictures in different data sets are not searched for.

    Args:
        parts: {any name: data config of one data set}; only `source` and `split` of the configs are used.
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
            raise ValueError("data.parts: a mixture needs at least two data sets: +data@data.parts.NAME=DATASET")
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"data.parts: {', '.join(twice)} occurs twice; give one of them another data.parts.*.name")
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
        """Return nothing, because a mixture is not a published data set."""
        return {}

    def explain(self) -> str:
        """Return a text that says where to download each data set, and its expected layout."""
        return "\n".join(source.explain() for source, _ in self._parts)

    def require_root(self) -> None:
        """Raise an error if the folder of a data set is missing.

        Raises:
            ManifestError: folders are missing; the message lists them.
        """
        if missing := [f"{source.name}: {source.root}" for source, _ in self._parts if not source.root.is_dir()]:
            raise ManifestError(f"data.parts: no such folder: {', '.join(missing)}")
