"""Samples of real items alone: each as it is, and blended with itself."""

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

MARK, METHOD = "#blend", "self-blend"  # after an item's name, and its method, in tables of predictions

Locate = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]


class BlendedDataset(CropDataset):
    """Batches like those of `CropDataset`: of the n real samples, then of their n self-blends in the same order.

    A sample and its blend show the same frames and come from one draw, of (seed, epoch, sample); without a seed from
    one that is always the same.

    Args:
        store: the prepared crops.
        items: rows of the manifest; only the real ones are taken.
        how: the sampling.
        blend: makes the two pictures.
        locate: (boxes [N, 4], landmarks [N, 5, 2] in px of the frame) -> landmarks in px of the crops.
        seed: see `CropDataset`.
        augment: see `CropDataset`; real and blended samples pass it alike.
        masks: also give `mask` uint8 [B, 1, S, S], 255 where a picture was blended.

    Raises:
        ManifestError: crops have no landmarks.
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

    def sources(self) -> sampling.Indices:
        """For each blend the index of its real sample; -1 for these."""
        real = np.arange(len(self._spans))
        return np.concatenate([np.full_like(real, -1), real])

    def __getitems__(self, wanted: list[tuple[int, int]]) -> dict[str, Tensor]:
        """One batch of (epoch, index) pairs."""
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
        """A real sample, its blend and the mask, [3, S, S] or [T, 3, S, S]."""
        draw = [0, 0, number] if self.seed is None else [self.seed, epoch, number]
        rng = np.random.default_rng(draw)
        rows = self._choose(number, None if self.seed is None else rng)
        if self.how.frames is None:
            pixels, landmarks = self.store.pixels(self._shard[rows], self._offset[rows])[0], self._landmarks[rows[0]]
        else:
            pixels, landmarks = self.store.pixels(self._shard[rows], self._offset[rows]), self._landmarks[rows]
        return self.blend(pixels, landmarks, rng)


def _landmarks(crops: pd.DataFrame, locate: Locate) -> NDArray[np.float32]:
    """Where the five points lie in these crops [N, 5, 2], px."""
    if crops.empty:
        return np.zeros((0, 5, 2), np.float32)
    box = np.stack(crops["box"].tolist()).astype(np.float32)
    points = np.stack(crops["landmarks"].tolist()).astype(np.float32).reshape(-1, 5, 2)
    without = np.flatnonzero(np.isnan(points).any((1, 2)))
    if len(without):
        raise ManifestError(
            f"{len(without)} of {len(crops)} crops have no landmarks, such as those of "
            f"{crops['item'].iloc[without[0]]}, and self-blending needs them: prepare with data.recipe.landmarks=true, "
            "or train without data.blend"
        )
    return np.asarray(locate(box, points), np.float32)
