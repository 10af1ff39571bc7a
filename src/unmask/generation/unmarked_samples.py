"""Store a generator's unmarked samples, along with real images from the generator's own data set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.console import say
from unmask.data.datamodule import DataModule
from unmask.data.manifest import Item
from unmask.evaluation.loading import data_of
from unmask.generation.unmarked import Unmarked
from unmask.media.crops import Crops
from unmask.media.pictures import WholePictures
from unmask.runs.run import Run
from unmask.training.samples import pixels

# Splits of ten consecutive samples. The shares suit the real images, of which there are fewer than samples.
SPLITS = ("train",) * 6 + ("val",) + ("test",) * 3
BATCH = 64  # number of real images per batch


class UnmarkedSamples(Unmarked[WholePictures]):
    """A store of a generator's unmarked samples, along with real images of the same size from its data set.

    Args:
        run: run of the generator.
        out: the folder of samples.
    """

    def __init__(self, run: Run, out: Path) -> None:
        super().__init__(out, WholePictures(crop_size=int(run.config["image_size"])))
        self.run, self.method = run, method_of(run)
        self.name = f"generated_{self.method}"

    def item(self, number: int) -> Item:
        """Return the manifest row of a sample."""
        item, path = f"{self.name}/{self.method}/{number:06d}", f"pictures/{number:06d}.png"
        return Item(item, path, 1, self.method, groups=(item,), predefined=SPLITS[number % len(SPLITS)])

    def has_sample(self, number: int) -> bool:
        """Return whether a sample is stored."""
        return self.has(self.item(number).item)

    def keep_sample(self, number: int, picture: NDArray[np.uint8]) -> None:
        """Store one sample [S, S, 3]."""
        self.keep(self.item(number).item, _as_crops(picture))

    def finish(self, count: int) -> None:
        """Add as many real images as samples to each split (fewer if too few exist), then finish the crop store."""
        fakes = [self.item(number) for number in range(count)]
        if {item.item for item in fakes} == {item for item in self.kept if item.startswith(f"{self.name}/")}:
            return
        if self.kept:  # the finished store has a different number of samples
            self.reopen()
        try:
            data = data_of(self.run)
            data.setup("test")
        except (ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            say(f"detectors cannot train on these samples: the generator's real pictures are not available ({reason})")
            return
        self.merge([*fakes, *(item for split in dict.fromkeys(SPLITS) for item in self._real(data, split, fakes))])

    def _real(self, data: DataModule, split: str, fakes: list[Item]) -> list[Item]:
        """Store real images of a split, as many as samples if available, and return their manifest rows.

        Images are chosen in a random but fixed order, so that additional samples only add images.
        """
        samples, wanted = data.samples[split], sum(item.predefined == split for item in fakes)
        rows = np.random.default_rng(0).permutation(len(samples))[:wanted]
        known, found = data.items.set_index("item"), []
        for row in rows:
            name = samples.table["item"].iloc[row]
            about = known.loc[name]
            # Each frame of a video becomes a separate image; all of them are in the same split.
            item = name if samples.table["frame"].iloc[row] == 0 else f"{name}#{samples.table['frame'].iloc[row]}"
            found.append(Item(item, about["path"], 0, "real", groups=tuple(about["groups"]), predefined=split))
        missing = [at for at, item in enumerate(found) if not self.has(item.item)]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            batch = samples.__getitems__([(0, int(rows[at])) for at in part])
            made = pixels(data.on_after_batch_transfer(batch, 0)["x"])
            for at, picture in zip(part, made, strict=True):
                self.keep(found[at].item, _as_crops(picture))
        return found


def method_of(run: Run) -> str:
    """Return the method name of a generator's samples: the preset's name, followed by the seed if it is not 0."""
    name, seed = str(run.config["name"]).rpartition("/")[2], run.config.get("seed", 0)
    return f"{name}_seed{seed}" if seed else name


def _as_crops(picture: NDArray[np.uint8]) -> Crops:
    """Represent a whole image [S, S, 3] as a single crop."""
    side = float(len(picture))
    return Crops(
        track=np.zeros(1, np.int64),
        frame=np.zeros(1, np.int64),
        time=np.zeros(1),
        box=np.array([[0, 0, side, side]], np.float32),
        landmarks=np.full((1, 5, 2), np.nan, np.float32),
        prob=np.full(1, np.nan, np.float32),
        pixels=np.ascontiguousarray(picture.transpose(2, 0, 1))[None],
    )
