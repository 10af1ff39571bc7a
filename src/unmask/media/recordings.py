"""The recipe that stores the sound of recordings and videos, used both to prepare a data set and to score a file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from unmask.media.crops import Crops
from unmask.media.decoders import decoder_version
from unmask.media.kinds import AUDIBLE, MediaError
from unmask.media.loudness import sound_statistics
from unmask.media.pcm import RATE, to_int16
from unmask.media.waveform import MOST_SECONDS, read_waveform

VERSION = 1  # increase this when the same settings give different samples, so that no stale sound is used


@dataclass
class Recordings:
    """Decode the sound of a file, mix its channels, and resample it to 16 kHz.

    Args:
        shortest: minimum duration of a recording, s; shorter recordings are rejected.
        longest: maximum duration of a recording, s; longer recordings are rejected.
    """

    shortest: float = 0.1
    longest: float = 600.0

    #: Suffixes of the files that this recipe can read.
    suffixes: ClassVar[frozenset[str]] = AUDIBLE
    #: Name of this recipe in a config: `data/recipe=sound`.
    option: ClassVar[str] = "sound"
    masks: ClassVar[bool] = False
    sees: ClassVar[bool] = False
    hears: ClassVar[bool] = True
    #: A recording is stored as a whole.
    frames: ClassVar[int] = 1
    burst: ClassVar[int] = 1
    decoder: ClassVar[str] = "pyav"

    def __post_init__(self) -> None:
        self.shortest, self.longest = float(self.shortest), float(self.longest)  # 60 and 60.0 have the same key
        if not 0 < self.shortest < self.longest <= MOST_SECONDS:
            raise ValueError(
                f"shortest={self.shortest}, longest={self.longest}: expected durations in s with 0 < shortest < "
                f"longest <= {MOST_SECONDS:.0f}"
            )

    def describe(self) -> dict[str, object]:
        """Return everything that determines the samples: settings, decoder and its version."""
        return asdict(self) | {"rate": RATE, "decoder": decoder_version(self.decoder), "version": VERSION}

    @property
    def key(self) -> str:
        """A hash of `describe()`; recipes with the same key give the same samples."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:10]

    def words(self, image_size: int) -> str:
        """Describe the network's input in words, for the section of a report that states the protocol."""
        return f"sound, one channel, {RATE // 1000} kHz, 16 bits"

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        """Return the sound of one file and its statistics; `mask` is not used.

        Raises:
            MediaError: the file has no sound that can be read, or is shorter than `shortest` or longer than `longest`.
        """
        recording = read_waveform(path, self.longest)
        if (seconds := len(recording.sound) / RATE) < self.shortest:
            raise MediaError(f"too short: {seconds:.3f} s of sound, expected at least {self.shortest} s")
        return Crops.of_sound(to_int16(recording.sound), sound_statistics(path, recording))

    def landmarks_in_crop(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NoReturn:
        """Raise an error, because sound has no landmarks."""
        _no_pictures()

    def cut(self, frames: NDArray[np.uint8], numbers: NDArray[np.int64], times: NDArray[np.float64]) -> NoReturn:
        """Raise an error, because this recipe stores no frames."""
        _no_pictures()

    def recut(self, frame: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NoReturn:
        """Raise an error, because this recipe stores no frames."""
        _no_pictures()


def _no_pictures() -> NoReturn:
    raise MediaError("data/recipe=sound reads only sound; for pictures and frames, use data/recipe=faces or pictures")
