"""The prepared crops of a data set: find their folder, check that they match the raw files, say how to make them."""

import shlex
from pathlib import Path

import pandas as pd

from unmask.data import checksums, remote
from unmask.data.bucket import is_url
from unmask.data.cache import Cache
from unmask.data.manifest import ManifestError, items_table
from unmask.data.recipe import Recipe, overrides
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.store import CropStore, StoreError
from unmask.data.stores import store_folder


def members(
    source: Source, split: Split, recipe: Recipe, prepared: str | Path, cache: Cache | None = None
) -> "list[tuple[Prepared, Split]]":
    """Return (prepared crops, split) for each data set in a source.

    A data set that defines no split of its own gets `split`.
    """
    return [(Prepared(part, recipe, prepared, cache), own or split) for part, own in source.parts]


class Prepared:
    """The crops of one source.

    Args:
        source: the data set.
        recipe: turns a file into crops.
        prepared: the folder or the URL of all prepared crops; not used if the source brings its own crops (generated
            data).
        cache: keeps copies of crops at a URL; None is `Cache()`.
    """

    def __init__(self, source: Source, recipe: Recipe, prepared: str | Path, cache: Cache | None = None) -> None:
        self.source, self.recipe, self.cache = source, recipe, cache or Cache()
        self.url = f"{prepared}".rstrip("/") if source.crops is None and is_url(prepared) else None
        self._given = Path(prepared)

    @property
    def folder(self) -> Path:
        """The folder of the store; for crops at a URL, the local copy of its tables.

        Raises:
            StoreError: there are no crops at the URL, or it cannot be read.
        """
        if self.url is not None:
            return self._open().folder
        made = self.source.crops
        return store_folder(self._given, self.source.name, self.recipe.key) if made is None else made / self.recipe.key

    def _open(self) -> CropStore:
        if self.url is None:
            return CropStore(self.folder)
        place = store_folder(Path(), self.source.name, self.recipe.key).as_posix()
        return remote.open_store(f"{self.url}/{place}", place, self.cache)

    def find(self) -> CropStore | None:
        """Return the store without checking that it is up to date; None if it is missing."""
        try:
            return self._open()
        except StoreError:
            return None

    def manifest(self, split: Split) -> pd.DataFrame:
        """Return the table of items found on disk, divided into splits.

        Raises:
            ManifestError: the data set is missing or incomplete, or cannot be divided by this protocol.
        """
        self.source.require_root()
        found = self.source.find_items()
        self.source.require(split.protocol, found)
        items = items_table(found)
        bare = items[(items["label"] == 1) & items["mask"].isna()]
        if self.recipe.masks and len(bare):
            raise ManifestError(
                f"data.recipe.masks=true: {len(bare)} of {int(items['label'].sum())} fakes have no mask, such as "
                f"{bare['path'].iloc[0]}; add the masks, or set data.recipe.masks=false"
            )
        return split.divide(items, None, self.source)[0]

    @property
    def store(self) -> CropStore:
        """The store of crops, opened for reading.

        Raises:
            StoreError: there are no crops made by this recipe; the message contains the command to run.
        """
        try:
            store = self._open()
        except StoreError as error:
            if self.url is not None:
                raise
            words = self.source.missing(self.recipe) or f"{error}. To prepare them:\n  {self.command()}"
            raise StoreError(words) from None
        made = {name: value for name, value in store.recipe.items() if name not in ("root", "key")}
        if made != dict(self.recipe.describe()):
            raise StoreError(
                f"{self.folder} was made with a different recipe ({made}); delete the folder and prepare the data again"
            )
        self._check_root(store)
        return store

    @property
    def raw(self) -> Path | None:
        """The folder of the raw files: `root` or, if it does not exist, the folder from which the crops were made.

        None if neither folder exists. Also None for generated data, whose files have watermarks, unlike its crops.
        """
        if self.source.crops is not None:
            return None
        return next((root for root in (self.source.root, Path(self.store.recipe["root"])) if root.is_dir()), None)

    def _check_root(self, store: CropStore) -> None:
        """Check that the crops were made from the files in `root`; the folder may have been moved.

        Raises:
            StoreError: the prepared crops were not made from the files in `root`.
        """
        source, prepared = self.source, store.recipe["root"]
        if source.crops is not None or not source.root.is_dir() or str(source.root.resolve()) == prepared:
            return
        if not source.holds(store.items):
            raise StoreError(
                f"data.root={source.root}: the prepared crops of {source.name} were made from other files, in "
                f"{prepared}. For the files in data.root, set another data.name=NAME or paths.prepared=DIR, "
                f"or replace the crops: {self.command()} rerun=true"
            )

    def verify(self) -> None:
        """Check the tables and shards against their stored checksums; of crops at a URL, the local copies.

        Raises:
            StoreError: files are missing or changed; the message names them and the command that repairs the store.
        """
        store = self._open() if self.url is not None else None
        if isinstance(store, remote.RemoteStore):
            remote.verify(store)
        elif names := checksums.damaged(self.folder):
            raise StoreError(checksums.words(names, self.folder, self.command()))

    def command(self) -> str:
        """Return the command that makes the crops."""
        named = dict.fromkeys(("crop_size", "search_every"))  # always, because data sets have their own values
        changed = overrides(vars(self.recipe), vars(type(self.recipe)()) | named)
        return shlex.join(self.source.command(self.recipe.option, changed))
