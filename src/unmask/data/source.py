"""The base class of data sets on disk; it is independent of crops, batches and training."""

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

HASHED = 16  # minimum number of files whose bytes are compared to recognise a data set that was moved


class Source:
    """A data set. A subclass reads its layout in `find_items` and sets the class attributes below.

    Args:
        name: name of the data set, the prefix of its items' names, and the folder name of its crops.
        root: the folder of the raw files.
        demo: whether the data is rendered; if true, reports mark all its metrics as such.
    """

    HOME = ""  #: where to download it
    LAYOUT = ""  #: expected layout below `root`
    TASK = ""  #: the task of a detector on this data, if it is not obvious
    #: Protocols in which no group may be in two splits.
    DISJOINT: tuple[str, ...] = ("identity_disjoint", "random_groups")
    #: The guarantee of each protocol, in words.
    PROTOCOL_WORDS: Mapping[str, str] = {
        "official": "no video is in two splits, but some people are in both training and test",
        "identity_disjoint": "no person is in two splits",
        "predefined": "the data set's own split",
        "random_groups": "whole groups, assigned at random with seed {seed}",
    }
    #: Published numbers of real and fake items, by name of the data set.
    PUBLISHED: Mapping[str, Mapping[str, int]] = {}
    #: Whether the protocol `predefined` falls back to `random_groups` if a copy of the data set has no splits.
    ELSE_RANDOM_GROUPS = False

    crops: Path | None = None  #: folder of the stores of a source that is generated instead of prepared

    def __init__(self, name: str, root: str | Path, demo: bool = False) -> None:
        self.name, self.root, self.demo = name, Path(root), demo

    @property
    def parts(self) -> Sequence[tuple[Source, Split | None]]:
        """The data sets of this source, each with its own split or None; a single data set is its only part."""
        return [(self, None)]

    def find_items(self) -> list[Item]:
        """Return the items on disk, as rows of the manifest.

        Raises:
            ManifestError: the folder or a list is missing.
        """
        raise NotImplementedError

    def require(self, protocol: str, items: Sequence[Item]) -> None:
        """Reject a copy of the data set that lacks lists or files that a protocol needs.

        Raises:
            ManifestError: a list or a file is missing.
        """

    def used(self, items: pd.DataFrame, protocol: str) -> pd.Series:
        """Return a mask [N] of the rows of the manifest that are used, such as those of the chosen manipulations.

        Raises:
            ManifestError: the chosen rows are missing.
        """
        return pd.Series(True, index=items.index)

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return the numbers of `real` and `fake` items in a complete copy; empty if they are not published.

        Args:
            items: the manifest of this copy.
        """
        return {} if self.demo else dict(self.PUBLISHED.get(str(self.name), {}))

    def explain(self) -> str:
        """Return a text that says where to download the data set, and which layout is expected."""
        home = f"download it from {self.HOME}. " if self.HOME else ""
        return f"{self.name}: {home}Expected in data.root:\n{self.LAYOUT}"

    def choice(self) -> list[str]:
        """Return the command-line arguments that select this data set, without `data.root`."""
        return [f"data={self.name}"]

    def command(self, recipe_option: str, changed: Sequence[str]) -> list[str]:
        """Return the command that prepares the crops.

        Args:
            recipe_option: `faces` or `pictures`.
            changed: overrides of the recipe.
        """
        return ["unmask", "prepare", *self.choice(), f"data.root={self.root}", f"data/recipe={recipe_option}", *changed]

    def missing(self, recipe: Recipe) -> str | None:
        """Return the message that a generated source has no crops of this recipe; None for other sources."""
        return None

    def require_root(self) -> None:
        """Raise an error if `root` is missing; it is only needed to read raw files, not prepared crops.

        Raises:
            ManifestError: the folder does not exist.
        """
        if not self.root.is_dir():
            raise ManifestError(f"data.root={self.root}: no such folder\n{self.explain()}")

    def holds(self, items: pd.DataFrame) -> bool:
        """Whether the files below `root` match a manifest in all names, all sizes, and the bytes of some files."""
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
