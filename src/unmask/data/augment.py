"""What happens to a batch on its device: uint8 becomes float, is resized, and in training each sample is augmented."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Augment = Callable[[Tensor], Tensor]


def to_float(x: Tensor, image_size: int) -> Tensor:
    """Uint8 [B, (T,) 3, S, S] -> float [B, (T,) 3, image_size, image_size] in [0, 1]; antialiased bilinear."""
    x = x.float() / 255
    if x.shape[-1] == image_size and x.shape[-2] == image_size:
        return x
    frames = x.flatten(0, -4)  # [B*T, 3, S, S]
    size = (image_size, image_size)
    resized: Tensor = interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return resized.reshape(*x.shape[:-2], *size)


def augment_each(x: Tensor, augment: Augment, seeds: list[int]) -> Tensor:
    """Augment each sample [3, H, W] or [T, 3, H, W] of a batch by itself, one draw for all its frames.

    torchvision's transforms take one draw for whatever they are given, so they are given one sample at a time; its
    seed makes the draw the same whenever the sample comes again.
    """
    if isinstance(augment, nn.Identity):
        return x
    devices = [x.device] if x.is_cuda else []
    out = []
    with torch.random.fork_rng(devices=devices):
        for sample, seed in zip(x, seeds, strict=True):
            torch.manual_seed(seed)
            out.append(augment(sample))
    return torch.stack(out).clamp(0, 1)
