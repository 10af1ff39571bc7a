"""Choose whose face is swapped in a video of several people: by a number, or by similarity to a photo."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from unmask.evaluation.swaps import Embed
from unmask.media.align import warp
from unmask.media.kinds import MediaError
from unmask.media.recipe import FaceCrops
from unmask.media.stream import stream
from unmask.media.track import Track, all_faces
from unmask.metrics import generation

Pixels = NDArray[np.uint8]
SEEN = 5  # number of detections of a track, evenly spaced, whose embeddings are compared with the photo


class Choice(Protocol):
    """A rule that selects the face tracks of one person among all tracks of a video."""

    def __call__(self, video: Path, tracks: list[Track], searched: Sequence[int]) -> list[Track]:
        """Return the tracks of the chosen person in order of time; no two of them share a frame.

        Args:
            video: the video.
            tracks: result of `media.track.associate`.
            searched: numbers of the frames in which faces were searched; `Track.frames` are positions in this list.

        Raises:
            MediaError: the video does not show the person.
        """


@dataclass(frozen=True)
class Numbered:
    """Chooses a face by its number: 0 is the main face, 1 the next one, and so on (see `media.track.all_faces`)."""

    number: int = 0

    def __call__(self, video: Path, tracks: list[Track], searched: Sequence[int]) -> list[Track]:
        """Return the tracks of the face with this number; see `Choice`."""
        faces, _ = all_faces(tracks, len(searched))
        if self.number >= len(faces):
            raise MediaError(f"person={self.number}: expected a number below {len(faces)}, the number of faces found")
        return faces[self.number]


@dataclass(frozen=True)
class OfPhoto:
    """Chooses the faces that are similar to the face in a photo.

    Each track is compared with the photo separately, so the person is found again after a cut, and other people are
    never chosen in their place.

    Args:
        photo: name of the photo, for messages.
        wanted: embedding of the person [F].
        embed: faces [N, 3, S, S] in [0, 1] -> embeddings [N, F].
        recipe: the recipe that crops faces.
        threshold: minimum cosine similarity of embeddings.
    """

    photo: Path
    wanted: Tensor
    embed: Embed
    recipe: FaceCrops
    threshold: float

    def __call__(self, video: Path, tracks: list[Track], searched: Sequence[int]) -> list[Track]:
        """Return the tracks of the person in the photo; see `Choice`."""
        similarity = self.similarity(video, tracks, searched)
        chosen: list[Track] = []
        for at in np.argsort(-similarity):
            apart = all(tracks[at].frames[-1] < o.frames[0] or o.frames[-1] < tracks[at].frames[0] for o in chosen)
            if similarity[at] >= self.threshold and apart:
                chosen.append(tracks[at])
        if not chosen:
            raise MediaError(
                f"no face is similar to photo={self.photo}: the highest of {len(tracks)} similarities is "
                f"{similarity.max():.2f}, below threshold={self.threshold}"
            )
        return sorted(chosen, key=lambda track: track.frames[0])

    def similarity(self, video: Path, tracks: list[Track], searched: Sequence[int]) -> NDArray[np.float64]:
        """Return the cosine similarity [T] of each track's face to the photo.

        A track is represented by the mean embedding of at most `SEEN` of its detections.
        """
        spaced = [np.unique(np.linspace(0, len(t.frames) - 1, SEEN).round().astype(int)).tolist() for t in tracks]
        wanted = {(searched[t.frames[at]], n): at for n, t in enumerate(tracks) for at in spaced[n]}
        cut: dict[int, list[Pixels]] = {n: [] for n in range(len(tracks))}
        last = max(number for number, _ in wanted)
        for number, frame in enumerate(stream(video)):
            for n, track in enumerate(tracks):
                if (at := wanted.get((number, n))) is not None:
                    matrix = self.recipe.matrix(track.boxes[at], track.landmarks[at])
                    cut[n].append(warp(frame, matrix, self.recipe.crop_size))
            if number == last:
                break
        means = torch.stack([mean_embedding(self.embed, np.stack(faces)) for faces in cut.values()])
        return generation.identity(means, self.wanted.expand(len(means), -1)).double().cpu().numpy()


def of_photo(photo: Path, embed: Embed, recipe: FaceCrops, threshold: float) -> OfPhoto:
    """Return a rule that chooses the person whose face is the main face of a photo or video.

    Args:
        photo: a picture or a video of the person.
        embed: faces [N, 3, S, S] in [0, 1] -> embeddings [N, F].
        recipe: the recipe that crops faces.
        threshold: minimum cosine similarity of embeddings.

    Raises:
        ValueError: the photo cannot be read or shows no face.
    """
    plain = replace(recipe, frames=SEEN, burst=1, search_every=1, faces="main", masks=False)
    try:
        faces = plain(photo).pixels  # [N, 3, S, S]
    except MediaError as error:
        raise ValueError(f"photo={photo}: {error}") from error
    return OfPhoto(photo, mean_embedding(embed, faces.transpose(0, 2, 3, 1)), embed, recipe, threshold)


def mean_embedding(embed: Embed, faces: Pixels) -> Tensor:
    """Return the mean of the normalised embeddings [F] of faces [N, S, S, 3]."""
    x = torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2))) / 255
    return normalize(embed(x)).mean(0)
