"""Samples of prepared recordings: windows of a fixed length, read from memory maps one batch at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.data import sampling
from unmask.data.dataset import CropDataset, Sampling, require_sound
from unmask.data.manifest import SAMPLES
from unmask.data.stores import Store
from unmask.media.pcm import RATE, to_float32

if TYPE_CHECKING:
    from torch import Tensor

    from unmask.data.recipe import Recipe


@dataclass(frozen=True)
class SoundSampling(Sampling):
    """How windows are taken from recordings, and how training batches are balanced.

    In training, each window starts at a random time. In evaluation, windows are spread evenly over the recording. A
    recording that is shorter than a window is repeated.

    Args:
        frames_per_video: number of windows per recording.
        seconds: length of a window, s.
    """

    seconds: float = 4.0
    frames_per_video: int = 1

    STORED: ClassVar[bool] = False
    NOUNS: ClassVar[tuple[str, str]] = ("recordings", "recording")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None:
            raise ValueError(f"frames={self.frames}: expected null, because recordings have no frames")
        if self.seconds * RATE < 1:
            raise ValueError(f"data.sampling.seconds={self.seconds}: expected the length of a window in s, above 0")

    def samples(
        self,
        store: Store,
        items: pd.DataFrame,
        recipe: "Recipe",
        seed: int | None = None,
        augment: "Callable[[Tensor, list[int]], Tensor] | None" = None,
        masks: bool = False,
        attributes: Sequence[str] = (),
    ) -> "SoundDataset":
        """Return the windows of these recordings; see `Sampling.samples`."""
        if masks:
            raise ValueError("data.loader.masks=true: recordings have no masks; set data.loader.masks=false")
        return SoundDataset(store, items, self, seed, augment, attributes)

    def blank(self, side: int) -> "Tensor":
        """Return a silent sample [1, S] of the length of the network's input."""
        import torch

        return torch.zeros(1, round(self.seconds * RATE))

    def words(self, burst: int) -> str:
        """Describe the samples of a split for the evaluation protocol."""
        each = "one window" if self.frames_per_video == 1 else f"{self.frames_per_video} windows, spread evenly,"
        return f"{each} of {self.seconds:g} s per recording; shorter recordings are repeated"


class SoundDataset(CropDataset):
    """A `CropDataset` whose samples are windows of recordings instead of crops.

    A batch has `x` float32 [B, S], one channel of 16 kHz in [-1, 1], `y` [B] and `index` [B]. In `table`, `frame` is
    the number of the window, and `time` the start of the window that evaluation reads, s.

    Args:
        store: the prepared recordings.
        items: rows of the manifest to use; all of them must have been prepared.
        how: how windows are taken from the recordings.
        seed: seed of the random draws, which differ in each epoch; None uses fixed windows (evaluation).
        augment: augments in the worker, (x float32 [B, S], one seed per sample) -> x; only used with a seed.
        attributes: see `CropDataset`.

    Raises:
        ManifestError: some items have no sound.
    """

    def __init__(
        self,
        store: Store,
        items: pd.DataFrame,
        how: SoundSampling,
        seed: int | None = None,
        augment: "Callable[[Tensor, list[int]], Tensor] | None" = None,
        attributes: Sequence[str] = (),
    ) -> None:
        super().__init__(store, items, how, seed, augment, False, attributes)
        require_sound(store, items)
        self.length = round(how.seconds * RATE)
        self._samples = store.sounds.iloc[self._row][SAMPLES].to_numpy(np.int64)
        start = [self._window(index, None)[1] for index in range(len(self))]
        number = [number for _, number, _ in self._spans]
        self.table = self.table.assign(frame=np.array(number, np.int64), time=np.array(start, np.float64) / RATE)

    def _stored(self, store: Store) -> pd.DataFrame:
        return store.sounds

    def _count(self, span: sampling.Indices) -> int:
        return self.how.frames_per_video

    def _window(self, index: int, rng: np.random.Generator | None) -> tuple[int, int]:
        """Return the position of a sample's recording, and the first sample of its window in the recording."""
        span, number, count = self._spans[index]
        room = max(int(self._samples[span[0]]) - self.length, 0)
        part = 0.5 if rng is None else rng.random()  # the possible starts are divided evenly among the windows
        return int(span[0]), min(int((number + part) * (room + 1) / count), room)

    def waves(self, wanted: Sequence[tuple[int, np.random.Generator | None]]) -> NDArray[np.float32]:
        """Return the windows of samples, given their indices and the generators of their draws, [B, S]."""
        places = [self._window(index, rng) for index, rng in wanted]
        at, start = (np.array(column, np.int64) for column in zip(*places, strict=True))
        length = np.minimum(self._samples[at], self.length)
        found = self.store.sound(self._shard[at], self._offset[at] + start, length)
        return to_float32(np.stack([np.resize(piece, self.length) for piece in found]))

    def crops(self, index: Sequence[int]) -> NDArray[np.float32]:  # type: ignore[override]
        """Return the windows that evaluation uses for these samples, float32 [B, S]."""
        return self.waves([(number, None) for number in index])

    def _pixels(self, flat: sampling.Indices, wanted: list[tuple[int, int]]) -> "Tensor":
        """Return the windows, augmented in training: float32 [B, S]."""
        import torch

        draws = [
            (index, None if self.seed is None else np.random.default_rng([self.seed, epoch, index]))
            for epoch, index in wanted
        ]
        x = torch.from_numpy(self.waves(draws))
        if self.augment is not None and self.seed is not None:
            x = self.augment(x, [sampling.draw_seed(self.seed, epoch, index) for epoch, index in wanted])
        return x
