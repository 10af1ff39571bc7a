"""What a generator made, as a detector's data set: before marking, beside real pictures or filmed faces."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from unmask.data.datamodule import CropDataModule
from unmask.data.manifest import Item, ManifestError
from unmask.data.recipe import Recipe, overrides
from unmask.data.store import CropStore, StoreError

CROPS = "crops"  # the store below a folder that `unmask generate` filled


class GeneratedDataModule(CropDataModule):
    """A folder of `unmask generate run=...`; what it holds for detectors was kept before it was marked.

    Of samples: real pictures keep the split in which the generator knew them, so that a test picture was seen by
    neither; they went through the same resizing to the same size as what the generator learned from. Of swapped videos:
    a video and what was made of it are in one split; whoever was put in is in all of them.

    Args:
        run: the folder that `unmask generate` filled (its `out`).
        recipe: of its pictures: `WholePictures` of the generator's image size, or the `FaceCrops` of swapped faces.
        protocol: `given`; there is no other.
        options: see `CropDataModule`; the name is the generator's.
    """

    SOURCE = "a trained generator: unmask generate run=DIR"
    LAYOUT = "  crops/KEY/    what was made, before any mark, beside what is real; unmask generate writes it"
    PROTOCOL_WORDS = {
        **CropDataModule.PROTOCOL_WORDS,
        "given": "samples and swapped videos dealt by their number, real pictures in the generator's own splits, "
        "filmed faces with what was made of them",
    }

    def __init__(self, run: str | Path, recipe: Recipe, protocol: str = "given", **options: Any) -> None:
        root = Path(run)
        # A generator's samples may look alike, and like what it learned from: that is its result, not a leak.
        options = {
            "allow_duplicates": True,
            **options,
            "root": root,
            "prepared": root / CROPS,
            "name": options.get("name") or _name(root),
        }
        super().__init__(recipe=recipe, protocol=protocol, **options)
        self.folder = root / CROPS / recipe.key
        note = root / "generate.json"
        if note.is_file() and json.loads(note.read_text()).get("demo") and not self.demo:
            raise ValueError(f"data.demo=true is missing: the generator of {root} learned from rendered data")

    def find_items(self) -> list[Item]:
        """What the store holds, since nothing else does: samples as they lie in `pictures` are marked."""
        table = self._items()
        columns = (table[name] for name in ("item", "path", "label", "method", "groups", "given"))
        return [
            Item(item, path, label, method, groups=tuple(groups), given=given)
            for item, path, label, method, groups, given in zip(*columns, strict=True)
        ]

    def _check_root(self, store: CropStore) -> None:
        """Nothing: the crops lie inside of `root`, wherever it was moved to."""

    def prepare_command(self) -> str:
        """The command that makes what this data module reads."""
        return f"unmask generate run=RUN_OF_THE_GENERATOR out={self.root}"

    def _items(self) -> pd.DataFrame:
        try:
            return CropStore(self.folder).items
        except StoreError:
            raise ManifestError(
                f"data.run={self.root}: nothing is kept for detectors by data/recipe={self.recipe.option} with "
                f"data.recipe.crop_size={getattr(self.recipe, 'crop_size', '?')}; "
                + (self._others() or f"{self.prepare_command()} makes it, where the generator's own data is prepared")
            ) from None

    def _others(self) -> str:
        """What to give for the stores that are there instead; "" where there is none."""
        asked, told = self.recipe.describe(), []
        for file in sorted(self.root.glob(f"{CROPS}/*/crops.parquet")):
            made = {key: value for key, value in CropStore(file.parent).recipe.items() if key not in ("root", "key")}
            if set(made) != set(asked):  # another kind of recipe
                told.append("data=swapped" if "finder" in made else "data=generated")
            else:
                told.append(" ".join(overrides(made, asked)))
        return f"what is there wants {' or '.join(told)}" if told else ""


def _name(root: Path) -> str:
    """The generator's, as its samples say; one that says nothing where there are none yet."""
    for path in sorted(root.glob(f"{CROPS}/*/items.parquet")):
        items = pd.read_parquet(path, columns=["item", "label"])
        fake = items.loc[items["label"] == 1, "item"]
        if len(fake):
            return str(fake.iloc[0]).partition("/")[0]
    return "generated"
