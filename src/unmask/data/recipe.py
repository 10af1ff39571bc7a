"""How a file becomes crops, as preparing and the data module need it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.media.crops import Crops


class Recipe(Protocol):
    """How a file becomes crops: see media.recipe.FaceCrops."""

    @property
    def key(self) -> str:
        """A name for this recipe's crops."""

    @property
    def option(self) -> str:
        """How a config chooses it: `data/recipe=OPTION`."""

    @property
    def masks(self) -> bool:
        """Whether it also cuts the masks of what was manipulated."""

    def describe(self) -> dict[str, object]:
        """All that decides the pixels."""

    def words(self, image_size: int) -> str:
        """How pictures are shown to a network, for a protocol."""

    def landmarks_in_crop(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where the landmarks [N, 5, 2] of faces with these boxes [N, 4], in px of the file, lie in the crops, px."""

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        """The crops of one file, and of its mask if the recipe wants them; a ValueError says why there are none."""


def overrides(wanted: Mapping[str, object], usual: Mapping[str, object]) -> list[str]:
    """What a command line must give for the settings of a recipe, where the config says what is usual."""
    public = {key: value for key, value in wanted.items() if not key.startswith("_")}
    return [f"data.recipe.{key}={value}" for key, value in public.items() if value != usual.get(key)]
