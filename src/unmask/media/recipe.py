"""The recipe that turns a file into face crops, used both to prepare a data set and to score a single file."""

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unmask.media.align import align_matrix, crop_matrix, warp
from unmask.media.crops import Crops
from unmask.media.decoders import decoder_version
from unmask.media.find import Array, FaceFinder
from unmask.media.indices import burst_indices, spaced
from unmask.media.kinds import MEDIA, MediaError, Statistics
from unmask.media.loudness import waveform_statistics
from unmask.media.pcm import to_int16
from unmask.media.probe import file_statistics, frame_statistics
from unmask.media.reader import open_media, read_mask
from unmask.media.track import Track, all_faces, associate, changed, main_face, smooth
from unmask.media.waveform import read_beside

NO_SOUND = ("sound", False)
VERSION = 3  # increase this when the same settings give different pixels, so that no stale crop is used


@dataclass
class FaceCrops:
    """Decode frames, detect and track faces, and crop them.

    Args:
        frames: number of frames taken from a video.
        burst: length of each run of consecutive frames, a divisor of `frames`; 1 spreads all frames evenly. If it
            exceeds `frames`, there is one run. Temporal detectors need long runs.
        crop_size: side of a stored crop, px.
        margin: added to the face box, as a share of its longer side.
        align: align the face by its landmarks; if false, crop the box without rotating it.
        search_every: detect faces in every n-th frame of the video; boxes in the frames between are interpolated.
            Frames that are at least this far apart are all searched.
        long_side: longest side of a frame during detection, px.
        min_prob: minimum probability of a detection.
        faces: `main` keeps the face that the video shows most. `all` also keeps other faces that are detected often
            enough (see `all_faces`); each gets a track number. If the file has a mask, only faces that the mask
            touches are kept, because other faces are not fake.
        masks: also crop the manipulation masks, for localisation.
        sound: also store the sound of a video; videos without sound, and pictures, are then rejected.
        decoder: video decoder: `auto`, `decord`, `pyav` or `torchcodec`.
        device: where face detection runs; it is not part of `key`.
    """

    frames: int = 32
    burst: int = 4
    crop_size: int = 256
    margin: float = 0.3
    align: bool = False
    search_every: int = 2
    long_side: int = 480
    min_prob: float = 0.9
    faces: str = "main"
    masks: bool = False
    sound: bool = False
    decoder: str = "auto"
    device: str = "cpu"

    #: Suffixes of the files that this recipe can read.
    suffixes: ClassVar[frozenset[str]] = MEDIA
    #: Name of this recipe in a config: `data/recipe=faces`.
    option: ClassVar[str] = "faces"
    sees: ClassVar[bool] = True

    def __post_init__(self) -> None:
        burst_indices(self.frames + 1, self.frames, self.burst)
        if self.faces not in ("main", "all"):
            raise ValueError(f"faces={self.faces}: expected main or all")
        if self.search_every < 1:
            raise ValueError(f"search_every={self.search_every}: expected a number of frames, at least 1")
        self._finder: FaceFinder | None = None

    def describe(self) -> dict[str, object]:
        """Return everything that determines the pixels: settings, decoder and its version."""
        # Crops without sound have the same key as in versions that could not store sound.
        settings = {key: value for key, value in asdict(self).items() if key != "device" and (key, value) != NO_SOUND}
        # Older versions counted `search_every` in chosen frames instead of frames of the video. Both search the same
        # frames if each burst is a multiple of `search_every`; crops of such recipes remain valid.
        version = VERSION + 1 if self.burst % self.search_every else VERSION
        return settings | {"decoder": decoder_version(self.decoder), "version": version, "finder": "MTCNN"}

    @property
    def hears(self) -> bool:
        """Whether the sound of a video is stored, too."""
        return self.sound

    @property
    def key(self) -> str:
        """A hash of `describe()`; recipes with the same key give the same pixels."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:10]

    def words(self, image_size: int) -> str:
        """Describe the network's input in words, for the section of a report that states the protocol."""
        kind = "aligned by landmarks" if self.align else "box"
        stored = f"stored at {self.crop_size} px, network input {image_size} px"
        return f"MTCNN face {kind} with margin {self.margin}, {stored}"

    def landmarks_in_crop(self, box: Array, landmarks: Array) -> Array:
        """Map landmarks [N, 5, 2] of faces with boxes [N, 4] from frame px to crop px."""
        matrices = np.stack([self.matrix(one, points) for one, points in zip(box, landmarks, strict=True)])
        moved: Array = np.einsum("nij,nkj->nki", matrices[:, :, :2], landmarks) + matrices[:, None, :, 2]
        return moved

    def use(self, finder: FaceFinder) -> None:
        """Detect faces with `finder` from now on; it must find the same faces as the default one."""
        self._finder = finder

    def __getstate__(self) -> dict[str, object]:
        return asdict(self)  # each process builds its own finder

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        """Return the crops of one file; if `masks` is set, also return the matching crops of its mask.

        Args:
            path: a video or a picture.
            mask: a file that is white where `path` was manipulated; also selects the faces. If None, mask crops are 0.

        Raises:
            MediaError: the file or its mask cannot be read, their sizes differ, no face is found, the mask touches no
                face, or `sound` is set and the file has no sound.
        """
        reader = open_media(path, self.decoder)
        numbers = np.array(burst_indices(len(reader), self.frames, self.burst))
        frames = reader.read(numbers.tolist())
        shown = None if mask is None else read_mask(mask, numbers.tolist(), frames.shape[1:3], self.decoder)
        crops = self.cut(frames, numbers, reader.times(numbers.tolist()), shown)
        crops.statistics = file_statistics(path) | frame_statistics(frames)
        if self.masks:
            crops.masks = self._cut_masks(crops, shown, numbers)
        if self.sound:
            recording = read_beside(path)
            crops.sound = to_int16(recording.sound)
            measured = waveform_statistics(recording.sound)
            crops.statistics |= {f"sound_{name}": value for name, value in measured.items()}
        return crops

    def _cut_masks(
        self, crops: Crops, shown: NDArray[np.uint8] | None, numbers: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Crop the mask frames exactly as the file's frames were cropped -> [N, 1, S, S], 0 or 255."""
        if shown is None:
            return np.zeros((len(crops.frame), 1, self.crop_size, self.crop_size), np.uint8)
        place = {int(number): at for at, number in enumerate(numbers)}
        cut = [
            self._warp(shown[place[int(frame)]], box, points)[..., :1]
            for frame, box, points in zip(crops.frame, crops.box, crops.landmarks, strict=True)
        ]
        return np.where(np.stack(cut).transpose(0, 3, 1, 2) > 127, 255, 0).astype(np.uint8)

    def cut(
        self,
        frames: NDArray[np.uint8],
        numbers: NDArray[np.int64],
        times: NDArray[np.float64],
        masks: NDArray[np.uint8] | None = None,
    ) -> Crops:
        """Return the crops of frames [N, H, W, 3] with frame numbers `numbers` [N] and times `times` [N], s.

        If masks [N, H, W, 3] of the frames are given, only faces that a mask touches are cropped, and
        `notes["untouched_faces"]` is the number of faces that no mask touches.

        Raises:
            MediaError: no face is found, or no mask touches a face.
        """
        self._finder = self._finder or FaceFinder(self.long_side, device=self.device)
        searched = spaced(numbers, self.search_every)
        some = frames if len(searched) == len(frames) else frames[searched]
        tracks = associate(self._finder(some), self.min_prob)
        if not tracks:
            raise MediaError(f"no face found in {len(searched)} frame{'s' * (len(searched) != 1)}")
        notes: Statistics = {}
        if masks is not None:
            tracks, untouched = changed(tracks, masks[searched, ..., 0] > 127)
            notes["untouched_faces"] = float(len(all_faces(untouched, len(searched))[0]))
            if not tracks:
                raise MediaError("its mask touches none of the faces found, so it is unknown which face is fake")
        faces, brief = all_faces(tracks, len(searched)) if self.faces == "all" else ([main_face(tracks)], 0)
        pieces = [
            self._cut_track(number, piece, frames, numbers, searched, times)
            for number, face in enumerate(faces)
            for piece in face
        ]
        return dataclasses.replace(Crops.joined(pieces), notes=notes, brief=brief)

    def _cut_track(
        self,
        number: int,
        track: Track,
        frames: NDArray[np.uint8],
        numbers: NDArray[np.int64],
        searched: NDArray[np.int64],
        times: NDArray[np.float64],
    ) -> Crops:
        # A face is cropped only from the first to the last frame in which it was detected.
        first, last = searched[track.frames[0]], searched[track.frames[-1]]
        inside = np.arange(first, last + 1)
        boxes, landmarks = smooth(track, numbers[inside], numbers[searched])
        prob = np.full(len(frames), np.nan, np.float32)
        prob[searched[track.frames]] = track.probs
        pixels = [self._warp(frames[at], box, points) for at, box, points in zip(inside, boxes, landmarks, strict=True)]
        return Crops(
            track=np.full(len(inside), number, np.int64),
            frame=numbers[inside],
            time=times[inside],
            box=boxes,
            landmarks=landmarks,
            prob=prob[inside],
            pixels=np.stack(pixels).transpose(0, 3, 1, 2),  # [N, S, S, 3] -> [N, 3, S, S]
        )

    def recut(self, frame: NDArray[np.uint8], box: Array, landmarks: Array) -> NDArray[np.uint8]:
        """Return the crop [S, S, 3] of a face whose box [4] and landmarks [5, 2] in a frame [H, W, 3] are known, px."""
        return self._warp(frame, box, landmarks)

    def _warp(self, frame: NDArray[np.uint8], box: Array, landmarks: Array) -> NDArray[np.uint8]:
        return warp(frame, self.matrix(box, landmarks), self.crop_size)

    def matrix(self, box: Array, landmarks: Array) -> Array:
        """Return the affine matrix [2, 3] from frame px to the px of a face's crop."""
        if self.align:
            return align_matrix(landmarks, self.crop_size, self.margin)
        return crop_matrix(box, self.crop_size, self.margin)
