"""Inputs of generators: noise from seeds, and interpolation between noise vectors."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

GOLDEN = 0.6180339887498949  # for any n, the fractional parts of its first n multiples are evenly spread in [0, 1]


def noise(shape: Sequence[int], n: int, seeds: Sequence[int], device: torch.device) -> Tensor:
    """Draw standard normal noise [n, *shape]; each element depends only on its seed, not on the device or the batch.

    Raises:
        ValueError: the number of seeds is not `n`.
    """
    if len(seeds) != n:
        raise ValueError(f"expected {n} seeds for {n} images, but got {len(seeds)}")
    drawn = [torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(drawn).to(device)


def walk(stops: Tensor, steps: int) -> Tensor:
    """Interpolate noise vectors along great circles, from each vector to the next and from the last to the first.

    Straight lines would pass through noise of a smaller norm than in training (arXiv 1609.04468).

    Args:
        stops: noise vectors [K, ...].
        steps: number of returned vectors from each of the `stops` (included) to the next (excluded).

    Returns:
        Noise vectors [K * steps, ...].
    """
    flat = stops.flatten(1).double()
    after = flat.roll(-1, 0)
    cosine = torch.nn.functional.cosine_similarity(flat, after).clamp(-1, 1)
    angle = cosine.acos()[:, None, None].clamp(min=1e-6)  # [K, 1, 1]
    share = (torch.arange(steps, device=stops.device) / steps)[None, :, None].double()  # [1, steps, 1]
    way = ((1 - share) * angle).sin() * flat[:, None] + (share * angle).sin() * after[:, None]
    return (way / angle.sin()).view(-1, *stops.shape[1:]).to(stops)


def lines(stops: Tensor, steps: int) -> Tensor:
    """Interpolate styles along straight lines, from each to the next and from the last to the first.

    Args:
        stops: styles [K, ...].
        steps: number of returned styles from each of the `stops` (included) to the next (excluded).

    Returns:
        Styles [K * steps, ...].
    """
    share = (torch.arange(steps, device=stops.device) / steps).view(1, steps, *[1] * (stops.ndim - 1))
    way = torch.lerp(stops[:, None], stops.roll(-1, 0)[:, None], share)
    return way.flatten(0, 1)


def film(
    make: Callable[[Tensor, Tensor | None], Tensor],
    stops: Tensor,
    steps: int,
    size: int,
    condition: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield batches of images [size, 3, S, S] of a film that interpolates noise along great circles, see `walk`.

    Args:
        make: (noise, attributes or None) -> images.
        stops: noise vectors [K, ...].
        steps: number of images from each of the `stops` to the next.
        size: number of images in a batch.
        condition: attributes [1, A] of all images; None without attributes.
    """
    for part in torch.split(walk(stops, steps), size):
        yield make(part, None if condition is None else condition.expand(len(part), -1))


def seed_of(seed: int, number: int) -> int:
    """Derive the seed of image `number` from `seed`; the result does not depend on the batch or the order of images."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8]) >> 1
