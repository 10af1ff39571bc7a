"""The base class of data sets on disk. This module does not depend on crops, batches or training."""

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
    """A data set. A subclass implements `find_items` for its folder layout and sets the class attributes below.

    Args:
        name: name of the data set, the prefix of its items' names, and the folder name of its crops.
        root: the folder of the raw files.
        demo: whether the data is rendered; if true, reports mark all its metrics as metrics on rendered data.
    """

    HOME = ""  #: where to download the data set
    LAYOUT = ""  #: expected layout below `root`
    TASK = ""  #: the task of a detector on this data, if it is not obvious
    #: Protocols that do not allow a group in two splits.
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
    #: Whether `random_groups` replaces the protocol `predefined` if a copy of the data set has no splits of its own.
    ELSE_RANDOM_GROUPS = False

    crops: Path | None = None  #: for generated data: the folder of its crops, which are not made by `unmask prepare`

    def __init__(self, name: str, root: str | Path, demo: bool = False) -> None:
        self.name, self.root, self.demo = name, Path(root), demo

    @property
    def parts(self) -> Sequence[tuple[Source, Split | None]]:
        """The pairs (data set, its own split or None) of this source; `[(self, None)]` for a single data set."""
        return [(self, None)]

    def find_items(self) -> list[Item]:
        """Find the data set's files on disk and return one item for each video or picture.

        Raises:
            ManifestError: the folder or a list is missing.
        """
        raise NotImplementedError

    def require(self, protocol: str, items: Sequence[Item]) -> None:
        """Check that this copy of the data set contains the lists and files that `protocol` needs.

        Raises:
            ManifestError: a list or a file is missing.
        """

    def used(self, items: pd.DataFrame, protocol: str) -> pd.Series:
        """Return whether each item is used [N], for example whether its manipulation was chosen.

        Raises:
            ManifestError: chosen items are missing.
        """
        return pd.Series(True, index=items.index)

    def published(self, items: pd.DataFrame) -> dict[str, int]:
        """Return the published numbers of `real` and `fake` items; empty if no numbers are published.

        Args:
            items: the manifest of this copy.
        """
        return {} if self.demo else dict(self.PUBLISHED.get(str(self.name), {}))

    def explain(self) -> str:
        """Return a text that says where the data set comes from, and which folder layout is expected."""
        home = f"download it from {self.HOME}. " if self.HOME else ""
        if self.demo:
            home = "render it with unmask demo render_only=true. "
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
        """Return the error message if crops of generated data are missing; None for data that can be prepared."""
        return None

    def require_root(self) -> None:
        """Raise an error if `root` does not exist. Only raw files are read from `root`; prepared crops do not need it.

        Raises:
            ManifestError: the folder does not exist.
        """
        if not self.root.is_dir():
            raise ManifestError(f"data.root={self.root}: no such folder\n{self.explain()}")

    def holds(self, items: pd.DataFrame) -> bool:
        """Whether the files below `root` match a manifest: all names, all sizes, and the bytes of a few files."""
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
