"""Augmentation of training samples: each sample gets one random draw, which is used for all its frames.

A sample's mask is transformed with the same draw. Geometric transforms run on float in [0, 1] on the device. Transforms
that imitate codecs or transmission (JPEG, resampling, lost frames) run on uint8 in the loader's worker. Sound is
transformed as float waveforms in the worker.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors

Transform = Callable[..., Any]  # a picture, or a picture and its mask -> the same, transformed


class Augmentation:
    """Lists of torchvision v2 transforms (or compatible ones), run in the loader's worker and on the device.

    Args:
        worker: applied to uint8 frames [3, S, S] or clips [T, 3, S, S] at the stored size; must not be geometric. Of a
            data set of recordings: applied to float waveforms [S] in [-1, 1].
        device: applied to float frames or clips in [0, 1], resized to `image_size`, together with any mask.
        sound: applied, in the worker, to the sound of clips, float waveforms [S] in [-1, 1].
    """

    def __init__(
        self, worker: Sequence[Transform] = (), device: Sequence[Transform] = (), sound: Sequence[Transform] = ()
    ) -> None:
        self.worker, self.device, self.sound = list(worker), list(device), list(sound)

    def on_worker(self, x: Tensor, seeds: list[int]) -> Tensor:
        """Augment samples, uint8 [B, (T,) 3, S, S] or float waveforms [B, S], one seed each -> the same shape."""
        if not self.worker:
            return x
        return torch.stack([sample for sample, _ in _each(x, None, self.worker, seeds)])

    def on_sound(self, x: Tensor, seeds: list[int]) -> Tensor:
        """Augment the sound of clips, float waveforms [B, S] in [-1, 1], with one seed per sample -> the same shape."""
        if not self.sound:
            return x
        return torch.stack([sample for sample, _ in _each(x, None, self.sound, seeds)])

    def on_device(self, x: Tensor, mask: Tensor | None, seeds: list[int]) -> tuple[Tensor, Tensor | None]:
        """Augment samples and any masks [B, 1, H, W].

        Args:
            x: float [B, (T,) 3, H, W] in [0, 1]; cropping reduces H and W. Or waveforms [B, S] in [-1, 1].
            mask: masks of pictures.
            seeds: one per sample.
        """
        if not self.device:
            return x, mask
        pairs = _each(x, mask, self.device, seeds)
        masks = None if mask is None else torch.stack([moved for _, moved in pairs if moved is not None])
        lowest = -1 if x.ndim == 2 else 0
        return torch.stack([sample for sample, _ in pairs]).clamp(lowest, 1), masks


def _each(
    x: Tensor, mask: Tensor | None, transforms: list[Transform], seeds: list[int]
) -> list[tuple[Tensor, Tensor | None]]:
    """Transform each sample separately, because torchvision draws random parameters once per call.

    Each sample's seed makes its draw reproducible.
    """
    devices = [x.device] if x.is_cuda else []
    out: list[tuple[Tensor, Tensor | None]] = []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # RandomErasing must not change the mask: the erased region is still manipulated. Hide torchvision's warning.
        warnings.filterwarnings("ignore", message=r"RandomErasing\(\) is currently passing through")
        for at, seed in enumerate(seeds):
            torch.manual_seed(seed)
            sample: Tensor = x[at] if x.ndim == 2 else tv_tensors.Image(x[at])  # a waveform, or pixels
            moved: Tensor | None = None if mask is None else tv_tensors.Mask(mask[at])
            for transform in transforms:
                sample, moved = (transform(sample), None) if moved is None else transform(sample, moved)
            out.append((sample.as_subclass(Tensor), None if moved is None else moved.as_subclass(Tensor)))
    return out


class DropFrames(nn.Module):
    """Drop frames of a clip, like a bad connection: the last received frame is shown instead of each lost frame.

    Args:
        share: expected share of lost frames, in (0, 1); the first frame is never lost.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share={share}: expected a fraction above 0 and below 1")
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Transform a clip [T, 3, S, S] -> the same shape; a frame [3, S, S] is returned unchanged."""
        if x.ndim != 4:
            return x
        number = torch.arange(len(x))
        came = torch.where(torch.rand(len(x)) < self.share, 0, number)
        return x[came.cummax(0).values.to(x.device)]


class Freeze(nn.Module):
    """Freeze a clip at one frame for a while, like a stalled player; the frames missed during that time are skipped.

    Args:
        longest: maximum number of identical frames, at least 2. The number is drawn uniformly from 2 to `longest`, or
            to the clip's length if that is shorter.
    """

    def __init__(self, longest: int = 4) -> None:
        super().__init__()
        if longest < 2:
            raise ValueError(f"longest={longest}: expected at least 2 frames")
        self.longest = longest

    def forward(self, x: Tensor) -> Tensor:
        """Transform a clip [T, 3, S, S] -> the same shape; a frame [3, S, S] is returned unchanged."""
        if x.ndim != 4 or len(x) < 2:
            return x
        length = int(torch.randint(2, min(self.longest, len(x)) + 1, ()))
        start = int(torch.randint(0, len(x) - length + 1, ()))
        number = torch.arange(len(x))
        number[start : start + length] = start
        return x[number.to(x.device)]


class Reverse(nn.Module):
    """Play a clip backwards. Wrap this transform in `RandomApply` to do so only sometimes."""

    def forward(self, x: Tensor) -> Tensor:
        """Transform a clip [T, 3, S, S] -> the same shape; a frame [3, S, S] is returned unchanged."""
        return x.flip(0) if x.ndim == 4 else x
