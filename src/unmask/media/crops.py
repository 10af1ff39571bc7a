"""The crops and the sound of one file, as returned by every recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import Statistics

Array = NDArray[np.float32]


@dataclass
class Crops:
    """The face crops of one file, ordered by track and frame; every array except `sound` has one row per crop."""

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.float64]  # s
    box: Array  # [N, 4], frame px
    landmarks: Array  # [N, 5, 2], frame px
    prob: Array  # [N]; NaN if the frame was not searched or the tracker filled a gap
    pixels: NDArray[np.uint8]  # [N, 3, S, S]
    masks: NDArray[np.uint8] | None = None  # [N, 1, S, S], 255 where the file was manipulated
    sound: NDArray[np.int16] | None = None  # [S], one channel of 16 kHz
    statistics: Statistics = field(default_factory=dict)  # of the file and its whole frames; used by the audit
    notes: Statistics = field(default_factory=dict)  # other facts about the file, not used by the audit
    brief: int = 0  # number of faces detected in too few frames to be cropped; counted only with `faces=all`

    @staticmethod
    def of_sound(sound: NDArray[np.int16], statistics: Statistics) -> "Crops":
        """Return the result of a recipe that stores only sound [S]; there are no pictures."""
        number, position = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
        return Crops(
            track=number, frame=number, time=np.zeros(0), box=position, landmarks=np.zeros((0, 5, 2), np.float32),
            prob=np.zeros(0, np.float32), pixels=np.zeros((0, 3, 0, 0), np.uint8), sound=sound, statistics=statistics,
        )  # fmt: skip

    @staticmethod
    def joined(pieces: Sequence["Crops"]) -> "Crops":
        """Concatenate the arrays of several `Crops`; fields that have a default keep this default."""
        return Crops(
            track=np.concatenate([piece.track for piece in pieces]),
            frame=np.concatenate([piece.frame for piece in pieces]),
            time=np.concatenate([piece.time for piece in pieces]),
            box=np.concatenate([piece.box for piece in pieces]),
            landmarks=np.concatenate([piece.landmarks for piece in pieces]),
            prob=np.concatenate([piece.prob for piece in pieces]),
            pixels=np.concatenate([piece.pixels for piece in pieces]),
        )
