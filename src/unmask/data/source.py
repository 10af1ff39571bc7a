"""What is known of one data set on disk; a source knows nothing of crops, batches or training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from unmask.data.manifest import SIZE, Item, ManifestError, items_table
from unmask.files import file_hash

if TYPE_CHECKING:
    from unmask.data.recipe import Recipe
    from unmask.data.split import Split

HASHED = 16  # files whose bytes are compared where a data set may have been moved


class Source:
    """A data set. A subclass reads its layout: `find_items`, and the class attributes below.

    Args:
        name: of the data set: the first part of every item, and the folder of its prepared crops.
        root: the folder of the raw files.
        demo: the data is rendered; every figure says so.
    """

    HOME = ""  #: where to download it
    LAYOUT = ""  #: what is expected below `root`
    TASK = ""  #: what a detector is asked on this data, where that is not obvious
    #: Protocols in which no group may be in two splits.
    DISJOINT: tuple[str, ...] = ("identity_disjoint", "random_groups")
    #: What a protocol promises, in words.
    PROTOCOL_WORDS: Mapping[str, str] = {
        "official": "no video is in two splits, but people are: this list shares identities between training and test",
        "identity_disjoint": "no person is in two splits",
        "predefined": "as the data set comes divided",
        "random_groups": "whole groups, dealt by seed {seed}",
    }
    #: By name of the data set, how many real and fake items its authors publish.
    PUBLISHED: Mapping[str, Mapping[str, int]] = {}
    #: Whether the protocol `predefined` becomes `random_groups` where a copy of the data set does not come divided.
    ELSE_RANDOM_GROUPS = False

    crops: Path | None = None  #: the folder of its stores, of a source that is made and not prepared

    def __init__(self, name: str, root: str | Path, demo: bool = False) -> None:
        self.name, self.root, self.demo = name, Path(root), demo

    @property
    def parts(self) -> Sequence[tuple[Source, Split | None]]:
        """The data sets in it, each with a split of its own where it has one; of a single data set itself."""
        return [(self, None)]

    def find_items(self) -> list[Item]:
        """What is on the disk, as rows of the manifest.

        Raises:
            ManifestError: the folder or a list is missing.
        """
        raise NotImplementedError

    def require(self, protocol: str, items: Sequence[Item]) -> None:
        """Refuse a copy of the data set that lacks what a protocol needs.

        Raises:
            ManifestError: a list or a file is missing.
        """

    def used(self, items: pd.DataFrame, protocol: str) -> pd.Series:
        """Which rows of the manifest this source takes [N], such as those of the chosen manipulations.

        Raises:
            ManifestError: what it should take is not among them.
        """
        return pd.Series(True, index=items.index)

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """How many `real` and `fake` items a complete copy holds; nothing where no number is published.

        Args:
            items: the manifest of this copy.
        """
        return {} if self.demo else dict(self.PUBLISHED.get(str(self.name), {}))

    def explain(self) -> str:
        """Where to download the data set, and the layout that is expected."""
        return f"{self.name}: download it from {self.HOME}. Expected below data.root:\n{self.LAYOUT}"

    def choice(self) -> list[str]:
        """The arguments that choose this data set on the command line, without `data.root`."""
        return [f"data={self.name}"]

    def command(self, recipe_option: str, changed: Sequence[str]) -> list[str]:
        """The command that makes its crops.

        Args:
            recipe_option: `faces` or `pictures`.
            changed: overrides of the recipe.
        """
        return ["unmask", "prepare", *self.choice(), f"data.root={self.root}", f"data/recipe={recipe_option}", *changed]

    def missing(self, recipe: Recipe) -> str | None:
        """Why there are no crops by a recipe, of a source that is made and not prepared; else None."""
        return None

    def require_root(self) -> None:
        """Refuse a `root` that is missing; prepared crops are read without it, unless somebody names it.

        Raises:
            ManifestError: there is no such folder.
        """
        if not self.root.is_dir():
            raise ManifestError(f"data.root={self.root}: there is no such folder\n{self.explain()}")

    def holds(self, items: pd.DataFrame) -> bool:
        """Whether the files below `root` are those of a manifest: names, sizes, and the bytes of some."""
        try:
            table = items_table(self.find_items())
            found = {item: self.root / path for item, path in zip(table["item"], table["path"], strict=True)}
            if found.keys() != set(items["item"]):
                return False
            known = items.dropna(subset=[SIZE, "sha256"]) if {SIZE, "sha256"} <= set(items) else items.iloc[:0]
            sizes = zip(known["item"], known[SIZE], strict=True)
            some = known.iloc[:: max(1, len(known) // HASHED)]
            hashes = zip(some["item"], some["sha256"], strict=True)
            return all(found[name].stat().st_size == size for name, size in sizes) and all(
                file_hash(found[name]) == sha256 for name, sha256 in hashes
            )
        except (ValueError, OSError):
            return False
