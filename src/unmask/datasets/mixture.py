"""Several data sets as one: a detector trains on all of them, and figures tell them apart by `dataset`."""

from collections.abc import Mapping, Sequence

import pandas as pd

from unmask.config import Settings
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.data.split import Split


class Mixture(Source):
    """Data sets that are read together, each prepared by the same recipe in a store of its own.

    Items are divided within each data set by its own `split`. Leaks between the data sets are refused where files or
    stored pixels are the same; that two data sets hold pictures that merely look alike is not searched for.

    Args:
        parts: by a name of the user's choice, the data configs of the data sets; of each its `source` and `split` are
            taken.
        name: of the mixture; null joins the names of its data sets.
        root: not used, since each data set has its own.
        demo: some of the data is rendered.
    """

    def __init__(
        self, parts: Mapping[str, Settings], name: str | None = None, root: object = None, demo: bool = False
    ) -> None:
        found: list[tuple[Source, Split]] = [(part["source"], part["split"]) for part in parts.values()]
        names = [source.name for source, _ in found]
        if len(found) < 2:
            raise ValueError("data.parts: a mixture needs two data sets or more: +data@data.parts.NAME=DATASET")
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(
                f"data.parts: {', '.join(twice)} is there twice; give one of them another data.parts.*.name"
            )
        super().__init__(name or "+".join(names), found[0][0].root, demo or any(source.demo for source, _ in found))
        self._parts = found

    @property
    def parts(self) -> Sequence[tuple[Source, Split]]:
        """The data sets, each with its split."""
        return self._parts

    def find_items(self) -> list[Item]:
        """The items of all data sets."""
        return [item for source, _ in self._parts for item in source.find_items()]

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Nothing: a mixture is nobody's published data set."""
        return {}

    def explain(self) -> str:
        """Where to download each data set, and its layout."""
        return "\n".join(source.explain() for source, _ in self._parts)

    def require_root(self) -> None:
        """Refuse a data set whose folder is missing.

        Raises:
            ManifestError: with all that are.
        """
        if missing := [f"{source.name}: {source.root}" for source, _ in self._parts if not source.root.is_dir()]:
            raise ManifestError(f"data.parts: there is no such folder: {', '.join(missing)}")
