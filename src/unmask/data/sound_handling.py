"""Augmentations of recordings: codecs, a telephone, noise, reverberation, gain, and those of RawBoost.

They run in the loader's worker on a waveform, float32 [S] in [-1, 1], mono, 16 kHz, and keep its length. Random numbers
come from PyTorch's default generator, which is seeded for each sample (see `data.augment`).

RawBoost is "RawBoost: A Raw Data Boosting and Augmentation Method applied to Automatic Speaker Verification
Anti-Spoofing", Tak et al. 2022 (arXiv:2111.04433). Here, the level of the recording is kept, so that it is no cue.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unmask.media.pcm import RATE
from unmask.perturb.codecs import CODECS, coded, require_codec, telephone
from unmask.perturb.sounds import COLOURS, noise, noisy

Range = Sequence[float]  # lowest and highest value; drawn uniformly
LOWEST, HIGHEST = 20.0, 8000.0  # Hz: range of the centres of RawBoost's filters
WIDTH, TAPS = (100.0, 1000.0), (10, 100)  # Hz, number of taps: ranges of RawBoost's filters


class Recode(nn.Module):
    """Encode a recording with a random lossy codec, and decode it.

    Args:
        codecs: names of codecs, one of which is drawn: `mp3`, `aac`, `opus`.
        bit_rate: lowest and highest bit rate, kbit/s; its logarithm is drawn uniformly.
    """

    def __init__(self, codecs: Sequence[str] = tuple(CODECS), bit_rate: Range = (12, 64)) -> None:
        super().__init__()
        if not codecs:
            raise ValueError(f"codecs=[]: expected some of {', '.join(CODECS)}")
        self.codecs, self.bit_rate = list(codecs), _range("bit_rate", bit_rate, 1, 1000)
        for name in self.codecs:
            for rate in self.bit_rate:
                require_codec(name, rate)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        name = self.codecs[int(torch.randint(len(self.codecs), ()))]
        low, high = np.log(self.bit_rate)
        return torch.from_numpy(coded(x.numpy(), name, float(np.exp(_draw((low, high))))))


class Phone(nn.Module):
    """Send a recording through a telephone: 8 kHz, a random band, and 8-bit mu-law samples.

    Args:
        lowest: range of the lower limit of the band, Hz.
        highest: range of the upper limit of the band, Hz; below 4000.
    """

    def __init__(self, lowest: Range = (150, 400), highest: Range = (3000, 3700)) -> None:
        super().__init__()
        self.lowest, self.highest = _range("lowest", lowest, 1, 3999), _range("highest", highest, 1, 3999)
        if self.lowest[1] >= self.highest[0]:
            raise ValueError(f"lowest={list(lowest)}: expected frequencies below highest={list(highest)}")

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        return torch.from_numpy(telephone(x.numpy(), _draw(self.lowest), _draw(self.highest)))


class AddNoise(nn.Module):
    """Add noise of a random colour at a random signal-to-noise ratio.

    Args:
        ratio: range of the signal-to-noise ratio, dB.
        colours: `white`, `pink` or both; one is drawn.
    """

    def __init__(self, ratio: Range = (10, 40), colours: Sequence[str] = COLOURS) -> None:
        super().__init__()
        if not colours or not set(colours) <= set(COLOURS):
            raise ValueError(f"colours={list(colours)}: expected some of {', '.join(COLOURS)}")
        self.ratio, self.colours = _range("ratio", ratio, -20, 100), list(colours)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        colour = self.colours[int(torch.randint(len(self.colours), ()))]
        added = noise(len(x), colour, int(torch.randint(2**31, ())))
        return torch.from_numpy(noisy(x.numpy(), added, _draw(self.ratio)))


class Reverberate(nn.Module):
    """Put a recording into a random room: its sound is followed by exponentially fading noise. The level is kept.

    Args:
        seconds: range of the reverberation time, in which the sound fades by 60 dB.
        direct: range of the ratio of the direct sound to the reverberation, dB.
    """

    def __init__(self, seconds: Range = (0.1, 0.8), direct: Range = (0, 15)) -> None:
        super().__init__()
        self.seconds, self.direct = _range("seconds", seconds, 0.01, 10), _range("direct", direct, -20, 60)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        seconds, ratio = _draw(self.seconds), _draw(self.direct)
        count = max(2, min(len(x), round(seconds * RATE)))
        tail = torch.randn(count) * 10 ** (-3 * torch.arange(count) / (seconds * RATE))
        tail[0] = 0
        room = tail / tail.square().sum().sqrt() * 10 ** (-ratio / 20)
        room[0] = 1
        return _at_level_of(x, filtered(x, room))


class Gain(nn.Module):
    """Change the level of a recording; samples beyond full scale are clipped.

    Args:
        decibel: range of the change, dB.
    """

    def __init__(self, decibel: Range = (-12, 6)) -> None:
        super().__init__()
        self.decibel = _range("decibel", decibel, -60, 60)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        return (x * 10 ** (_draw(self.decibel) / 20)).clamp(-1, 1)


class ConvolutiveNoise(nn.Module):
    """Add filtered powers of a recording to it, as non-linear microphones and amplifiers do (RawBoost, algorithm 1).

    Each power has a filter of its own that is made of random notches.

    Args:
        powers: highest power; 1 only filters the recording.
        notches: number of notches per filter.
        fainter: range of the attenuation of the higher powers, dB.
    """

    def __init__(self, powers: int = 5, notches: int = 5, fainter: Range = (5, 20)) -> None:
        super().__init__()
        if powers < 1 or notches < 1:
            raise ValueError(f"powers={powers}, notches={notches}: expected at least 1 of each")
        self.powers, self.notches, self.fainter = powers, notches, _range("fainter", fainter, 0, 100)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        made = filtered(x, notched(self.notches), centred=True)
        for power in range(2, self.powers + 1):
            gain = 10 ** (-_draw(self.fainter) / 20)
            made = made + gain * filtered(x**power, notched(self.notches), centred=True)
        return _at_level_of(x, made - made.mean())


class ImpulsiveNoise(nn.Module):
    """Add impulses at random samples, in proportion to the samples (RawBoost, algorithm 2).

    Args:
        share: range of the share of samples with an impulse.
        gain: largest ratio of an impulse to its sample.
    """

    def __init__(self, share: Range = (0.0, 0.1), gain: float = 2.0) -> None:
        super().__init__()
        if gain <= 0:
            raise ValueError(f"gain={gain}: expected a factor above 0")
        self.share, self.gain = _range("share", share, 0, 1), gain

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        struck = torch.rand(len(x)) < _draw(self.share)
        size = (2 * torch.rand(len(x)) - 1) * (2 * torch.rand(len(x)) - 1)
        return _at_level_of(x, x + self.gain * size * x * struck)


class StationaryNoise(nn.Module):
    """Add noise of a random spectrum that does not depend on the recording (RawBoost, algorithm 3).

    Args:
        ratio: range of the signal-to-noise ratio, dB.
        notches: number of notches of the noise's filter.
    """

    def __init__(self, ratio: Range = (10, 40), notches: int = 5) -> None:
        super().__init__()
        if notches < 1:
            raise ValueError(f"notches={notches}: expected at least 1")
        self.ratio, self.notches = _range("ratio", ratio, -20, 100), notches

    def forward(self, x: Tensor) -> Tensor:
        """Transform a waveform [S] -> [S]."""
        added = filtered(torch.randn(len(x)), notched(self.notches), centred=True)
        power = x.square().mean().sqrt() * 10 ** (-_draw(self.ratio) / 20)
        return (x + added * power / added.square().mean().sqrt().clamp(min=1e-12)).clamp(-1, 1)


def notched(count: int) -> Tensor:
    """Return the taps [L] of a filter of `count` random notches, scaled to a largest gain of 1.

    The centres, the widths and the lengths of the notches are drawn from the ranges of the paper.
    """
    taps = torch.ones(1)
    for _ in range(count):
        centre, width = _draw((LOWEST, HIGHEST)), _draw(WIDTH)
        length = 2 * (int(torch.randint(TAPS[0], TAPS[1] + 1, ())) // 2) + 1
        low, high = (min(max(edge, 1.0), RATE / 2) / RATE for edge in (centre - width / 2, centre + width / 2))
        at = torch.arange(length) - length // 2
        passed = 2 * high * torch.sinc(2 * high * at) - 2 * low * torch.sinc(2 * low * at)
        one = -passed * torch.hamming_window(length, periodic=False)
        one[length // 2] += 1
        taps = torch.conv1d(taps.view(1, 1, -1), one.flip(0).view(1, 1, -1), padding=length - 1).flatten()
    scaled: Tensor = taps / torch.fft.rfft(taps, 4096).abs().max()
    return scaled


def filtered(x: Tensor, taps: Tensor, centred: bool = False) -> Tensor:
    """Convolve a waveform [S] with taps [L], by FFT -> [S].

    Args:
        x: the waveform.
        taps: the filter.
        centred: whether the middle tap belongs to time 0, so that a symmetric filter delays nothing; else the first.
    """
    size = len(x) + len(taps) - 1
    found: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(taps, size), size)
    start = (len(taps) - 1) // 2 if centred else 0
    return found[start : start + len(x)]


def _at_level_of(x: Tensor, made: Tensor) -> Tensor:
    """Scale a waveform to the power of x, and clip it to [-1, 1]."""
    power = [one.square().mean().sqrt() for one in (x, made)]
    return (made * power[0] / power[1].clamp(min=1e-12)).clamp(-1, 1)


def _range(name: str, given: Range, least: float, most: float) -> tuple[float, float]:
    low, high = given
    if not least <= low <= high <= most:
        raise ValueError(f"{name}={list(given)}: expected [lowest, highest] between {least} and {most}")
    return float(low), float(high)


def _draw(bounds: tuple[float, float]) -> float:
    """Draw a number uniformly."""
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand(()))
