"""The faces of swapped videos before marking, beside the same frames' faces as they were filmed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.data.manifest import Item
from unmask.generation.swapper import Face, Place, Swapped
from unmask.generation.unmarked import Unmarked
from unmask.media.align import warp
from unmask.media.crops import Crops
from unmask.media.indices import burst_indices
from unmask.media.recipe import FaceCrops

# Of ten videos in order: three are enough to train, to validate and to test.
SPLITS = ("train", "val", "test", *("train",) * 2, "test", *("train",) * 3, "test")
Pixels = NDArray[np.uint8]


class KeptFace(NamedTuple):
    """A face in one frame of a swapped video."""

    number: int  # of the frame
    time: float  # at which it is shown, s after the first one
    place: Place
    made: Pixels  # [S, S, 3]
    filmed: Pixels  # likewise


class UnmarkedFaces(Unmarked[FaceCrops]):
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

    def chosen(self, numbers: Iterable[int]) -> set[int]:
        """Of the frames that show the face those in which it is kept."""
        ordered = sorted(numbers)
        return {ordered[at] for at in burst_indices(len(ordered), self.recipe.frames)}

    def has_both(self, fake: Item, real: Item) -> bool:
        """Whether the faces of a video are kept."""
        return self.has(fake.item) and self.has(real.item)

    def cut(self, swapped: Swapped, face: Face, time: float) -> KeptFace:
        """The face of a frame, which is shown at `time`, s."""
        made = warp(swapped.frame, self.recipe.matrix(*face.place), self.recipe.crop_size)
        return KeptFace(swapped.number, time, face.place, made, face.filmed)

    def keep_both(self, fake: Item, real: Item, faces: Sequence[KeptFace]) -> None:
        """Keep the faces of a video, those that were made and those that were filmed."""
        number = np.array([face.number for face in faces], np.int64)
        for item, cut in (fake, [face.made for face in faces]), (real, [face.filmed for face in faces]):
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
        items: list[Item] = []
        for at, (fake, real) in enumerate(pairs):
            split = SPLITS[at % len(SPLITS)]
            items += [replace(fake, predefined=split, source=real.item), replace(real, predefined=split)]
        if {item.item for item in items} == self.kept:
            return
        if self.kept:  # of more videos than there are now
            self.reopen()
        self.merge(items)
