"""The perturbations of DeeperForensics-1.0 (Jiang et al., CVPR 2020, arXiv:2001.03024), five levels each.

Parameters and arithmetic follow the authors' published program. Three perturbations of the program do not do what
their names say: "JPEG compression" saves no JPEG but makes a picture coarser, the contrast change darkens, and the
variance of the noise is relative to a compressed range. The authors perturb whole frames and encode them again; here,
the stored crops are perturbed. The authors' seventh perturbation, video compression, is not in this module: use
`unmask.perturb.videos.H264` with the authors' CRFs.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.perturb.kinds import checked, chosen
from unmask.perturb.pixels import Pixels, luma

BLOCK, GREY = 8, 128  # side of a grey block, px, and its value
# Range of luma and of chroma in 8-bit video; the docstring of `GaussianNoise` explains their use.
LUMA_RANGE, CHROMA_RANGE = 235 - 16, 240 - 16
# Red, green and blue per unit of Y, Cb and Cr, rounded as OpenCV does.
TO_RGB = np.array([[1, 0, 1.403], [1, -0.344, -0.714], [1, 1.773, 0]], np.float32)


class ColourSaturation:
    """CS: multiply the chroma by a factor, and truncate to integers.

    Args:
        levels: factor of each level.
    """

    def __init__(self, levels: Sequence[float] = (0.4, 0.3, 0.2, 0.1, 0.0)) -> None:
        self.levels = checked(levels, _is_factor, "factors from 0 to 1")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics CS: saturation times 0.4`."""
        return f"DeeperForensics CS: saturation times {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Reduce the saturation of crops [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        grey = luma(x)
        changed = grey + np.float32(chosen(self.levels, level)) * (x - grey)
        return np.clip(changed + 1e-3, 0, 255).astype(np.uint8)  # 1e-3: truncation must not change grey values


class ColourContrast:
    """CC: multiply all values by a factor, and truncate to integers; this darkens a picture.

    Args:
        levels: factor of each level.
    """

    def __init__(self, levels: Sequence[float] = (0.85, 0.725, 0.6, 0.475, 0.35)) -> None:
        self.levels = checked(levels, _is_factor, "factors from 0 to 1")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics CC: values times 0.85`."""
        return f"DeeperForensics CC: values times {chosen(self.levels, level):g}"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Darken crops [N, 3, S, S]; `seed` is not used."""
        return (x * np.float32(chosen(self.levels, level))).astype(np.uint8) if level else x


class BlockWise:
    """BW: cover blocks of 8x8 px with grey, like transmission errors, at random places in each frame.

    The number of blocks is multiplied by `side // 256`, where `side` is the shorter side in px. If `side` is below 256,
    the authors' program covers no blocks; here, the number is then multiplied by `side / 256`.

    Args:
        levels: for each level, the number of blocks per 256 px of the shorter side.
    """

    def __init__(self, levels: Sequence[int] = (16, 32, 48, 64, 80)) -> None:
        self.levels = checked(levels, lambda count: count > 0, "numbers of blocks above 0")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics BW: 16 grey blocks per 256 px`."""
        return f"DeeperForensics BW: {chosen(self.levels, level)} grey blocks per 256 px"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Cover blocks of crops [N, 3, S, S], at places drawn from `seed` for each frame."""
        if not level:
            return x
        (height, width), made, rng = x.shape[2:], x.copy(), np.random.default_rng(seed)
        side = min(height, width)
        count = round(chosen(self.levels, level) * (side // 256 if side >= 256 else side / 256))
        for frame in made:
            corners = rng.integers(0, (max(1, height - BLOCK), max(1, width - BLOCK)), (count, 2))
            for top, left in corners:
                frame[:, top : top + BLOCK, left : left + BLOCK] = GREY
        return made


class GaussianNoise:
    """GNC: add white Gaussian noise, drawn for each frame, to Y, Cb and Cr of each pixel, and truncate to integers.

    Before adding the noise, the authors scale Y to [0, 219 / 255], and Cb and Cr by 224 / 255. In grey levels, the
    standard deviation is therefore `255 ** 2 / 219 * variance ** 0.5` for Y; for Cb and Cr, 224 replaces 219.

    Args:
        levels: variance of each level.
    """

    def __init__(self, levels: Sequence[float] = (0.001, 0.002, 0.005, 0.01, 0.05)) -> None:
        self.levels = checked(levels, lambda variance: 0 < variance <= 1, "variances above 0 and at most 1")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics GNC: noise of variance 0.001 in YCbCr`."""
        return f"DeeperForensics GNC: noise of variance {chosen(self.levels, level):g} in YCbCr"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Add noise, drawn from `seed`, to crops [N, 3, S, S]."""
        if not level:
            return x
        drawn = np.random.default_rng(seed).standard_normal((3, *x.shape[:1], *x.shape[2:]), np.float32)
        scale = 255**2 * chosen(self.levels, level) ** 0.5 / np.array([LUMA_RANGE, CHROMA_RANGE, CHROMA_RANGE])
        noise = np.tensordot(TO_RGB * scale.astype(np.float32), drawn, 1).swapaxes(0, 1)  # [N, 3, S, S]
        return np.clip(x + noise, 0, 255).astype(np.uint8)


class GaussianBlur:
    """GB: blur with a Gaussian whose standard deviation is a sixth of its kernel's side.

    Args:
        levels: for each level, the side of the kernel in px; odd.
    """

    def __init__(self, levels: Sequence[int] = (7, 9, 13, 17, 21)) -> None:
        self.levels = checked(levels, lambda side: side > 0 and side % 2 == 1, "odd numbers of px")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics GB: Gaussian blur, kernel 7 px`."""
        return f"DeeperForensics GB: Gaussian blur, kernel {chosen(self.levels, level)} px"

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Blur crops [N, 3, S, S]; `seed` is not used."""
        if not level:
            return x
        side = chosen(self.levels, level)
        blurred = [[cv2.GaussianBlur(plane, (side, side), side / 6) for plane in frame] for frame in x]
        return np.stack(blurred).astype(np.uint8)


class Pixelation:
    """Pixelation: shrink a picture and enlarge it again, both by bilinear interpolation without anti-aliasing.

    The authors call this "JPEG compression"; for real JPEG, see `unmask.perturb.pictures.Jpeg`.

    Args:
        levels: for each level, the number by which the picture's sides are divided.
    """

    def __init__(self, levels: Sequence[int] = (2, 3, 4, 5, 6)) -> None:
        self.levels = checked(levels, lambda divisor: divisor >= 1, "whole numbers of at least 1")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `DeeperForensics "JPEG": pixelation by 2`."""
        return f'DeeperForensics "JPEG": pixelation by {chosen(self.levels, level)}'

    def crops(self, x: Pixels, level: int, seed: int) -> Pixels:
        """Resize crops [N, 3, S, S] down and up; `seed` is not used."""
        if not level:
            return x
        divisor, (height, width) = chosen(self.levels, level), x.shape[2:]
        small = (max(1, width // divisor), max(1, height // divisor))
        resized = [[cv2.resize(cv2.resize(plane, small), (width, height)) for plane in frame] for frame in x]
        return np.stack(resized).astype(np.uint8)


def _is_factor(factor: float) -> bool:
    return 0 <= factor <= 1
