"""The recipe that stores whole pictures or video frames (paintings, scenes, cropped faces) instead of face crops."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.crops import Crops
from unmask.media.decoders import decoder_version
from unmask.media.find import Array, FaceFinder
from unmask.media.indices import burst_indices
from unmask.media.kinds import MEDIA, MediaError, is_picture
from unmask.media.probe import Look, file_statistics, look, look_statistics
from unmask.media.reader import open_media, read_mask

VERSION = 2  # increase this when the same settings give different pixels, so that no stale crop is used
FITS = ("stretch", "cut")
NO_VIDEO = "data.recipe.landmarks=true supports only pictures; for videos, use data/recipe=faces"


class _Seen(NamedTuple):
    """What is kept of one frame after it has been read."""

    size: tuple[int, int]  # height and width of the frame, px
    pixels: NDArray[np.uint8]  # [S, S, 3]
    landmarks: Array  # [5, 2]; NaN if not searched
    look: Look


def _joined(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Stack N pictures [S, S, C] -> [N, C, S, S]."""
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), dtype=np.uint8)


@dataclass
class WholePictures:
    """Read a picture, or frames of a video, and resize them to `crop_size`; a picture of this size is not changed.

    Args:
        frames: number of frames taken from a video; a picture counts as one frame.
        burst: length of each run of consecutive frames; 1 spreads all frames evenly.
        crop_size: side of the stored picture, px.
        fit: how a picture that is not square is handled: `stretch` distorts it, `cut` keeps the middle square.
        square: with `cut`, the side of the middle square, px; None for the shorter side of the picture. Papers on
            generators often keep a square of 108 to 148 px of CelebA's pictures, which have 178x218 px.
        landmarks: also find the landmarks of the largest face, for self-blending; videos, and pictures without a face,
            are then rejected.
        masks: also store the manipulation masks, for localisation.
        decoder: video decoder: `auto`, `decord`, `pyav` or `torchcodec`.
        device: where face detection runs; it is not part of `key`.
    """

    crop_size: int = 256
    fit: str = "stretch"
    landmarks: bool = False
    masks: bool = False
    frames: int = 32
    burst: int = 1
    decoder: str = "auto"
    device: str = "cpu"
    square: int | None = None

    #: Suffixes of the files that this recipe can read.
    suffixes: ClassVar[frozenset[str]] = MEDIA
    #: Name of this recipe in a config: `data/recipe=pictures`.
    option: ClassVar[str] = "pictures"
    sees: ClassVar[bool] = True
    hears: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit={self.fit}: expected {' or '.join(FITS)}")
        if self.square is not None and (self.fit != "cut" or self.square < 1):
            raise ValueError(f"square={self.square}, fit={self.fit}: expected fit=cut and a side of at least 1 px")
        burst_indices(self.frames + 1, self.frames, self.burst)
        self._finder: FaceFinder | None = None

    def describe(self) -> dict[str, object]:
        """Return everything that determines the pixels: settings, decoder and its version."""
        settings = {key: value for key, value in asdict(self).items() if key != "device"}
        if self.square is None:
            del settings["square"]  # the pixels, and thus the key, are those from before this setting existed
        return settings | {
            "decoder": f"Pillow for pictures, {decoder_version(self.decoder)} for videos",
            "version": VERSION,
        }

    @property
    def key(self) -> str:
        """A hash of `describe()`; recipes with the same key give the same pixels."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:10]

    def words(self, image_size: int) -> str:
        """Describe the network's input in words, for the section of a report that states the protocol."""
        square = "middle square" if self.square is None else f"middle square of {self.square} px"
        shown = "whole picture stretched" if self.fit == "stretch" else f"{square} resized"
        return f"{shown} to {self.crop_size} px, network input {image_size} px"

    def landmarks_in_crop(self, box: Array, landmarks: Array) -> Array:
        """Map landmarks [N, 5, 2] from frame px to crop px; `box` [N, 4] is the part of each frame that is cropped."""
        scale = self.crop_size / (box[:, 2:] - box[:, :2])
        return np.asarray((landmarks - box[:, None, :2]) * scale[:, None], np.float32)

    def use(self, finder: FaceFinder) -> None:
        """Detect faces with `finder` from now on; it must find the same faces as the default one."""
        self._finder = finder

    def __getstate__(self) -> dict[str, object]:
        return asdict(self)  # each process builds its own finder

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        """Return one crop per frame; if the recipe stores masks, include them (all zero if `mask` is None).

        Raises:
            MediaError: the file or its mask cannot be read, their sizes differ, or `landmarks` is set and the file is a
                video or shows no face.
        """
        if self.landmarks and not is_picture(path):
            raise MediaError(NO_VIDEO)
        reader = open_media(path, self.decoder)
        numbers = np.array(burst_indices(len(reader), self.frames, self.burst), np.int64)
        seen = reader.each(numbers.tolist(), partial(self._see, count=len(numbers)))
        crops = self._crops(seen, numbers, reader.times(numbers.tolist()))
        crops.statistics = file_statistics(path) | look_statistics([one.look for one in seen])
        if self.masks:
            crops.masks = self._masks(mask, numbers, seen[0].size)
        return crops

    def cut(self, frames: NDArray[np.uint8], numbers: NDArray[np.int64], times: NDArray[np.float64]) -> Crops:
        """Return the crops of frames [N, H, W, 3] with frame numbers `numbers` [N] and times `times` [N], s.

        Raises:
            MediaError: `landmarks` is set, but there are several frames, or the only frame shows no face.
        """
        if self.landmarks and len(frames) > 1:
            raise MediaError(NO_VIDEO)
        return self._crops([self._see(at, frame, len(frames)) for at, frame in enumerate(frames)], numbers, times)

    def recut(self, frame: NDArray[np.uint8], box: Array, landmarks: Array) -> NDArray[np.uint8]:
        """Return the stored picture [S, S, 3] of a frame [H, W, 3]; `box` and `landmarks` are not used."""
        return self._fit(frame)

    def _crops(self, seen: "Sequence[_Seen]", numbers: NDArray[np.int64], times: NDArray[np.float64]) -> Crops:
        count, (height, width) = len(seen), seen[0].size
        return Crops(
            track=np.zeros(count, np.int64),
            frame=numbers,
            time=times,
            box=np.repeat(self._shown(height, width)[None], count, 0).astype(np.float32),
            landmarks=np.stack([one.landmarks for one in seen]),
            prob=np.full(count, np.nan, np.float32),
            pixels=_joined([one.pixels for one in seen]),
        )

    def _see(self, number: int, frame: NDArray[np.uint8], count: int) -> "_Seen":
        """Summarise the `number`-th of `count` frames [H, W, 3], so that a video needs little memory."""
        landmarks = self._find(frame) if self.landmarks else np.full((5, 2), np.nan, np.float32)
        height, width = frame.shape[:2]
        return _Seen((height, width), self._fit(frame), landmarks, look(frame, number, count))

    def _masks(self, path: Path | None, numbers: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return the masks [N, 1, S, S] of these frames, 0 or 255."""
        if path is None:
            return np.zeros((len(numbers), 1, self.crop_size, self.crop_size), np.uint8)
        shown = read_mask(path, numbers.tolist(), size, self.decoder, lambda _, frame: self._fit(frame)[..., :1])
        return np.where(_joined(shown) > 127, 255, 0).astype(np.uint8)

    def _shown(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the part of a picture that is stored, as a box: left, top, right, bottom."""
        if self.fit == "stretch":
            return np.array([0, 0, width, height])
        side = self.square or min(height, width)
        if side > min(height, width):
            raise MediaError(
                f"it has {width}x{height} px: expected at least data.recipe.square={side} px on each side; set a "
                "smaller data.recipe.square"
            )
        left, top = (width - side) // 2, (height - side) // 2
        return np.array([left, top, left + side, top + side])

    def _fit(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize a picture [H, W, 3] -> [S, S, 3]."""
        left, top, right, bottom = self._shown(*frame.shape[:2])
        size = (self.crop_size, self.crop_size)
        kept = frame[top:bottom, left:right]
        if kept.shape[:2] == size:
            return kept.copy()
        smaller = bottom - top > self.crop_size or right - left > self.crop_size
        return cv2.resize(kept, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR).astype(np.uint8)

    def _find(self, frame: NDArray[np.uint8]) -> Array:
        """Return the landmarks [5, 2] of the largest face."""
        self._finder = self._finder or FaceFinder(device=self.device)
        faces = self._finder(frame[None])[0]
        if not len(faces.boxes):
            raise MediaError("no face found")
        area = (faces.boxes[:, 2] - faces.boxes[:, 0]) * (faces.boxes[:, 3] - faces.boxes[:, 1])
        found: Array = faces.landmarks[int(area.argmax())]
        return found
