"""Samples of a store: frames or clips, whole batches gathered at once from the memory map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.data import sampling
from unmask.data.manifest import ATTRIBUTE
from unmask.data.stores import Store

if TYPE_CHECKING:
    from unmask.data.features import Features, JoinedFeatures
    from unmask.data.recipe import Recipe

Order = Callable[[np.random.Generator], sampling.Indices]
BALANCES = ("none", "classes", "pairs", "methods")


@dataclass(frozen=True)
class Sampling:
    """How samples are taken from an item's stored crops, and the balance of training batches.

    Args:
        frames_per_video: frames (or clips) that an item gives.
        frames: None for single frames, else the length T of a clip.
        consecutive: frames of a clip lie `stride` apart in the video; else they are spread evenly over it.
        stride: in frames of the video, for consecutive clips.
        max_stride: in training, each consecutive clip draws its stride from 1 to this; None takes `stride`.
        balance: `classes` draws as many real as fake, `pairs` puts a fake beside its own source, `methods` draws as
            many real as fake and in each class every data set and method as often, `none` draws every sample once.
    """

    frames_per_video: int = 32
    frames: int | None = None
    consecutive: bool = False
    stride: int = 1
    max_stride: int | None = None
    balance: str = "classes"

    def __post_init__(self) -> None:
        if self.max_stride is not None and (self.max_stride < 1 or self.frames is None or not self.consecutive):
            raise ValueError(
                f"data.sampling.max_stride={self.max_stride}: expected 1 or more, and only with frames=T and "
                "data.sampling.consecutive=true"
            )
        if self.balance not in BALANCES:
            raise ValueError(f"data.sampling.balance={self.balance}: expected one of {', '.join(BALANCES)}")

    def samples(
        self,
        store: Store,
        items: pd.DataFrame,
        recipe: "Recipe",
        seed: int | None = None,
        augment: Callable[[Tensor, list[int]], Tensor] | None = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> "CropDataset":
        """The samples of these items; see `CropDataset`.

        Args:
            store: the prepared crops.
            items: rows of the manifest.
            recipe: by which they were made.
            seed: of the draws; None for evaluation.
            augment: what a worker does to a training sample.
            masks: batches hold masks.
            attributes: those that batches hold.
        """
        return CropDataset(store, items, self, seed, augment, masks, attributes)

    def order(self, samples: "CropDataset") -> tuple[Order, int]:
        """How an epoch's order is drawn, and how many samples that follow each other stay together."""
        if self.balance == "pairs":
            return partial(sampling.paired_order, samples.labels, samples.sources()), 2
        if self.balance == "classes":
            return partial(sampling.balanced_order, samples.labels), 1
        if self.balance == "methods":
            table = samples.table
            strata = table["item"].str.partition("/")[0] + "/" + table["method"].astype(str)
            return partial(sampling.stratified_order, samples.labels, pd.factorize(strata, sort=True)[0]), 1
        return (lambda rng: rng.permutation(len(samples))), 1

    def unread(self) -> list[tuple[str, str]]:
        """Settings that have no effect beside the others, and why: (name, reason)."""
        if self.frames is None:
            names = ("consecutive", "stride", "max_stride")
            return [(f"sampling.{name}", "is of clips: set frames=T") for name in names]
        if self.consecutive:
            return []
        return [("sampling.stride", "is of consecutive clips: set data.sampling.consecutive=true")]


class CropDataset(Dataset[dict[str, Tensor]]):
    """Batches of `x` uint8 [B, 3, H, W] or [B, T, 3, H, W], `y` [B] and `index` [B] (the row of `table`).

    Where `features` is set, the crops' features [B, F] or [B, T, F] come in place of `x`, and no pixel is read.

    Args:
        store: the prepared crops.
        items: rows of the manifest to take, all prepared.
        how: the sampling.
        seed: of the draws; None takes fixed frames (evaluation), else each epoch draws others.
        augment: what a worker does to a training sample: (x uint8, a seed a sample) -> x; only with a seed.
        masks: also give `mask` uint8 [B, 1, H, W], 255 where the picture was manipulated; frames only.
        attributes: names of columns whose values come as `attributes` float [B, A], 1 yes, 0 no.
    """

    def __init__(
        self,
        store: Store,
        items: pd.DataFrame,
        how: Sampling,
        seed: int | None = None,
        augment: Callable[[Tensor, list[int]], Tensor] | None = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> None:
        if masks and how.frames is not None:
            raise ValueError("masks are of single frames: set frames=null, or data.loader.masks=false")
        self.store, self.how, self.seed, self.augment, self.masks = store, how, seed, augment, masks
        self.features: Features | JoinedFeatures | None = None
        self._row = np.flatnonzero(store.crops["item"].isin(items["item"]))
        crops = store.crops.iloc[self._row]
        self._shard, self._offset = crops["shard"].to_numpy(), crops["offset"].to_numpy()
        self._frame, self._time = crops["frame"].to_numpy(), crops["time"].to_numpy()
        labels = items.set_index("item")
        self._source = labels["source"].dropna().to_dict() if "source" in labels else {}
        spans = {name: np.sort(rows) for name, rows in crops.groupby(["item", "track"], sort=True).indices.items()}
        # Each sample: its face's stored crops, and which of how many samples of that face it is. A video with fewer
        # frames than wanted gives the ones it has, each once; clips may share frames.
        most = how.frames_per_video
        count = {name: most if how.frames else min(most, len(span)) for name, span in spans.items()}
        self._spans = [(spans[name], number, count[name]) for name in spans for number in range(count[name])]
        self.table = self._describe([name for name in spans for _ in range(count[name])], labels)
        self.labels = self.table["label"].to_numpy(np.int64, copy=True)
        known = labels.loc[self.table["item"], [ATTRIBUTE + name for name in attributes]] if attributes else None
        self._attributes = None if known is None else torch.from_numpy(known.to_numpy(np.float32, copy=True))

    def _describe(self, spans: list[Any], items: pd.DataFrame) -> pd.DataFrame:
        """One row a sample: `item, track, frame, time, label, method`; frame and time as evaluation takes them."""
        names = [item for item, _ in spans]
        first = [self._choose(index, None)[0] for index in range(len(names))]
        return pd.DataFrame(
            {
                "item": names,
                "track": [track for _, track in spans],
                "frame": self._frame[first] if first else np.zeros(0, np.int64),
                "time": self._time[first] if first else np.zeros(0),
                "label": items.loc[names, "label"].to_numpy(),
                "method": items.loc[names, "method"].to_numpy(),
            }
        )

    def __len__(self) -> int:
        return len(self._spans)

    def sources(self) -> sampling.Indices:
        """For each sample the index of the same-numbered one of the item it was made from; -1 where there is none."""
        place: dict[tuple[str | None, int], int] = {}
        for index, (item, (_, number, _)) in enumerate(zip(self.table["item"], self._spans, strict=True)):
            place.setdefault((item, number), index)
        found = []
        for item, (_, number, count) in zip(self.table["item"], self._spans, strict=True):
            source = self._source.get(item)
            options = (place.get((source, at)) for at in (number, *reversed(range(count))))
            found.append(next((index for index in options if index is not None), -1))
        return np.array(found, np.int64)

    def _choose(self, index: int, rng: np.random.Generator | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Which stored crops sample `index` takes [1] or [T]."""
        (span, number, count), how = self._spans[index], self.how
        if how.frames is None:
            # Each sample has its share of the item; a draw moves inside it.
            return np.asarray(span[sampling.even(len(span), count, rng)[number : number + 1]])
        if how.consecutive:
            which, frames, stride = (number + 0.5) / count, self._frame[span], how.stride
            if rng is not None and how.max_stride is not None:
                stride = sampling.draw_stride(frames, how.frames, how.max_stride, rng)
            return np.asarray(span[sampling.consecutive(frames, how.frames, stride, rng, which)])
        return np.asarray(span[sampling.even(len(span), how.frames, rng)])

    def pixels(self, index: Sequence[int]) -> Tensor:
        """The stored crops of samples as evaluation takes them, uint8 [B, 3, S, S] or [B, T, 3, S, S]."""
        flat = np.concatenate([self._choose(number, None) for number in index])
        return self._clips(torch.from_numpy(self.store.pixels(self._shard[flat], self._offset[flat])))

    def __getitems__(self, wanted: list[tuple[int, int]]) -> dict[str, Tensor]:
        """One batch of (epoch, index) pairs."""
        rows = [
            self._choose(index, None if self.seed is None else np.random.default_rng([self.seed, epoch, index]))
            for epoch, index in wanted
        ]
        flat = np.concatenate(rows)
        index = torch.tensor([number for _, number in wanted])
        batch = {"y": torch.from_numpy(self.labels)[index], "index": index}
        if self.features is not None:
            batch["features"] = self._clips(torch.from_numpy(self.features[self._row[flat]]))
        else:
            batch["x"] = self._pixels(flat, wanted)
        if self._attributes is not None:
            batch["attributes"] = self._attributes[index]
        if (mask := self._mask(flat)) is not None:
            batch["mask"] = mask
        return batch

    def _mask(self, flat: sampling.Indices) -> Tensor | None:
        """What was manipulated in these crops, uint8 [B, 1, S, S]; None where batches hold no masks."""
        if not self.masks:
            return None
        return torch.from_numpy(self.store.masks(self._shard[flat], self._offset[flat]))

    def _pixels(self, flat: sampling.Indices, wanted: list[tuple[int, int]]) -> Tensor:
        """Uint8 [B, 3, S, S] or [B, T, 3, S, S]."""
        x = torch.from_numpy(self.store.pixels(self._shard[flat], self._offset[flat]))  # [B*T, 3, S, S]
        x = self._clips(x)
        if self.augment is not None and self.seed is not None:
            x = self.augment(x, [sampling.draw_seed(self.seed, epoch, index) for epoch, index in wanted])
        return x

    def _clips(self, flat: Tensor) -> Tensor:
        """What frames have, [B * T, ...] -> [B, T, ...]; as it is where samples are single frames."""
        return flat if self.how.frames is None else flat.reshape(-1, self.how.frames, *flat.shape[1:])
