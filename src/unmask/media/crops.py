"""The crops of one file, as every recipe gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import Statistics

Array = NDArray[np.float32]


@dataclass
class Crops:
    """The face crops of one file, in order of track and frame; all arrays have one row a crop."""

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    time: NDArray[np.float64]  # s
    box: Array  # [N, 4], px of the frame
    landmarks: Array  # [N, 5, 2], px of the frame
    prob: Array  # [N]; NaN where the frame was not searched or the tracker filled a gap
    pixels: NDArray[np.uint8]  # [N, 3, S, S]
    masks: NDArray[np.uint8] | None = None  # [N, 1, S, S], 255 where the file was manipulated
    statistics: Statistics = field(default_factory=dict)  # of the file, apart from its picture; the audit reads them
    notes: Statistics = field(default_factory=dict)  # what else is known of it; no audit reads these
    brief: int = 0  # faces that were seen in too few frames to be cut; counted with `faces=all`

    @staticmethod
    def joined(pieces: Sequence["Crops"]) -> "Crops":
        """The crops of several pieces, one after the other; without masks, statistics and notes."""
        return Crops(
            track=np.concatenate([piece.track for piece in pieces]),
            frame=np.concatenate([piece.frame for piece in pieces]),
            time=np.concatenate([piece.time for piece in pieces]),
            box=np.concatenate([piece.box for piece in pieces]),
            landmarks=np.concatenate([piece.landmarks for piece in pieces]),
            prob=np.concatenate([piece.prob for piece in pieces]),
            pixels=np.concatenate([piece.pixels for piece in pieces]),
        )
