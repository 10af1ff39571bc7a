"""Inputs of generators: noise from seeds, and interpolation between noise vectors."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def noise(shape: Sequence[int], n: int, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Draw standard normal noise for each seed [n, *shape], independent of the device and the batch.

    Raises:
        ValueError: there is not one seed per image.
    """
    if len(seeds) != n:
        raise ValueError(f"{n} pictures want {n} seeds, not {len(seeds)}")
    drawn = [torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(drawn).to(device)


def walk(stops: Tensor, steps: int) -> Tensor:
    """Interpolate noise [K, ...] -> [K * steps, ...] on great circles: from each to the next, the last to the first.

    Straight lines would pass through noise of smaller norm than any the generator was trained on (arXiv 1609.04468).
    """
    flat = stops.flatten(1).double()
    after = flat.roll(-1, 0)
    cosine = torch.nn.functional.cosine_similarity(flat, after).clamp(-1, 1)
    angle = cosine.acos()[:, None, None].clamp(min=1e-6)  # [K, 1, 1]
    share = (torch.arange(steps, device=stops.device) / steps)[None, :, None].double()  # [1, steps, 1]
    way = ((1 - share) * angle).sin() * flat[:, None] + (share * angle).sin() * after[:, None]
    return (way / angle.sin()).view(-1, *stops.shape[1:]).to(stops)


def seed_of(seed: int, number: int) -> int:
    """Derive the seed of one image, so that it depends on neither the batch nor the order."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8]) >> 1
