"""Store the unmarked faces of swapped videos, along with the original faces of the same frames."""

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

# Splits of ten consecutive videos; the first three videos are in different splits, so that no split is empty.
SPLITS = ("train", "val", "test", *("train",) * 2, "test", *("train",) * 3, "test")
Pixels = NDArray[np.uint8]


class KeptFace(NamedTuple):
    """A face in one frame of a swapped video."""

    number: int  # number of the frame in its video
    time: float  # presentation time, s after the first frame
    place: Place
    made: Pixels  # [S, S, 3], from the swapped frame
    filmed: Pixels  # [S, S, 3], from the original frame


class UnmarkedFaces(Unmarked[FaceCrops]):
    """A store of the unmarked swapped faces of videos, along with the original faces in the same frames.

    Both faces are cropped at the same place of a decoded frame. The swapped frame is not encoded before the crop, so
    the two crops differ only by the swap.

    Args:
        recipe: the crop recipe of the run. Its `frames` is replaced by the default number of frames per video.
        out: the folder of videos.
    """

    def __init__(self, recipe: FaceCrops, out: Path) -> None:
        frames = FaceCrops.frames
        super().__init__(
            out, replace(recipe, frames=frames, burst=1, search_every=1, faces="main", masks=False, device="cpu")
        )

    def chosen(self, numbers: Iterable[int]) -> set[int]:
        """Choose the frames whose faces are stored; `numbers` are the numbers of all frames that show the face."""
        ordered = sorted(numbers)
        return {ordered[at] for at in burst_indices(len(ordered), self.recipe.frames)}

    def has_both(self, fake: Item, real: Item) -> bool:
        """Return whether both the swapped and the original faces of a video are stored."""
        return self.has(fake.item) and self.has(real.item)

    def cut(self, swapped: Swapped, face: Face, time: float) -> KeptFace:
        """Crop the face of a frame; `time` is the frame's presentation time in s."""
        made = warp(swapped.frame, self.recipe.matrix(*face.place), self.recipe.crop_size)
        return KeptFace(swapped.number, time, face.place, made, face.filmed)

    def keep_both(self, fake: Item, real: Item, faces: Sequence[KeptFace]) -> None:
        """Store both the swapped and the original faces of a video."""
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
        """Finish the store: write the tables of these (swapped, original) pairs. Pair i gets split `SPLITS[i % 10]`."""
        items: list[Item] = []
        for at, (fake, real) in enumerate(pairs):
            split = SPLITS[at % len(SPLITS)]
            items += [replace(fake, predefined=split, source=real.item), replace(real, predefined=split)]
        if {item.item for item in items} == self.kept:
            return
        if self.kept:  # the finished store does not contain exactly these videos
            self.reopen()
        self.merge(items)
