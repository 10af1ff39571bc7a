"""Hand-crafted features, which serve as baselines for deep detectors.

The classes have the same interface as those in `encoders.py`: images [N, C, H, W] in [0, 1] -> [N, num_features].
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green and blue, ITU-R BT.601


class PixelEncoder(nn.Module):
    """Downsample and flatten an image; its pixel values are the features.

    Args:
        side: side of the downsampled image, px.
        channels: number of input channels.
    """

    def __init__(self, side: int = 24, channels: int = 3) -> None:
        super().__init__()
        self.side, self.channels, self.num_features = side, channels, channels * side**2

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"side={self.side}, channels={self.channels}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, channels * side * side] of images x [N, channels, H, W] in [0, 1]."""
        small: Tensor = interpolate(x, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False)
        return small.flatten(1)


class SpectrumEncoder(nn.Module):
    """Compute the log power spectrum of the luminance, averaged over all directions.

    After "Unmasking DeepFakes with simple Features", Durall et al. 2019 (arXiv 1911.00686): upsampling in a generator
    leaves traces at high frequencies.

    Args:
        bins: number of rings of equal width in the frequency plane, from zero frequency (mean brightness) to the
            highest frequency (a chequerboard).
        channels: number of input channels, 3 per RGB image; several images can be stacked in the channel dimension.
    """

    def __init__(self, bins: int = 32, channels: int = 3) -> None:
        super().__init__()
        if channels % 3:
            raise ValueError(f"channels={channels}: expected a multiple of 3")
        self.bins, self.channels, self.num_features = bins, channels, bins * channels // 3

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"bins={self.bins}, channels={self.channels}"

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N, bins * channels / 3] of x [N, channels, H, W] in [0, 1]; H and W are >= 2 * bins."""
        if min(x.shape[-2:]) < 2 * self.bins:
            raise ValueError(
                f"{x.shape[-2]}x{x.shape[-1]} px is too small for bins={self.bins}: lower bins, or increase image_size"
            )
        pictures = x.float().reshape(len(x), -1, 3, *x.shape[2:])
        red, green, blue = pictures.unbind(2)  # [N, pictures, H, W] each
        grey = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
        level = torch.log(torch.fft.fft2(grey, norm="ortho").abs().square() + 1e-8).flatten(2)  # [N, pictures, H * W]
        ring = _rings(x.shape[-2], x.shape[-1], self.bins, x.device)
        sums = level.new_zeros(*level.shape[:2], self.bins).index_add(2, ring, level)
        count = level.new_zeros(self.bins).index_add(0, ring, torch.ones_like(level[0, 0]))
        return (sums / count).flatten(1)


def _rings(height: int, width: int, bins: int, device: torch.device) -> Tensor:
    """Return the ring index of each frequency, [H * W], for an image of `height` x `width` px."""
    down = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    across = torch.fft.fftfreq(width, dtype=torch.float64)[None]
    radius = (2 * (down.square() + across.square())).sqrt()  # 0 to 1; a frequency is at most half the sampling rate
    # A frequency on the border of two rings is assigned to the outer ring, even if the square root was rounded down.
    rings: Tensor = (radius * bins + 1e-9).long().clamp(max=bins - 1).flatten()
    return rings.to(device)
