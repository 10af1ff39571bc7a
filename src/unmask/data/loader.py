"""Settings of the data loader."""

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.data.captions import Captions


@dataclass(frozen=True)
class Loader:
    """The contents of batches and how they are loaded.

    Args:
        image_size: side of the network's input, px.
        batch_size: number of samples per batch, in total over all devices.
        num_workers: number of loader processes; 0 is usually fast enough, because crops are memory-mapped.
        seed: seed of the training order and of all random draws.
        masks: whether batches contain manipulation masks; requires crops prepared with `recipe.masks`.
        attributes: names of the attributes that batches contain, such as `Male` and `Smiling`.
        captions: makes captions of the pictures, which batches contain; None for no captions.
    """

    image_size: int = 256
    batch_size: int = 32
    num_workers: int = 0
    seed: int = 0
    masks: bool = False
    attributes: Sequence[str] = ()
    captions: Captions | None = None
