"""Samples of prepared crops: frames or clips, read from memory maps one batch at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data import sampling
from unmask.data.captions import Captions, as_bytes
from unmask.data.manifest import ATTRIBUTE, SAMPLES, ManifestError
from unmask.data.stores import Store
from unmask.media.pcm import RATE, to_float32

if TYPE_CHECKING:
    from torch import Tensor

    from unmask.data.features import Features, JoinedFeatures
    from unmask.data.recipe import Recipe

Order = Callable[[np.random.Generator], sampling.Indices]
BALANCES = ("none", "classes", "pairs", "methods")


@dataclass(frozen=True)
class Sampling:
    """How samples are taken from an item's stored crops, and how training batches are balanced.

    Args:
        frames_per_video: number of frames (or clips) per face of an item; fewer frames if fewer are stored.
        frames: None for single frames, else the length T of a clip.
        consecutive: whether a clip's frames are `stride` apart in the video; false spreads them evenly over the video.
        stride: distance between the frames of a consecutive clip, in video frames.
        max_stride: in training, each consecutive clip draws its stride from 1 to `max_stride`; None uses `stride`.
        balance: `classes` draws equally many real and fake samples. `pairs` draws each fake together with its source.
            `methods` draws equally many samples of each class and, within a class, of each (data set, method). `none`
            draws every sample once.
        window: number of shards of crops that are read at a time in training, for crops that are downloaded to a small
            cache: samples are shuffled within these shards (see `sampling.windowed_order`). With `pairs`, half of the
            shards are those of the fakes. None shuffles all samples.
        seconds: for clips with sound: length of the sound of a sample, s. None returns no sound.
    """

    frames_per_video: int = 32
    frames: int | None = None
    consecutive: bool = False
    stride: int = 1
    max_stride: int | None = None
    balance: str = "classes"
    window: int | None = None
    seconds: float | None = None

    STORED: ClassVar[bool] = True  #: whether samples without augmentation consist of whole stored crops
    NOUNS: ClassVar[tuple[str, str]] = ("videos", "video")  #: what items are, plural and singular

    def __post_init__(self) -> None:
        if self.max_stride is not None and (self.max_stride < 1 or self.frames is None or not self.consecutive):
            raise ValueError(
                f"data.sampling.max_stride={self.max_stride}: expected null or, for consecutive clips "
                "(frames=T data.sampling.consecutive=true), a number of at least 1"
            )
        if self.balance not in BALANCES:
            raise ValueError(f"data.sampling.balance={self.balance}: expected one of {', '.join(BALANCES)}")
        if self.window is not None and self.window < 2:
            raise ValueError(f"data.sampling.window={self.window}: expected null or a number of shards of at least 2")
        if self.seconds is not None and self.seconds * RATE < 1:
            raise ValueError(f"data.sampling.seconds={self.seconds}: expected a length in s, above 0")

    def samples(
        self,
        store: Store,
        items: pd.DataFrame,
        recipe: "Recipe",
        seed: int | None = None,
        augment: "Callable[[Tensor, list[int]], Tensor] | None" = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> "CropDataset":
        """Return the samples of these items; see `CropDataset`.

        Args:
            store: the prepared crops.
            items: rows of the manifest.
            recipe: the recipe that made the crops.
            seed: seed of the random draws; None in evaluation.
            augment: augmentation of training samples in the worker.
            masks: whether batches contain masks.
            attributes: names of the attributes that batches contain.
        """
        return CropDataset(store, items, self, seed, augment, masks, attributes)

    def order(self, samples: "CropDataset") -> tuple[Order, int]:
        """Return a function that draws an epoch's order, and how many successive samples must stay on one process."""
        draw, unit = self._draw(samples)
        if self.window is None:
            return draw, unit
        stream = samples.labels if self.balance != "methods" else self._strata(samples)
        return partial(_windowed, draw, samples.shards(), stream, self.window, unit), unit

    def blank(self, side: int) -> "Tensor":
        """Return a black sample [1, 3, S, S] or [1, T, 3, S, S] with sides of `side` px."""
        import torch

        frames = [] if self.frames is None else [self.frames]
        return torch.zeros(1, *frames, 3, side, side)

    def silence(self) -> "Tensor | None":
        """Return the silent sound [1, S] of a clip; None if samples have no sound beside their crops."""
        import torch

        return None if self.seconds is None or not self.STORED else torch.zeros(1, round(self.seconds * RATE))

    def words(self, burst: int) -> str:
        """Describe the samples for the evaluation protocol; `burst` is the length of the recipe's runs of frames."""
        kind = "frames" if self.frames is None else f"clips of {self.frames} frames"
        consecutive = self.consecutive and self.frames is not None
        runs = f" over bursts of {burst} frames" if burst > 1 else ""
        spacing = f"consecutive, stride {self.stride}" if consecutive else f"spread evenly{runs}"
        sound = "" if self.seconds is None else f", with {self.seconds:g} s of sound around each"
        return f"{self.frames_per_video} {kind} per video, {spacing}{sound}"

    def _draw(self, samples: "CropDataset") -> tuple[Order, int]:
        if self.balance == "pairs":
            return partial(sampling.paired_order, samples.labels, samples.sources()), 2
        if self.balance == "classes":
            return partial(sampling.balanced_order, samples.labels), 1
        if self.balance == "methods":
            return partial(sampling.stratified_order, samples.labels, self._strata(samples)), 1
        return (lambda rng: rng.permutation(len(samples))), 1

    def _strata(self, samples: "CropDataset") -> sampling.Indices:
        """Return the number of each sample's (data set, method) [N]."""
        table = samples.table
        strata = table["item"].str.partition("/")[0] + "/" + table["method"].astype(str)
        return np.asarray(pd.factorize(strata, sort=True)[0])

    def unread(self) -> list[tuple[str, str]]:
        """Return the settings that have no effect because of another setting, as (name, reason)."""
        if self.frames is None:
            names = ("consecutive", "stride", "max_stride")
            return [(f"sampling.{name}", "needs clips: set frames=T, the number of frames of a clip") for name in names]
        if self.consecutive:
            return []
        return [("sampling.stride", "needs consecutive clips: set data.sampling.consecutive=true")]


def _windowed(
    draw: Order, shard: sampling.Indices, stream: sampling.Indices, window: int, unit: int, rng: np.random.Generator
) -> sampling.Indices:
    """Draw an order and rearrange it by shards; a pair goes with the shard of its fake."""
    units = draw(rng).reshape(-1, unit)
    first, most = units[:, 0], window // unit
    place = sampling.windowed_order(np.arange(len(units)), shard[first], stream[first], most, rng)
    return np.asarray(units[place].reshape(-1))


class CropDataset:
    """A data set, in the sense of `torch.utils.data`, that returns batches.

    A batch has `x` uint8 [B, 3, H, W] or [B, T, 3, H, W], `y` [B] and `index` [B].
    `y` is the label, 0 real, 1 fake, and `index` is the row of `table`.

    PyTorch is imported only to make batches, so that a model in another format can be applied without it.

    If the sampling has `seconds`, batches also have `sound` float32 [B, S] in [-1, 1]: the sound around the middle of
    each frame or clip, with zeros before its start and after its end.

    If `features` is set, batches contain `features` [B, F] or [B, T, F] instead of `x`, and no pixels are read.

    Args:
        store: the prepared crops.
        items: rows of the manifest to use; all of them must have been prepared.
        how: how samples are taken from the crops.
        seed: seed of the random draws, which differ in each epoch; None uses fixed frames (evaluation).
        augment: augments in the worker, (x uint8, one seed per sample) -> x; only used with a seed.
        masks: also return `mask` uint8 [B, 1, H, W], 255 where the picture was manipulated; only for single frames.
        attributes: names of the attributes to return as `attributes` float [B, A]: 1 for yes, 0 for no.
    """

    def __init__(
        self,
        store: Store,
        items: pd.DataFrame,
        how: Sampling,
        seed: int | None = None,
        augment: "Callable[[Tensor, list[int]], Tensor] | None" = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> None:
        if masks and how.frames is not None:
            raise ValueError("data.loader.masks=true: clips have no masks; set frames=null, or data.loader.masks=false")
        self.store, self.how, self.seed, self.augment, self.masks = store, how, seed, augment, masks
        self.features: Features | JoinedFeatures | None = None
        self.augment_sound: Callable[[Tensor, list[int]], Tensor] | None = None  # like `augment`, of the sound of clips
        self._captions: tuple[Captions, pd.DataFrame] | None = None
        stored = self._stored(store)
        self._row = np.flatnonzero(stored["item"].isin(items["item"]))
        crops = stored.iloc[self._row]
        self._shard, self._offset = crops["shard"].to_numpy(), crops["offset"].to_numpy()
        self._frame, self._time = crops["frame"].to_numpy(), crops["time"].to_numpy()
        labels = items.set_index("item")
        self._source = labels["source"].dropna().to_dict() if "source" in labels else {}
        spans = {name: np.sort(rows) for name, rows in crops.groupby(["item", "track"], sort=True).indices.items()}
        # Each sample: the positions of its face's crops, its number, and the number of samples of that face.
        count = {name: self._count(span) for name, span in spans.items()}
        self._spans = [(spans[name], number, count[name]) for name in spans for number in range(count[name])]
        self.table = self._describe([name for name in spans for _ in range(count[name])], labels)
        self.labels = self.table["label"].to_numpy(np.int64, copy=True)
        known = labels.loc[self.table["item"], [ATTRIBUTE + name for name in attributes]] if attributes else None
        if how.seconds is not None:
            require_sound(store, items)
            self._sounds = store.sounds.set_index("item")
        self._attributes = None if known is None else known.to_numpy(np.float32, copy=True)

    def _stored(self, store: Store) -> pd.DataFrame:
        """Return the rows of the store from which samples are taken."""
        return store.crops

    def _count(self, span: sampling.Indices) -> int:
        """Return the number of samples of a face with these crops.

        A face with fewer stored frames than `frames_per_video` gives one sample per frame. Two clips may share frames.
        """
        most = self.how.frames_per_video
        return most if self.how.frames else min(most, len(span))

    def _describe(self, spans: list[Any], items: pd.DataFrame) -> pd.DataFrame:
        """Return a table with one row per sample; `frame` and `time` are of the first frame used in evaluation."""
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

    def use_captions(self, captions: Captions, items: pd.DataFrame) -> None:
        """Let batches contain `caption` uint8 [B, N], see `data.captions`; `items` are rows of the manifest."""
        self._captions = captions, items.set_index("item").loc[self.table["item"], captions.columns()]

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def span_count(self) -> int:
        """Number of samples of stored crops, without self-blends."""
        return len(self._spans)

    def positions(self) -> sampling.Indices:
        """Return the rows of the store's table of crops that evaluation reads, sorted."""
        chosen = [self._choose(index, None) for index in range(self.span_count)]
        return np.unique(self._row[np.concatenate(chosen)]) if chosen else np.zeros(0, np.int64)

    def shards(self) -> sampling.Indices:
        """Return the shard that contains the crops of each sample [N]."""
        return self._shard[[span[0] for span, _, _ in self._spans]]

    def sources(self) -> sampling.Indices:
        """Return the index of the matching sample of each sample's original [N]; -1 if a sample has no original.

        Sample k of a fake matches sample k of the original or, if the original has fewer samples, its last sample.
        """
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
        """Return the positions of the stored crops that sample `index` uses, [1] or [T]."""
        (span, number, count), how = self._spans[index], self.how
        if how.frames is None:
            # The crops of a face are divided evenly among its samples. Each sample takes one crop from its share.
            return np.asarray(span[sampling.even(len(span), count, rng)[number : number + 1]])
        if how.consecutive:
            which, frames, stride = (number + 0.5) / count, self._frame[span], how.stride
            if rng is not None and how.max_stride is not None:
                stride = sampling.draw_stride(frames, how.frames, how.max_stride, rng)
            return np.asarray(span[sampling.consecutive(frames, how.frames, stride, rng, which)])
        return np.asarray(span[sampling.even(len(span), how.frames, rng)])

    def crops(self, index: Sequence[int]) -> NDArray[np.uint8]:
        """Return the stored crops that evaluation uses for these samples, [B, 3, S, S] or [B, T, 3, S, S]."""
        flat = np.concatenate([self._choose(number, None) for number in index])
        found = self.store.pixels(self._shard[flat], self._offset[flat])
        return found if self.how.frames is None else found.reshape(-1, self.how.frames, *found.shape[1:])

    def pixels(self, index: Sequence[int]) -> "Tensor":
        """Return the crops that `crops` returns, as a tensor."""
        import torch

        return torch.from_numpy(self.crops(index))

    def __getitems__(self, wanted: list[tuple[int, int]]) -> "dict[str, Tensor]":
        """Return one batch for (epoch, index) pairs."""
        import torch

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
        if self.how.seconds is not None and self.how.STORED:
            batch["sound"] = self._augmented(self._sound(rows, self.how.seconds, index.tolist()), wanted)
        if self._attributes is not None:
            batch["attributes"] = torch.from_numpy(self._attributes[index.numpy()])
        if self._captions is not None:
            batch["caption"] = self._caption(wanted)
        if (mask := self._mask(flat)) is not None:
            batch["mask"] = mask
        return batch

    def inputs(self, index: Sequence[int]) -> "dict[str, Tensor]":
        """Return the entries `x` and, for clips with sound, `sound` of the batch that evaluation uses."""
        found = {"x": self.pixels(index)}
        if self.how.seconds is not None and self.how.STORED:
            rows = [self._choose(number, None) for number in index]
            found["sound"] = self._sound(rows, self.how.seconds, list(index))
        return found

    def _augmented(self, sound: "Tensor", wanted: list[tuple[int, int]]) -> "Tensor":
        """Augment the sound of clips [B, S] in training."""
        if self.augment_sound is None or self.seed is None:
            return sound
        return self.augment_sound(sound, [sampling.draw_seed(self.seed, *place) for place in wanted])

    def _sound(self, rows: list[sampling.Indices], seconds: float, index: list[int]) -> "Tensor":
        """Return the sound around the middle of the crops `rows` of each sample, float32 [B, S]."""
        import torch

        of = self._sounds.loc[self.table["item"].iloc[index]]
        long, there = round(seconds * RATE), of[SAMPLES].to_numpy(np.int64)
        middle = np.array([(self._time[row[0]] + self._time[row[-1]]) / 2 for row in rows])
        start = np.rint(middle * RATE).astype(np.int64) - long // 2
        first, last = np.clip(start, 0, there), np.clip(start + long, 0, there)
        pieces = self.store.sound(of["shard"].to_numpy(), of["offset"].to_numpy() + first, last - first)
        x = np.zeros((len(rows), long), np.float32)
        for at, piece in enumerate(pieces):
            x[at, first[at] - start[at] :][: len(piece)] = to_float32(piece)
        return torch.from_numpy(x)

    def _caption(self, wanted: list[tuple[int, int]]) -> "Tensor":
        """Return captions as bytes [B, N]; in training, their wording differs in each epoch."""
        import torch

        assert self._captions is not None
        captions, table = self._captions
        rows = table.iloc[[index for _, index in wanted]].to_dict("records")
        drawn = [
            None if self.seed is None else np.random.default_rng([self.seed, epoch, index, 1])
            for epoch, index in wanted
        ]
        texts = [
            captions({str(key): value for key, value in row.items()}, rng) for row, rng in zip(rows, drawn, strict=True)
        ]
        return torch.from_numpy(as_bytes(texts))

    def _mask(self, flat: sampling.Indices) -> "Tensor | None":
        """Return the masks of these crops, uint8 [B, 1, S, S]; None if batches contain no masks."""
        import torch

        if not self.masks:
            return None
        return torch.from_numpy(self.store.masks(self._shard[flat], self._offset[flat]))

    def _pixels(self, flat: sampling.Indices, wanted: list[tuple[int, int]]) -> "Tensor":
        """Return the pixels, augmented in training: uint8 [B, 3, S, S] or [B, T, 3, S, S]."""
        import torch

        x = torch.from_numpy(self.store.pixels(self._shard[flat], self._offset[flat]))  # [B*T, 3, S, S]
        x = self._clips(x)
        if self.augment is not None and self.seed is not None:
            x = self.augment(x, [sampling.draw_seed(self.seed, epoch, index) for epoch, index in wanted])
        return x

    def _clips(self, flat: "Tensor") -> "Tensor":
        """Group per-frame values into clips, [B * T, ...] -> [B, T, ...]; unchanged if samples are single frames."""
        return flat if self.how.frames is None else flat.reshape(-1, self.how.frames, *flat.shape[1:])


def require_sound(store: Store, items: pd.DataFrame) -> None:
    """Raise an error if items were prepared without sound.

    Raises:
        ManifestError: the message names an item without sound.
    """
    bare = items.loc[~items["item"].isin(store.sounds["item"]), "item"]
    if len(bare):
        raise ManifestError(
            f"{len(bare)} of {len(items)} items were prepared without sound, such as {bare.iloc[0]}; prepare with "
            "data/recipe=sound or, for sound beside crops, with data.recipe.sound=true"
        )
