"""Front ends for sound: waveforms [B, S] at 16 kHz -> features [B, num_features, T] over time.

Both are computed in float32, also under autocast, because half precision cannot hold the range of a power spectrum.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from unmask.networks.waves import RATE, expect_waves

WINDOW, HOP, FFT = 320, 160, 512  # samples: 20 ms, 10 ms; the window is padded with zeros to the length of the FFT
PRE_EMPHASIS = 0.97
# Is added to powers before the logarithm; about the power of the rounding errors of 16 bits. The modules keep it as a
# tensor [1], because PyTorch's exporter to ONNX takes a number that is at most 1e-8 for 0, and removes the addition.
FLOOR = 1e-8
SHORTEST = 3 * WINDOW  # samples: gives at least five frames


class PowerSpectrum(nn.Module):
    """Compute the power spectrum of Hamming windows of 20 ms, every 10 ms.

    Args:
        pre_emphasis: whether `emphasise` is applied to the waveforms first.
    """

    window: Tensor

    def __init__(self, pre_emphasis: bool) -> None:
        super().__init__()
        self.pre_emphasis = pre_emphasis
        self.register_buffer("window", torch.hamming_window(WINDOW, periodic=False), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the powers [B, T, FFT / 2 + 1] of waveforms x [B, S]; T = 1 + (S - 320) // 160."""
        if self.pre_emphasis:
            x = emphasise(x)
        frames = x.unfold(1, WINDOW, HOP) * self.window
        power: Tensor = torch.fft.rfft(frames, FFT).abs().square()
        return power


def emphasise(x: Tensor) -> Tensor:
    """Raise the high frequencies of waveforms x [B, S], in which speech has little power: x[t] - 0.97 x[t - 1]."""
    return x - PRE_EMPHASIS * pad(x, (1, 0))[:, :-1]


class Lfcc(nn.Module):
    """Linear-frequency cepstral coefficients, with their first and second differences over time.

    The logarithms of the powers in triangular bands of equal width are transformed by an orthonormal DCT-II. Unlike mel
    bands, bands of equal width keep the resolution at high frequencies, where synthetic speech often differs. The
    defaults are those of the baseline of ASVspoof 2021 (arXiv:2109.00537), except for its energy term.

    Args:
        bands: number of bands from 0 to 8 kHz.
        coefficients: number of cepstral coefficients that are kept, at most `bands`.
        differences: whether first and second differences are added, which makes three times as many features.
    """

    bands: Tensor
    floor: Tensor
    cosines: Tensor

    def __init__(self, bands: int = 20, coefficients: int = 20, differences: bool = True) -> None:
        super().__init__()
        if not 1 <= coefficients <= bands:
            raise ValueError(f"coefficients={coefficients}: expected 1 to {bands}, the number of bands")
        self.differences, self.num_features = differences, coefficients * (3 if differences else 1)
        self.power = PowerSpectrum(pre_emphasis=True)
        edges = torch.linspace(0, RATE / 2, bands + 2)
        self.register_buffer("bands", triangles(edges), persistent=False)
        self.register_buffer("floor", torch.tensor([FLOOR]), persistent=False)
        number, at = torch.arange(coefficients)[:, None], torch.arange(bands) + 0.5
        cosines = torch.cos(math.pi * number * at / bands) * math.sqrt(2 / bands)
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features, T] of waveforms x [B, S] in [-1, 1]."""
        expect_waves(x, SHORTEST)
        with torch.autocast(x.device.type, enabled=False):
            energy = (self.power(x.float()) @ self.bands.T + self.floor).log()
            found: Tensor = (energy @ self.cosines.T).transpose(1, 2)
        if not self.differences:
            return found
        first = slope(found)
        return torch.cat([found, first, slope(first)], dim=1)


class LogMel(nn.Module):
    """Logarithms of the powers in triangular bands of equal width on the mel scale.

    Args:
        bands: number of bands.
        lowest: lower edge of the first band, Hz.
        highest: upper edge of the last band, Hz; at most 8000.
    """

    bands: Tensor
    floor: Tensor

    def __init__(self, bands: int = 64, lowest: float = 20.0, highest: float = 8000.0) -> None:
        super().__init__()
        if not 0 <= lowest < highest <= RATE / 2:
            raise ValueError(f"lowest={lowest}, highest={highest}: expected frequencies from 0 to {RATE // 2} Hz")
        self.num_features = bands
        self.power = PowerSpectrum(pre_emphasis=False)
        ends = 2595 * torch.log10(1 + torch.tensor([lowest, highest]) / 700)
        edges = 700 * (10 ** (torch.linspace(float(ends[0]), float(ends[1]), bands + 2) / 2595) - 1)
        self.register_buffer("bands", triangles(edges), persistent=False)
        self.register_buffer("floor", torch.tensor([FLOOR]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [B, bands, T] of waveforms x [B, S] in [-1, 1]."""
        expect_waves(x, SHORTEST)
        with torch.autocast(x.device.type, enabled=False):
            energy: Tensor = (self.power(x.float()) @ self.bands.T + self.floor).log()
        return energy.transpose(1, 2)


def triangles(edges: Tensor) -> Tensor:
    """Return the weights of triangular bands, which rise from one edge to the next and fall to the one after it.

    Args:
        edges: frequencies [K + 2], Hz, ascending.

    Returns:
        Weights of the frequencies of the FFT, [K, FFT / 2 + 1], at most 1. A band that is too narrow to contain a
        frequency of the FFT has the nearest one.
    """
    frequency = torch.linspace(0, RATE / 2, FFT // 2 + 1)
    left, centre, right = (edges[at : len(edges) - 2 + at, None] for at in range(3))
    weight = torch.minimum((frequency - left) / (centre - left), (right - frequency) / (right - centre)).clamp(min=0)
    nearest = nn.functional.one_hot((frequency - centre).abs().argmin(1), len(frequency)).to(weight.dtype)
    return torch.where(weight.sum(1, keepdim=True) > 0, weight, nearest)


def slope(x: Tensor) -> Tensor:
    """Return the differences between the next and the previous frame of features [B, F, T]; the ends are repeated."""
    padded = pad(x, (1, 1), mode="replicate")
    return padded[..., 2:] - padded[..., :-2]
