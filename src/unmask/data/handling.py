"""Augmentations that imitate the handling of pictures: saving again, resizing, noise, or several of these in a row.

They run on uint8 in the loader's worker (see `Augmentation.worker`). A clip gets one draw for all its frames.
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from unmask.perturb.pictures import SUBSAMPLINGS, each, saved

FILTERS = (
    Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS,
)  # fmt: skip
SMALLEST = 8  # px: smallest side of a resized picture

Transform = Callable[[Tensor], Tensor]


class Jpeg(nn.Module):
    """Save a picture as JPEG and read it again.

    torchvision's `JPEG` always halves the chroma resolution. This transform also supports other subsamplings, because
    some cameras and editors use them.

    Args:
        quality: lowest and highest quality of libjpeg, 1 to 100; drawn uniformly.
        subsampling: names of chroma subsamplings, one of which is drawn.
    """

    def __init__(self, quality: Sequence[int] = (30, 95), subsampling: Sequence[str] = SUBSAMPLINGS) -> None:
        super().__init__()
        self.quality, self.subsampling = _range(quality, 1, 100), list(subsampling)
        if not self.subsampling or not set(self.subsampling) <= set(SUBSAMPLINGS):
            raise ValueError(f"subsampling={self.subsampling}: expected some of {', '.join(SUBSAMPLINGS)}")

    def forward(self, x: Tensor) -> Tensor:
        """Transform a picture or clip, uint8 [(T,) 3, S, S] -> the same shape."""
        how = {"quality": _draw(self.quality), "subsampling": self.subsampling[_draw((0, len(self.subsampling) - 1))]}
        return _each(x, lambda picture: saved(picture, "JPEG", **how))


class WebP(nn.Module):
    """Save a picture as lossy WebP, as messengers and websites do, and read it again.

    Args:
        quality: lowest and highest quality, 1 to 100; drawn uniformly.
    """

    def __init__(self, quality: Sequence[int] = (30, 95)) -> None:
        super().__init__()
        self.quality = _range(quality, 1, 100)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a picture or clip, uint8 [(T,) 3, S, S] -> the same shape."""
        quality = _draw(self.quality)
        return _each(x, lambda picture: saved(picture, "WEBP", quality=quality, method=2))


class Resample(nn.Module):
    """Downscale a picture and upscale it again, with one random filter for each step.

    Args:
        smallest: lower bound of the scale factor, in (0, 1]; the factor is drawn uniformly from [smallest, 1].
    """

    def __init__(self, smallest: float = 0.4) -> None:
        super().__init__()
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest={smallest}: expected a fraction above 0 and at most 1")
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        """Transform a picture or clip, uint8 [(T,) 3, H, W] -> the same shape."""
        factor = self.smallest + (1 - self.smallest) * float(torch.rand(()))
        down, up = (FILTERS[_draw((0, len(FILTERS) - 1))] for _ in range(2))

        def resized(picture: Image.Image) -> Image.Image:
            small = [max(SMALLEST, round(factor * side)) for side in picture.size]
            return picture.resize((small[0], small[1]), down).resize(picture.size, up)

        return _each(x, resized)


class Noise(nn.Module):
    """Add Gaussian noise, the same to all frames of a clip, so that it does not flicker.

    Args:
        sigma: lowest and highest standard deviation, as a fraction of the full range; drawn uniformly.
    """

    def __init__(self, sigma: Sequence[float] = (0.0, 0.03)) -> None:
        super().__init__()
        self.low, self.high = sigma
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"sigma={list(sigma)}: expected [lowest, highest] between 0 and 1")

    def forward(self, x: Tensor) -> Tensor:
        """Transform a picture or clip, uint8 [(T,) 3, S, S] -> the same shape."""
        sigma = 255 * (self.low + (self.high - self.low) * float(torch.rand(())))
        return (x + sigma * torch.randn(x.shape[-3:])).round().clamp(0, 255).to(x.dtype)


class SomeOf(nn.Module):
    """Apply a random number of randomly chosen transforms in random order.

    Args:
        transforms: the transforms.
        most: maximum number of transforms per sample; the number is drawn uniformly from 0 to `most`.
    """

    def __init__(self, transforms: Sequence[Transform], most: int = 2) -> None:
        super().__init__()
        if not 1 <= most <= len(transforms):
            raise ValueError(f"most={most}: expected 1 to {len(transforms)}, the number of transforms")
        self.transforms, self.most = list(transforms), most

    def forward(self, x: Tensor) -> Tensor:
        """Transform a picture or clip, uint8 [(T,) 3, S, S], or a waveform [S] -> the same shape."""
        order = torch.randperm(len(self.transforms)).tolist()
        for at in order[: _draw((0, self.most))]:
            x = self.transforms[at](x)
        return x


def _range(given: Sequence[int], least: int, most: int) -> tuple[int, int]:
    low, high = given
    if not least <= low <= high <= most:
        raise ValueError(f"quality={list(given)}: expected [lowest, highest] between {least} and {most}")
    return int(low), int(high)


def _draw(bounds: tuple[int, int]) -> int:
    """Draw an integer uniformly; both bounds are included."""
    return int(torch.randint(bounds[0], bounds[1] + 1, ()))


def _each(x: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Change the picture, or every frame of the clip, uint8 [(T,) 3, H, W] -> the same shape."""
    return torch.from_numpy(each(x.reshape(-1, *x.shape[-3:]).numpy(), change)).reshape(x.shape)
