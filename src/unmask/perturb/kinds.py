"""Interfaces of perturbations: a perturbation changes a file, pixels or a recording to test a detector."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Levels(Protocol):
    """A perturbation at several levels: level n, counted from 1, uses `levels[n - 1]`; level 0 changes nothing."""

    @property
    def levels(self) -> Sequence[object]:
        """The setting of each level, weakest first."""

    def words(self, level: int) -> str:
        """Describe what a level does, such as `JPEG quality 75, 4:2:0`, for the protocol of a report.

        Args:
            level: 1 to `len(levels)`.

        Raises:
            ValueError: there is no such level.
        """


@runtime_checkable
class OnCrops(Levels, Protocol):
    """A perturbation of stored crops."""

    def crops(self, x: NDArray[np.uint8], level: int, seed: int) -> NDArray[np.uint8]:
        """Perturb the crops of one item.

        Args:
            x: frames of one item, RGB [N, 3, S, S]; not changed.
            level: 0 to `len(levels)`.
            seed: seed of all random draws, so equal seeds give equal crops. Effects that are constant during a
                recording, such as a covered region, are drawn once for all frames; sensor noise is drawn for
                each frame.

        Returns:
            The perturbed frames [N, 3, S, S]; `x` itself at level 0.

        Raises:
            ValueError: there is no such level.
        """


@runtime_checkable
class OnFiles(Levels, Protocol):
    """A perturbation of files, before faces are detected and cropped.

    Crops are made from the perturbed file, so the perturbation also affects face detection.
    """

    #: Whether videos can be perturbed.
    videos: ClassVar[bool]
    #: Whether pictures can be perturbed.
    pictures: ClassVar[bool]

    def file(self, path: Path, level: int, folder: Path) -> Path:
        """Write the perturbed file.

        Args:
            path: a video or a picture; not changed.
            level: 0 to `len(levels)`.
            folder: where to write, such as a temporary folder; it exists and does not contain `path`.

        Returns:
            The written file; `path` itself at level 0.

        Raises:
            MediaError: the file cannot be read, or is not of a kind that this perturbation can change.
            ValueError: there is no such level.
        """


@runtime_checkable
class OnFrames(Levels, Protocol):
    """A perturbation of decoded frames, before faces are cropped. It also moves the points of the frame."""

    def frame(self, frame: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
        """Return the perturbed frame, uint8 [H, W, 3] -> [h, w, 3]; `frame` itself at level 0.

        Raises:
            ValueError: there is no such level.
        """

    def moved(self, points: NDArray[np.float32], level: int) -> NDArray[np.float32]:
        """Map points [..., 2], (x, y) in px, from the original frame to the perturbed frame."""


@runtime_checkable
class OnSound(Levels, Protocol):
    """A perturbation of recordings."""

    def sound(self, x: NDArray[np.float32], level: int, seed: int) -> NDArray[np.float32]:
        """Perturb a recording.

        Args:
            x: waveform [S] in [-1, 1], mono, 16 kHz; not changed.
            level: 0 to `len(levels)`.
            seed: seed of all random draws, so equal seeds give equal waveforms.

        Returns:
            The perturbed waveform [S] in [-1, 1]; `x` itself at level 0.

        Raises:
            ValueError: there is no such level.
        """


def chosen(levels: Sequence[T], level: int) -> T:
    """Return the setting of a level, counted from 1.

    Raises:
        ValueError: there is no such level.
    """
    if not 1 <= level <= len(levels):
        raise ValueError(f"level={level}: expected 1 to {len(levels)}, the number of levels")
    return levels[level - 1]


def checked(levels: Sequence[T], valid: Callable[[T], bool], expected: str) -> list[T]:
    """Check the settings of all levels and return them as a list.

    Args:
        levels: the settings.
        valid: a function that returns whether a setting is allowed.
        expected: describes the allowed settings in the error message.

    Raises:
        ValueError: there are no levels, or a setting is not allowed.
    """
    if not levels or not all(valid(one) for one in levels):
        raise ValueError(f"levels={list(levels)}: expected a list of {expected}, weakest first")
    return list(levels)
