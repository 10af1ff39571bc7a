"""What batches hold and how they are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Loader:
    """The loader's settings.

    Args:
        image_size: side of the square that the network sees, px.
        batch_size: samples a device.
        num_workers: loader processes; the memory map needs none.
        seed: of order and draws.
        masks: batches hold the masks of what was manipulated; the recipe must keep them (`recipe.masks`).
        attributes: names of those that batches hold, such as `Male` and `Smiling`.
    """

    image_size: int = 256
    batch_size: int = 32
    num_workers: int = 0
    seed: int = 0
    masks: bool = False
    attributes: Sequence[str] = ()
