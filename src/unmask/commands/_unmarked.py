"""The pixels before marking: what detectors train on, kept as a store beside what is published.

A mark must never become the label. So samples go into the store as the generator made them, and real pictures of its
own data beside them, brought to the same size in the same way as those that it learned from.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.commands._shell import say
from unmask.data.manifest import Item, items_table
from unmask.data.prepare import begin, join
from unmask.data.store import CropStore, read_about, write_part
from unmask.datasets.generated import CROPS
from unmask.media.pictures import WholePictures
from unmask.media.probe import colour_statistics
from unmask.media.recipe import Crops
from unmask.runs import Run
from unmask.training.samples import pixels

# Of ten samples in order, how many go into which split: real pictures are few, samples are not.
SPLITS = ("train",) * 6 + ("val",) + ("test",) * 3
BATCH = 64  # real pictures at once


class Unmarked:
    """The store of one folder of samples.

    Args:
        run: the generator's.
        out: the folder of samples.
        size: side of its pictures, px.
    """

    def __init__(self, run: Run, out: Path, size: int) -> None:
        self.run, self.out = run, out
        self.method = method_of(run)
        self.name = f"generated_{self.method}"
        self.recipe = WholePictures(crop_size=size)
        self.folder = out / CROPS / self.recipe.key
        whole = (self.folder / "crops.parquet").is_file()
        self.kept = set(CropStore(self.folder).items["item"]) if whole else set()

    def item(self, number: int) -> Item:
        """The manifest's row of a sample."""
        item, path = f"{self.name}/{self.method}/{number:06d}", f"pictures/{number:06d}.png"
        return Item(item, path, 1, self.method, groups=(item,), given=SPLITS[number % len(SPLITS)])

    def has(self, number: int) -> bool:
        """Whether the pixels of a sample are kept."""
        item = self.item(number).item
        return item in self.kept or read_about(self.folder, item) is not None

    def begin(self) -> None:
        """Open the folder for more."""
        begin(self.out, self.folder, self.recipe)
        self.kept = set()

    def keep(self, number: int, picture: NDArray[np.uint8]) -> None:
        """Keep a sample [S, S, 3] as it was made."""
        self._write(self.item(number).item, picture)

    def finish(self, count: int) -> None:
        """Put real pictures beside the samples, as many of each split as there are, and make the store whole."""
        fakes = [self.item(number) for number in range(count)]
        if {item.item for item in fakes} == {item for item in self.kept if item.startswith(f"{self.name}/")}:
            return
        if self.kept:  # of more samples than are wanted now
            self.begin()
        try:
            data: Any = self.run.build("data")
            data.setup("test")
        except (ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            say(f"no detector can train on these yet: the generator's own real pictures are not at hand ({reason})")
            return
        real = [item for split in dict.fromkeys(SPLITS) for item in self._real(data, split, fakes)]
        items = items_table([*fakes, *real])
        join(items.assign(split=items["given"]), self.folder)

    def _real(self, data: Any, split: str, fakes: list[Item]) -> list[Item]:
        """Keep real pictures of a split; always the same first ones, so that a folder can grow."""
        samples, wanted = data.samples[split], sum(item.given == split for item in fakes)
        rows = np.random.default_rng(0).permutation(len(samples))[:wanted]
        known, found = data.items.set_index("item"), []
        for row in rows:
            name = samples.table["item"].iloc[row]
            about = known.loc[name]
            # A video gives several frames: each is a picture of its own here, and all of one split.
            item = name if samples.table["frame"].iloc[row] == 0 else f"{name}#{samples.table['frame'].iloc[row]}"
            found.append(Item(item, about["path"], 0, "real", groups=tuple(about["groups"]), given=split))
        missing = [at for at, item in enumerate(found) if read_about(self.folder, item.item) is None]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            batch = samples.__getitems__([(0, int(rows[at])) for at in part])
            made = pixels(data.on_after_batch_transfer(batch, 0)["x"])
            for at, picture in zip(part, made, strict=True):
                self._write(found[at].item, picture)
        return found

    def _write(self, item: str, picture: NDArray[np.uint8]) -> None:
        side = float(self.recipe.crop_size)
        crops = Crops(
            track=np.zeros(1, np.int64),
            frame=np.zeros(1, np.int64),
            time=np.zeros(1),
            box=np.array([[0, 0, side, side]], np.float32),
            landmarks=np.full((1, 5, 2), np.nan, np.float32),
            prob=np.full(1, np.nan, np.float32),
            pixels=np.ascontiguousarray(picture.transpose(2, 0, 1))[None],
        )
        write_part(self.folder, item, crops, dict(colour_statistics(picture[None])), None)


def method_of(run: Run) -> str:
    """What a generator's samples are called by: its preset's name, and its seed where that is not 0."""
    name, seed = str(run.config.name).rpartition("/")[2], run.config.get("seed", 0)
    return f"{name}_seed{seed}" if seed else name
