"""Find one person's face in a video and render it as another person, frame by frame, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data.pixels import to_float
from unmask.generation.choice import Choice, Numbered
from unmask.generation.folder import batches
from unmask.generation.trained import FaceSwapper
from unmask.media.align import warp
from unmask.media.find import FaceFinder
from unmask.media.kinds import MediaError
from unmask.media.paste import match_colours, paste, rescale
from unmask.media.recipe import FaceCrops
from unmask.media.stream import stream
from unmask.media.track import associate, smooth

Pixels = NDArray[np.uint8]
MAIN = Numbered(0)  # the main face


class Place(NamedTuple):
    """The location of a face in a frame."""

    box: NDArray[np.float32]  # [4], px
    landmarks: NDArray[np.float32]  # [5, 2], px


class Face(NamedTuple):
    """The face of a frame before, during and after the swap."""

    place: Place
    filmed: Pixels  # [C, C, 3]: the original, at the size of the recipe's crops
    seen: Pixels  # [S, S, 3]: the input of the network
    drawn: Pixels  # [S, S, 3]: the output of the network, with colours matched to the input
    pasted: Pixels  # [S, S, 3]: the face in the swapped frame


class Swapped(NamedTuple):
    """A swapped frame without the watermark and the visible label, which detectors must not learn to recognise."""

    number: int  # number of the frame in its video
    frame: Pixels  # [H, W, 3]
    alpha: NDArray[np.float32]  # [H, W] in [0, 1]: opacity of the pasted face
    face: Face | None  # None if the frame shows no face


@dataclass
class Swapper:
    """Renders one person's face in a video as another person; all other faces remain unchanged.

    Args:
        module: the trained module.
        recipe: the crop recipe of the run.
        image_size: side of the network's input, px.
        identity: index of the person to render.
        search_every: number of frames from one face detection to the next; places in between are interpolated.
        blend: see `media.paste.paste`.
        colour: see `media.paste.match_colours`.
        feather: see `media.paste.paste`.
        batch_size: number of frames per batch.
        device: device of the network and the face finder.
        choice: chooses the person whose face is swapped; by default, the main face.
    """

    module: FaceSwapper
    recipe: FaceCrops
    image_size: int
    identity: int
    search_every: int = 2
    blend: str = "feather"
    colour: str = "reinhard"
    feather: float = 0.06
    batch_size: int = 16
    device: str = "cpu"
    choice: Choice = MAIN

    def __post_init__(self) -> None:
        self._finder = FaceFinder(self.recipe.long_side, device=self.device)
        self.module.to(self.device)

    def find(self, video: Path, frames: int) -> dict[int, Place]:
        """Return the place of the chosen face in each frame that shows it, by frame number.

        Raises:
            MediaError: no face is found or chosen, or the number of decoded frames is not `frames`.
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
            raise MediaError(f"the video is damaged: expected {frames} frames, but read {seen}")
        tracks = associate(found, self.recipe.min_prob)
        if not tracks:
            raise MediaError(f"no face found in {len(searched)} frame{'s' * (len(searched) != 1)}")
        places: dict[int, Place] = {}
        for piece in self.choice(video, tracks, searched):
            inside = np.arange(searched[piece.frames[0]], searched[piece.frames[-1]] + 1)
            for number, box, points in zip(inside, *smooth(piece, inside, np.array(searched)), strict=True):
                places[int(number)] = Place(box, points)
        return places

    def frames(self, video: Path, places: dict[int, Place]) -> Iterator[Swapped]:
        """Yield all frames of a video in order, unmarked; the face is swapped if the frame's number is in `places`."""
        for batch in batches(enumerate(stream(video)), self.batch_size):
            faces = [(number, frame, places[number]) for number, frame in batch if number in places]
            drawn = iter(self._draw(faces))
            for number, frame in batch:
                bare = Swapped(number, frame, np.zeros(frame.shape[:2], np.float32), None)
                yield next(drawn) if number in places else bare

    def _draw(self, faces: list[tuple[int, Pixels, Place]]) -> Iterator[Swapped]:
        """Swap the face in each frame of a batch; `faces` lists (number, frame [H, W, 3], place of the face)."""
        if not faces:
            return
        matrices = [self.recipe.matrix(*place) for _, _, place in faces]
        crops = [warp(frame, m, self.recipe.crop_size) for (_, frame, _), m in zip(faces, matrices, strict=True)]
        x = to_float(torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)), self.image_size)  # as in training
        pictures, masks = self.module.swap(x, torch.full((len(x),), self.identity))
        ratio = self.image_size / self.recipe.crop_size
        images = (_images(x), _images(pictures), _images(masks))
        for (number, frame, place), matrix, crop, seen, drawn, mask in zip(
            faces, matrices, crops, *images, strict=True
        ):
            seen, drawn, mask, matrix = 255 * seen, 255 * drawn, mask[..., 0], rescale(matrix, ratio)
            drawn = match_colours(drawn, seen, mask, self.colour)
            made, alpha = paste(frame, drawn, mask, matrix, self.blend, self.feather)
            pasted = warp(made, matrix, self.image_size)
            yield Swapped(number, made, alpha, Face(place, crop, _uint8(seen), _uint8(drawn), pasted))


def _images(x: Tensor) -> NDArray[np.float32]:
    """Convert a tensor [N, C, S, S] to an array [N, S, S, C]."""
    return np.ascontiguousarray(x.cpu().permute(0, 2, 3, 1).numpy())


def _uint8(picture: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
