"""A data set made from real items only: each real sample is paired with a fake made from it by self-blending."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data import sampling
from unmask.data.blend import SelfBlend
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.manifest import ManifestError
from unmask.data.stores import Store

MARK, METHOD = "#blend", "self-blend"  # suffix of a blend's item name, and its method, in prediction tables

Locate = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]


class BlendedDataset(CropDataset):
    """A `CropDataset` of n real samples, followed by n fakes (self-blends) made from them, in the same order.

    A real sample and its blend are made from the same frames with one random draw, seeded by (seed, epoch, sample).
    If `seed` is None, the draw is the same in every epoch.

    Args:
        store: the prepared crops.
        items: rows of the manifest; only real items are used.
        how: how samples are taken from the crops.
        blend: makes the real and the blended picture.
        locate: maps (boxes [N, 4], landmarks [N, 5, 2]) from frame px to landmarks in crop px.
        seed: see `CropDataset`.
        augment: see `CropDataset`; applied to real and blended samples alike.
        masks: also return `mask` uint8 [B, 1, S, S], 255 where a picture was blended.

    Raises:
        ManifestError: some crops have no landmarks.
    """

    def __init__(
        self,
        store: Store,
        items: pd.DataFrame,
        how: Sampling,
        blend: SelfBlend,
        locate: Locate,
        seed: int | None = None,
        augment: Callable[[Tensor, list[int]], Tensor] | None = None,
        masks: bool = False,
    ) -> None:
        super().__init__(store, items[items["label"] == 0], how, seed, augment, masks)
        self.blend = blend
        self._landmarks = _landmarks(store.crops.iloc[self._row], locate)
        blends = self.table.assign(item=self.table["item"].astype(str) + MARK, label=1, method=METHOD)
        self.table = pd.concat([self.table, blends], ignore_index=True)
        self.labels = self.table["label"].to_numpy(np.int64, copy=True)

    def __len__(self) -> int:
        return 2 * len(self._spans)

    def shards(self) -> sampling.Indices:
        """Return the shard that contains the crops of each sample [N]."""
        return np.tile(super().shards(), 2)

    def sources(self) -> sampling.Indices:
        """Return the index of the real sample for each blend, and -1 for each real sample."""
        real = np.arange(len(self._spans))
        return np.concatenate([np.full_like(real, -1), real])

    def __getitems__(self, wanted: list[tuple[int, int]]) -> dict[str, Tensor]:
        """Return one batch for (epoch, index) pairs."""
        num = len(self._spans)
        places = [(epoch, index % num) for epoch, index in wanted]
        pairs = {place: self._pair(*place) for place in dict.fromkeys(places)}
        blended = [index // num for _, index in wanted]
        x = torch.from_numpy(np.stack([pairs[place][which] for place, which in zip(places, blended, strict=True)]))
        if self.augment is not None and self.seed is not None:
            x = self.augment(x, [sampling.draw_seed(self.seed, epoch, index) for epoch, index in wanted])
        index = torch.tensor([number for _, number in wanted])
        batch = {"x": x, "y": torch.from_numpy(self.labels)[index], "index": index}
        if self.masks:
            soft = np.stack([which * pairs[place][2] for place, which in zip(places, blended, strict=True)])
            batch["mask"] = torch.from_numpy(np.where(soft > 0.5, 255, 0).astype(np.uint8))
        return batch

    def _pair(self, epoch: int, number: int) -> Pair:
        """Return a real sample and its blend, [3, S, S] or [T, 3, S, S], and the mask."""
        draw = [0, 0, number] if self.seed is None else [self.seed, epoch, number]
        rng = np.random.default_rng(draw)
        rows = self._choose(number, None if self.seed is None else rng)
        if self.how.frames is None:
            pixels, landmarks = self.store.pixels(self._shard[rows], self._offset[rows])[0], self._landmarks[rows[0]]
        else:
            pixels, landmarks = self.store.pixels(self._shard[rows], self._offset[rows]), self._landmarks[rows]
        return self.blend(pixels, landmarks, rng)


def _landmarks(crops: pd.DataFrame, locate: Locate) -> NDArray[np.float32]:
    """Return the landmarks [N, 5, 2] of these rows of the crop table, in crop px."""
    if crops.empty:
        return np.zeros((0, 5, 2), np.float32)
    box = np.stack(crops["box"].tolist()).astype(np.float32)
    points = np.stack(crops["landmarks"].tolist()).astype(np.float32).reshape(-1, 5, 2)
    without = np.flatnonzero(np.isnan(points).any((1, 2)))
    if len(without):
        raise ManifestError(
            f"{len(without)} of {len(crops)} crops have no landmarks, such as those "
            f"of {crops['item'].iloc[without[0]]}, but self-blending needs landmarks: prepare the data set with "
            "data.recipe.landmarks=true, or disable self-blending with blend@data.blend=none"
        )
    return np.asarray(locate(box, points), np.float32)
