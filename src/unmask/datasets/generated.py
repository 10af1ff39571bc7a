"""A data set for training detectors: the output of a generator or face swapper, and real pictures or faces."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from unmask.data.manifest import Item, ManifestError
from unmask.data.recipe import Recipe, overrides
from unmask.data.source import Source
from unmask.data.store import CropStore
from unmask.files import read_json

CROPS = "crops"  # folder of the crops in the output folder of `unmask sample` or `unmask swap`


class Generated(Source):
    """The output of `unmask sample` or `unmask swap`, as it was before watermarks and other marks were added.

    Samples are combined with real pictures from the generator's data set. The pictures are resized as in its training
    and stay in their split, so that neither generator nor detector is trained on a test picture. A swapped video is in
    the same split as the original video. The person swapped in is in all splits.

    Args:
        root: the output folder (`out`) of `unmask sample` or `unmask swap`.
        name: name of the data set; None uses the name of the generator.
        demo: whether the generator was trained on rendered data.
    """

    LAYOUT = """\
  crops/KEY/    generated and real crops without marks
The folder is written by unmask sample run=DIR or unmask swap run=DIR video=FOLDER to=NAME."""
    PROTOCOL_WORDS = {
        **Source.PROTOCOL_WORDS,
        "predefined": "samples and swapped videos by their number, real pictures as in the generator's splits, "
        "real faces with the fakes made from them",
    }

    def __init__(self, root: str | Path, name: str | None = None, demo: bool = False) -> None:
        super().__init__(name or _name(Path(root)), root, demo)
        self.crops = self.root / CROPS
        note = self.root / "generate.json"
        if note.is_file() and read_json(note, "make the folder again with rerun=true").get("demo") and not self.demo:
            raise ValueError(
                f"data.demo=false: expected true, because the generator of {root} was trained on rendered data"
            )

    def find_items(self) -> list[Item]:
        """Return the items of the stored crops. The output files are not used, because they contain watermarks."""
        stores = sorted(self.root.glob(f"{CROPS}/*/crops.parquet"))
        if not stores:
            raise ManifestError(
                f"data.run={self.root}: the folder contains no crops for detectors; create them with "
                f"{' '.join(self.command('', ()))}"
            )
        table = CropStore(stores[0].parent).items
        columns = (table[name] for name in ("item", "path", "label", "method", "groups", "predefined"))
        return [
            Item(item, path, label, method, groups=tuple(groups), predefined=predefined)
            for item, path, label, method, groups, predefined in zip(*columns, strict=True)
        ]

    def command(self, recipe_option: str, changed: Sequence[str]) -> list[str]:
        """Return the command that creates the crops."""
        if recipe_option == "faces":
            return ["unmask", "swap", "run=RUN_OF_THE_SWAPPER", "video=FOLDER", "to=NAME", f"out={self.root}"]
        return ["unmask", "sample", "run=RUN_OF_THE_GENERATOR", f"out={self.root}"]

    def missing(self, recipe: Recipe) -> str:
        """Return the error message for missing crops of a recipe, with the options that select the existing crops."""
        asked, told = recipe.describe(), []
        for file in sorted(self.root.glob(f"{CROPS}/*/crops.parquet")):
            made = {key: value for key, value in CropStore(file.parent).recipe.items() if key not in ("root", "key")}
            if set(made) != set(asked):  # a different kind of recipe
                told.append("data=swapped" if "finder" in made else "data=generated")
            else:
                told.append(" ".join(overrides(made, asked)))
        command = " ".join(self.command(recipe.option, ()))
        there = f"to use the existing crops, set {' or '.join(told)}" if told else ""
        return (
            f"data.run={self.root}: the folder contains no crops that were made with data/recipe={recipe.option} and "
            f"data.recipe.crop_size={asked.get('crop_size', '?')}; "
            + (there or f"create them with {command} on a machine with the generator's prepared data")
        )


def _name(root: Path) -> str:
    """Return the generator's name, which is part of the names of fakes; `generated` if there are no fakes yet."""
    for path in sorted(root.glob(f"{CROPS}/*/items.parquet")):
        items = pd.read_parquet(path, columns=["item", "label"])
        fake = items.loc[items["label"] == 1, "item"]
        if len(fake):
            return str(fake.iloc[0]).partition("/")[0]
    return "generated"
