"""The pixels before marking: what detectors train on, kept as a store beside what is published.

A mark must never become the label. So samples go into the store as the generator made them, and real pictures of its
own data beside them, brought to the same size in the same way as those that it learned from; of a swapped video faces,
and the same ones of the video that it was made of.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.console import say
from unmask.data.manifest import Item, items_table
from unmask.data.parts import read_about, write_part
from unmask.data.prepare import begin, join
from unmask.data.store import CropStore
from unmask.datasets.generated import CROPS
from unmask.generation.swapper import Place
from unmask.media.align import warp
from unmask.media.crops import Crops
from unmask.media.indices import burst_indices
from unmask.media.pictures import WholePictures
from unmask.media.probe import frame_statistics
from unmask.media.recipe import FaceCrops
from unmask.runs.run import Run
from unmask.training.samples import pixels

# Of ten samples in order, how many go into which split: real pictures are few, samples are not.
SPLITS = ("train",) * 6 + ("val",) + ("test",) * 3
# Of ten videos in order: three are enough to train, to validate and to test.
VIDEO_SPLITS = ("train", "val", "test", *("train",) * 2, "test", *("train",) * 3, "test")
BATCH = 64  # real pictures at once
Pixels = NDArray[np.uint8]


class Unmarked:
    """The store of one folder that `unmask generate` fills.

    Args:
        out: the folder.
        recipe: by which a file would become the same crops; its key names the store.
    """

    def __init__(self, out: Path, recipe: Any) -> None:
        self.out, self.recipe = out, recipe
        self.folder = out / CROPS / recipe.key
        whole = (self.folder / "crops.parquet").is_file()
        self.kept = set(CropStore(self.folder).items["item"]) if whole else set()

    def has(self, item: str) -> bool:
        """Whether the pixels of an item are kept."""
        return item in self.kept or read_about(self.folder, item) is not None

    def begin(self) -> None:
        """Open the folder for more."""
        begin(self.out, self.folder, self.recipe)
        self.kept = set()

    def keep(self, item: str, crops: Crops) -> None:
        """Keep what belongs to an item."""
        found = frame_statistics(crops.pixels.transpose(0, 2, 3, 1))  # [N, 3, S, S] -> [N, S, S, 3]
        write_part(self.folder, item, crops, dict(found), None)

    def join(self, items: list[Item]) -> None:
        """Make the store whole, of these items; each has a `given` split."""
        table = items_table(items)
        join(table.assign(split=table["given"]), self.folder)


class UnmarkedSamples(Unmarked):
    """Of samples: they as they were made, and real pictures of the generator's own data beside them.

    Args:
        run: the generator's.
        out: the folder of samples.
        size: side of its pictures, px.
    """

    def __init__(self, run: Run, out: Path, size: int) -> None:
        super().__init__(out, WholePictures(crop_size=size))
        self.run, self.method = run, method_of(run)
        self.name = f"generated_{self.method}"

    def item(self, number: int) -> Item:
        """The manifest's row of a sample."""
        item, path = f"{self.name}/{self.method}/{number:06d}", f"pictures/{number:06d}.png"
        return Item(item, path, 1, self.method, groups=(item,), given=SPLITS[number % len(SPLITS)])

    def keep_picture(self, item: str, picture: NDArray[np.uint8]) -> None:
        """Keep one picture [S, S, 3]."""
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
        self.keep(item, crops)

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
        self.join([*fakes, *(item for split in dict.fromkeys(SPLITS) for item in self._real(data, split, fakes))])

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
        missing = [at for at, item in enumerate(found) if not self.has(item.item)]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            batch = samples.__getitems__([(0, int(rows[at])) for at in part])
            made = pixels(data.on_after_batch_transfer(batch, 0)["x"])
            for at, picture in zip(part, made, strict=True):
                self.keep_picture(found[at].item, picture)
        return found


class Kept(NamedTuple):
    """A face in one frame of a swapped video."""

    number: int  # of the frame
    time: float  # at which it is shown, s after the first one
    place: Place
    made: Pixels  # [S, S, 3]
    given: Pixels  # likewise, as it was filmed


class UnmarkedFaces(Unmarked):
    """Of swapped videos: the faces as they were put in, and beside them the same frames' as they were filmed.

    Both are cut from decoded frames in the same place, and neither was encoded again: what differs is the swap.

    Args:
        recipe: by which the run's own faces were cut; of a video as many are kept as detectors take of one.
        out: the folder of videos.
    """

    def __init__(self, recipe: FaceCrops, out: Path) -> None:
        frames = FaceCrops.frames
        super().__init__(
            out, replace(recipe, frames=frames, burst=1, search_every=1, faces="main", masks=False, device="cpu")
        )

    def chosen(self, places: Iterable[int]) -> set[int]:
        """Of the frames that show the face those in which it is kept."""
        numbers = sorted(places)
        return {numbers[at] for at in burst_indices(len(numbers), self.recipe.frames)}

    def has_both(self, fake: Item, real: Item) -> bool:
        """Whether the faces of a video are kept."""
        return self.has(fake.item) and self.has(real.item)

    def cut(self, frame: Pixels, place: Place) -> Pixels:
        """The face in a frame [H, W, 3] -> [S, S, 3]."""
        return warp(frame, self.recipe.matrix(*place), self.recipe.crop_size)

    def keep_both(self, fake: Item, real: Item, faces: Sequence[Kept]) -> None:
        """Keep the faces of a video, those that were made and those that were filmed."""
        number = np.array([face.number for face in faces], np.int64)
        for item, cut in (fake, [face.made for face in faces]), (real, [face.given for face in faces]):
            crops = Crops(
                track=np.zeros(len(number), np.int64),
                frame=number,
                time=np.array([face.time for face in faces]),
                box=np.stack([face.place.box for face in faces]),
                landmarks=np.stack([face.place.landmarks for face in faces]),
                prob=np.full(len(number), np.nan, np.float32),
                pixels=np.stack(cut).transpose(0, 3, 1, 2),  # [N, S, S, 3] -> [N, 3, S, S]
            )
            self.keep(item.item, crops)

    def finish(self, pairs: Sequence[tuple[Item, Item]]) -> None:
        """Make the store whole, of these videos, dealt to the splits in order, each beside what it was made of."""
        splits = [VIDEO_SPLITS[at % len(VIDEO_SPLITS)] for at in range(len(pairs))]
        items = []
        for (fake, real), split in zip(pairs, splits, strict=True):
            items += [replace(fake, given=split, source=real.item), replace(real, given=split)]
        if {item.item for item in items} == self.kept:
            return
        if self.kept:  # of more videos than there are now
            self.begin()
        self.join(items)


def method_of(run: Run) -> str:
    """What a generator's samples are called by: its preset's name, and its seed where that is not 0."""
    name, seed = str(run.config["name"]).rpartition("/")[2], run.config.get("seed", 0)
    return f"{name}_seed{seed}" if seed else name
