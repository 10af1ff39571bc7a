"""The interface of recipes. A recipe turns a file into crops; preparation and the data module use this interface."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.media.crops import Crops


class Recipe(Protocol):
    """Turns a file into crops; see media.recipe.FaceCrops."""

    @property
    def key(self) -> str:
        """Hash of `describe()`; recipes with the same key make the same crops."""

    @property
    def option(self) -> str:
        """Name of the recipe in the config: OPTION in `data/recipe=OPTION`."""

    @property
    def masks(self) -> bool:
        """Whether the recipe also crops the manipulation masks."""

    @property
    def sees(self) -> bool:
        """Whether the recipe makes crops of frames; false if it stores only sound."""

    @property
    def hears(self) -> bool:
        """Whether the recipe stores sound, alone or beside crops."""

    @property
    def frames(self) -> int:
        """Number of frames taken from a video."""

    @property
    def burst(self) -> int:
        """Length of each run of consecutive frames; see media.indices."""

    @property
    def decoder(self) -> str:
        """Name of the video decoder."""

    def describe(self) -> dict[str, object]:
        """Return all settings that determine the pixels of the crops."""

    def words(self, image_size: int) -> str:
        """Return a description of the network's input, for the evaluation protocol."""

    def landmarks_in_crop(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map landmarks [N, 5, 2] of faces with boxes [N, 4] from frame px to crop px."""

    def cut(self, frames: NDArray[np.uint8], numbers: NDArray[np.int64], times: NDArray[np.float64]) -> Crops:
        """Return the crops of frames [N, H, W, 3] with numbers [N] and times [N] in s; for errors, see `__call__`."""

    def recut(
        self, frame: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Return the crop [S, S, 3] of a frame [H, W, 3], given the face's box [4] and landmarks [5, 2] in px."""

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        """Return the crops of one file, and of its mask if `masks` is true; raise a ValueError if no crop is found."""


def overrides(wanted: Mapping[str, object], usual: Mapping[str, object]) -> list[str]:
    """Return the command-line overrides for those settings of a recipe that differ from its defaults."""
    public = {key: value for key, value in wanted.items() if not key.startswith("_")}
    return [f"data.recipe.{key}={value}" for key, value in public.items() if value != usual.get(key)]
