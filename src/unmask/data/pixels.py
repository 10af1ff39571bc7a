"""Convert stored pixels or sound to a network's input."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def to_float(x: "Tensor", image_size: int) -> "Tensor":
    """Convert uint8 [B, (T,) C, S, S] to float [B, (T,) C, image_size, image_size] in [0, 1]; antialiased bilinear.

    Waveforms, which are float [B, S] in [-1, 1], are returned unchanged.
    """
    if x.is_floating_point():
        return x
    return resized(x.float() / 255, image_size)


def resized(x: "Tensor", image_size: int) -> "Tensor":
    """Resize float [B, (T,) C, S, S] in [0, 1] to [B, (T,) C, image_size, image_size]; antialiased bilinear."""
    from torch.nn.functional import interpolate

    if x.shape[-1] == image_size and x.shape[-2] == image_size:
        return x
    frames = x.flatten(0, -4)  # [B*T, C, S, S]
    size = (image_size, image_size)
    result: Tensor = interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    return result.reshape(*x.shape[:-2], *size)
