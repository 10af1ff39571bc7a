"""Perturbations of a crop's pixels: blur, noise, brightness, contrast, saturation, gamma, a covered square."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.perturb.kinds import checked, chosen

Pixels = NDArray[np.uint8]  # [N, 3, H, W], RGB
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of red, green and blue in grey (ITU-R BT.601)
FACTORS = "factors of at least 0"


class Blur:
    """Blur crops with a Gaussian.

    Args:
        levels: standard deviation of each level, px of the crop.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, lambda sigma: sigma > 0, "standard deviations above 0 px")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `Gaussian blur, sigma 2 px`."""
        return f"Gaussian blur, sigma {chosen(self.levels, level):g} px"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Blur each crop [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        sigma = chosen(self.levels, level)
        return np.stack([[cv2.GaussianBlur(plane, (0, 0), sigma) for plane in frame] for frame in x]).astype(np.uint8)


class Noise:
    """Add Gaussian noise like that of a sensor, drawn for each frame, pixel and channel.

    Args:
        levels: standard deviation of each level, as a fraction of the full range.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, lambda sigma: 0 < sigma <= 1, "fractions of the full range above 0 and at most 1")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `Gaussian noise, sigma 0.02`."""
        return f"Gaussian noise, sigma {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Add noise, drawn from `seed`, to each crop [N, 3, S, S]."""
        if not level:
            return x
        noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
        return _rounded(x + 255 * chosen(self.levels, level) * noise)


class Brightness:
    """Multiply all values by a factor, like a longer or shorter exposure.

    Args:
        levels: factor of each level; 1 changes nothing.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, _is_factor, FACTORS)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `brightness times 1.5`."""
        return f"brightness times {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Multiply the values of each crop [N, 3, S, S]; `seed` is not used."""
        return _rounded(np.float32(chosen(self.levels, level)) * x) if level else x


class Contrast:
    """Scale the difference between each value and the mean grey value of all frames of the item by a factor.

    Args:
        levels: factor of each level; 1 changes nothing, 0 gives uniform grey.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, _is_factor, FACTORS)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `contrast times 0.5`."""
        return f"contrast times {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Change the contrast of crops [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        mean = float(x.mean((0, 2, 3)) @ LUMA)
        return _rounded(mean + np.float32(chosen(self.levels, level)) * (x - np.float32(mean)))


class Saturation:
    """Scale the difference between each value and the grey value of its pixel by a factor.

    Args:
        levels: factor of each level; 1 changes nothing, 0 gives a grey picture.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, _is_factor, FACTORS)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `saturation times 0.5`."""
        return f"saturation times {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Change the saturation of each crop [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        grey = luma(x)
        return _rounded(grey + np.float32(chosen(self.levels, level)) * (x - grey))


class Gamma:
    """Raise all values, as fractions of the full range, to a power.

    Args:
        levels: exponent of each level; above 1 darkens, below 1 brightens, 1 changes nothing.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = checked(levels, lambda power: power > 0, "exponents above 0")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `gamma 1.5`."""
        return f"gamma {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Change the values of each crop [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        return _rounded(255 * (np.arange(256) / 255) ** chosen(self.levels, level))[x]


class CutOut:
    """Cover a square with grey, at the same random place in all frames of an item.

    Args:
        levels: fraction of the area that each level covers.
        grey: value of all three channels, 0 to 255.
    """

    def __init__(self, levels: Sequence[float], grey: int = 128) -> None:
        self.levels = checked(levels, lambda share: 0 < share < 1, "fractions of the area between 0 and 1")
        if not 0 <= grey <= 255:
            raise ValueError(f"grey={grey}: expected 0 to 255")
        self.grey = grey

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `a square over 10 % of the area, value 128`."""
        return f"a square over {100 * chosen(self.levels, level):g} % of the area, value {self.grey}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Cover a square of crops [N, 3, S, S]; its position is drawn from `seed`."""
        if not level:
            return x
        height, width = x.shape[2:]
        side = min(height, width, max(1, round((chosen(self.levels, level) * height * width) ** 0.5)))
        down, right = np.random.default_rng(seed).random(2)  # equal at all levels, so a larger square nearly covers
        # the smaller ones
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        made = x.copy()
        made[..., top : top + side, left : left + side] = self.grey
        return made


def luma(x: Pixels) -> NDArray[np.float32]:
    """Return the grey values [N, 1, H, W] of RGB frames x [N, 3, H, W] (ITU-R BT.601)."""
    return np.tensordot(LUMA, x.astype(np.float32), (0, 1))[:, None].astype(np.float32)


def _rounded(values: NDArray[np.floating]) -> Pixels:
    whole: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return whole


def _is_factor(factor: float) -> bool:
    return factor >= 0
