"""Store unmarked pixels next to the published (marked) files, so that detectors can be trained on them.

Detectors must not learn to recognise the mark, so the store contains unmarked pixels. For a generator, these are its
samples, and real images from its data set (`unmarked_samples`). For a face swapper, they are the swapped faces, and the
original faces in the same frames (`unmarked_faces`).
"""

from pathlib import Path
from typing import Generic, TypeVar

from unmask.data.manifest import Item, items_table
from unmask.data.parts import measured, read_about, write_part
from unmask.data.prepare import merge_parts, reopen
from unmask.data.recipe import Recipe
from unmask.data.store import CropStore
from unmask.datasets.generated import CROPS
from unmask.media.crops import Crops
from unmask.media.probe import frame_statistics

R = TypeVar("R", bound=Recipe)


class Unmarked(Generic[R]):
    """A store of the unmarked pixels of one folder of generated media.

    Args:
        out: the folder of generated media.
        recipe: the recipe with which `unmask prepare` would make the same crops; its key is the store's folder name.
    """

    def __init__(self, out: Path, recipe: R) -> None:
        self.out, self.recipe = out, recipe
        self.folder = out / CROPS / recipe.key
        whole = (self.folder / "crops.parquet").is_file()
        self.kept = set(CropStore(self.folder).items["item"]) if whole else set()

    def has(self, item: str) -> bool:
        """Return whether the crops of an item are stored."""
        return item in self.kept or read_about(self.folder, item) is not None

    def reopen(self) -> None:
        """Reopen a finished store, so that items can be added."""
        reopen(self.out, self.folder, self.recipe)
        self.kept = set()

    def keep(self, item: str, crops: Crops) -> None:
        """Store the crops of an item."""
        crops.statistics = frame_statistics(crops.pixels.transpose(0, 2, 3, 1))  # [N, 3, S, S] -> [N, S, S, 3]
        write_part(self.folder, item, crops, measured(crops), None)

    def merge(self, items: list[Item]) -> None:
        """Finish the crop store: write its tables for these items. Each item must have a `predefined` split."""
        table = items_table(items)
        merge_parts(table.assign(split=table["predefined"]), self.folder)
