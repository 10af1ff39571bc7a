"""Augmentation of training samples: one draw a sample, the same for all its frames and, where it moves them, its mask.

What imitates a codec or a camera's file (JPEG, resampling, lost frames) works on uint8 in the loader's worker;
everything else works on float in [0, 1] on the device.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision import tv_tensors

Transform = Callable[..., Any]  # a picture, or a picture and its mask -> the same, moved


class Augmentation:
    """Transforms of torchvision v2, or of their kind, in two places.

    Args:
        worker: on uint8 frames [3, S, S] or clips [T, 3, S, S] of the stored size; they must not move the picture.
        device: on float in [0, 1] of the same shapes at `image_size`; where a sample has a mask, on both together.
    """

    def __init__(self, worker: Sequence[Transform] = (), device: Sequence[Transform] = ()) -> None:
        self.worker, self.device = list(worker), list(device)

    def on_worker(self, x: Tensor, seeds: list[int]) -> Tensor:
        """Uint8 [B, (T,) 3, S, S], a seed a sample -> the same shape."""
        if not self.worker:
            return x
        return torch.stack([sample for sample, _ in _each(x, None, self.worker, seeds)])

    def on_device(self, x: Tensor, mask: Tensor | None, seeds: list[int]) -> tuple[Tensor, Tensor | None]:
        """Float [B, (T,) 3, H, W] in [0, 1] and its mask [B, 1, H, W] or none -> the same, smaller where cut."""
        if not self.device:
            return x, mask
        pairs = _each(x, mask, self.device, seeds)
        masks = None if mask is None else torch.stack([moved for _, moved in pairs if moved is not None])
        return torch.stack([sample for sample, _ in pairs]).clamp(0, 1), masks


def _each(
    x: Tensor, mask: Tensor | None, transforms: list[Transform], seeds: list[int]
) -> list[tuple[Tensor, Tensor | None]]:
    """Transform each sample by itself: torchvision takes one draw for whatever it is given at once.

    Its seed makes the draw the same whenever the sample comes again.
    """
    devices = [x.device] if x.is_cuda else []
    out: list[tuple[Tensor, Tensor | None]] = []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # What hides a part of a picture leaves its mask: the part is manipulated all the same. torchvision warns of it.
        warnings.filterwarnings("ignore", message=r"RandomErasing\(\) is currently passing through")
        for at, seed in enumerate(seeds):
            torch.manual_seed(seed)
            sample: Tensor = tv_tensors.Image(x[at])
            moved: Tensor | None = None if mask is None else tv_tensors.Mask(mask[at])
            for transform in transforms:
                sample, moved = (transform(sample), None) if moved is None else transform(sample, moved)
            out.append((sample.as_subclass(Tensor), None if moved is None else moved.as_subclass(Tensor)))
    return out


class Downscale(nn.Module):
    """Shrink a picture and enlarge it again, as a thumbnail or a re-upload does.

    Args:
        smallest: the least share of the side that is kept, above 0 and at most 1; the draw is uniform from it to 1.
    """

    def __init__(self, smallest: float = 0.5) -> None:
        super().__init__()
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest={smallest}: expected a share above 0 and at most 1")
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        """Uint8 [(T,) 3, S, S] -> the same shape."""
        side = x.shape[-1]
        share = self.smallest + (1 - self.smallest) * float(torch.rand(()))
        small = max(8, round(share * side))
        frames = x.reshape(-1, *x.shape[-3:]).float()
        down = interpolate(frames, (small, small), mode="bilinear", antialias=True, align_corners=False)
        up = interpolate(down, x.shape[-2:], mode="bilinear", align_corners=False)
        return up.round().clamp(0, 255).to(x.dtype).reshape(x.shape)


class DropFrames(nn.Module):
    """Lose frames of a clip as a bad line does: in place of each stands the last one that came.

    Args:
        share: of the frames that are lost, above 0 and below 1; the first always comes.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share={share}: expected a share above 0 and below 1")
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """[T, 3, S, S] -> the same shape; a frame [3, S, S] stays as it is."""
        if x.ndim != 4:
            return x
        number = torch.arange(len(x))
        came = torch.where(torch.rand(len(x)) < self.share, 0, number)
        return x[came.cummax(0).values.to(x.device)]


class Freeze(nn.Module):
    """Hold a clip at one frame for a while, as a stalled player does; it goes on where it would have been.

    Args:
        longest: frames that look alike, at least 2; the draw is uniform from 2 to it, or to the whole clip.
    """

    def __init__(self, longest: int = 4) -> None:
        super().__init__()
        if longest < 2:
            raise ValueError(f"longest={longest}: expected at least 2 frames")
        self.longest = longest

    def forward(self, x: Tensor) -> Tensor:
        """[T, 3, S, S] -> the same shape; a frame [3, S, S] stays as it is."""
        if x.ndim != 4 or len(x) < 2:
            return x
        length = int(torch.randint(2, min(self.longest, len(x)) + 1, ()))
        start = int(torch.randint(0, len(x) - length + 1, ()))
        number = torch.arange(len(x))
        number[start : start + length] = start
        return x[number.to(x.device)]


class Reverse(nn.Module):
    """Play a clip backwards; in a `RandomApply`, sometimes."""

    def forward(self, x: Tensor) -> Tensor:
        """[T, 3, S, S] -> the same shape; a frame [3, S, S] stays as it is."""
        return x.flip(0) if x.ndim == 4 else x
