"""Find the main face of a video and draw it as a person of a run, frame after frame, in memory that does not grow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.data.augment import to_float
from unmask.generation.folder import batches
from unmask.media.align import warp
from unmask.media.find import FaceFinder
from unmask.media.kinds import MediaError
from unmask.media.paste import match_colours, paste, rescale
from unmask.media.recipe import FaceCrops
from unmask.media.stream import stream
from unmask.media.track import associate, main_face, smooth

Pixels = NDArray[np.uint8]


class Place(NamedTuple):
    """Where a face is in a frame."""

    box: NDArray[np.float32]  # [4], px
    landmarks: NDArray[np.float32]  # [5, 2], px


class Face(NamedTuple):
    """What became of the face in a frame."""

    cut: Pixels  # [C, C, 3]: as it was filmed, at the size of the recipe's crops
    seen: Pixels  # [S, S, 3]: as the network saw it
    drawn: Pixels  # [S, S, 3]: as it drew it
    matrix: NDArray[np.float32]  # the map [2, 3] from the frame to the last two


class Swapped(NamedTuple):
    """A frame after the swap, before any mark: detectors may see this one."""

    frame: Pixels  # [H, W, 3]
    alpha: NDArray[np.float32]  # [H, W] in [0, 1]: how much of it was put in
    face: Face | None  # None where the frame shows none


@dataclass
class Swapper:
    """Draws the main face of a video as somebody.

    Args:
        module: with `swap`.
        recipe: by which the run's faces were cut.
        image_size: px that the network sees.
        identity: number of the person to draw.
        search_every: faces are found in every n-th frame, and followed in between.
        blend: see `media.paste.paste`.
        colour: see `media.paste.match_colours`.
        feather: see `media.paste.paste`.
        batch_size: frames at once.
        device: of the network and the finder.
    """

    module: Any
    recipe: FaceCrops
    image_size: int
    identity: int
    search_every: int = 2
    blend: str = "feather"
    colour: str = "reinhard"
    feather: float = 0.06
    batch_size: int = 16
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._finder = FaceFinder(self.recipe.long_side, device=self.device)
        self.module.to(self.device)

    def find(self, video: Path, frames: int) -> dict[int, Place]:
        """Where the main face is in each frame that shows it, by frame number.

        Raises:
            MediaError: no face is found, or the video ends early.
        """
        searched: list[int] = []
        found, seen = [], 0

        def wanted() -> Iterator[Pixels]:
            nonlocal seen
            for number, frame in enumerate(stream(video)):
                seen = number + 1
                if number % self.search_every == 0 or number == frames - 1:
                    searched.append(number)
                    yield frame

        for batch in batches(wanted(), self.batch_size):
            found += self._finder(np.stack(batch))
        if seen != frames:
            raise MediaError(f"it should have {frames} frames and shows {seen}: it is damaged")
        tracks = associate(found, self.recipe.min_prob)
        if not tracks:
            raise MediaError(f"no face found in {len(searched)} frames")
        places: dict[int, Place] = {}
        for piece in main_face(tracks):
            inside = np.arange(searched[piece.frames[0]], searched[piece.frames[-1]] + 1)
            for number, box, points in zip(inside, *smooth(piece, inside, np.array(searched)), strict=True):
                places[int(number)] = Place(box, points)
        return places

    def frames(self, video: Path, places: dict[int, Place]) -> Iterator[Swapped]:
        """Every frame of a video, the face drawn anew where there is one; before any mark."""
        for batch in batches(enumerate(stream(video)), self.batch_size):
            shown = [(number, frame) for number, frame in batch if number in places]
            where = [self.recipe.matrix(*places[number]) for number, _ in shown]
            drawn = iter(self._draw([frame for _, frame in shown], where))
            for number, frame in batch:
                if number in places:
                    yield next(drawn)
                else:
                    yield Swapped(frame, np.zeros(frame.shape[:2], np.float32), None)

    def _draw(self, frames: list[Pixels], matrices: list[NDArray[np.float32]]) -> Iterator[Swapped]:
        if not frames:
            return
        cuts = np.stack([warp(f, m, self.recipe.crop_size) for f, m in zip(frames, matrices, strict=True)])
        x = to_float(torch.from_numpy(cuts.transpose(0, 3, 1, 2)), self.image_size)  # as in training
        pictures, masks = self.module.swap(x, torch.full((len(x),), self.identity))
        ratio = self.image_size / self.recipe.crop_size
        for frame, matrix, cut, face, picture, mask in zip(frames, matrices, cuts, x, pictures, masks, strict=True):
            seen, drawn = (255 * np.ascontiguousarray(t.cpu().permute(1, 2, 0).numpy()) for t in (face, picture))
            where = mask[0].cpu().numpy()
            drawn, place = match_colours(drawn, seen, where, self.colour), rescale(matrix, ratio)
            made, alpha = paste(frame, drawn, where, place, self.blend, self.feather)
            yield Swapped(made, alpha, Face(cut, _uint8(seen), _uint8(drawn), place))


def _uint8(picture: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
