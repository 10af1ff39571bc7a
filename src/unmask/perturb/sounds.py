"""Perturbations of recordings: codecs, a telephone, noise, a lower sampling rate, a narrower band.

A waveform is float32 [S] in [-1, 1], mono, 16 kHz. Every perturbation keeps its length.
"""

from collections.abc import Sequence

import numpy as np

from unmask.media.pcm import RATE
from unmask.perturb.codecs import CODECS, Wave, band_passed, coded, fitted, require_codec, resampled, telephone
from unmask.perturb.kinds import checked, chosen

COLOURS = ("white", "pink")
LOWEST_RATE = 1000  # Hz


class SoundCodec:
    """Encode a recording with a lossy codec, as messengers and video platforms do.

    Args:
        codec: `mp3`, `aac` or `opus`.
        levels: bit rate of each level, kbit/s.

    Raises:
        ValueError: a bit rate is not possible, or PyAV has no encoder. This is checked here, so that a suite fails
            before it starts.
    """

    def __init__(self, codec: str, levels: Sequence[float]) -> None:
        self.codec, self.levels = codec, checked(levels, lambda rate: rate > 0, "bit rates in kbit/s above 0")
        for rate in self.levels:
            require_codec(codec, rate)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `MP3 at 32 kbit/s`."""
        return f"{CODECS[self.codec].label} at {chosen(self.levels, level):g} kbit/s"

    def sound(self, x: Wave, level: int, seed: int) -> Wave:
        """Encode and decode a waveform [S]; `seed` is not used."""
        return coded(x, self.codec, chosen(self.levels, level)) if level else x


class Telephone:
    """Send a recording through a telephone: 8 kHz, a band-pass, and 8-bit mu-law samples (ITU-T G.711).

    Args:
        levels: for each level, the lower and the upper limit of the band, Hz.
    """

    def __init__(self, levels: Sequence[Sequence[float]]) -> None:
        self.levels = checked(levels, _is_band, "pairs [lower, upper] of frequencies above 0 and below 4000 Hz")

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `telephone, 300 to 3400 Hz, G.711`."""
        low, high = chosen(self.levels, level)
        return f"telephone, {low:g} to {high:g} Hz, G.711"

    def sound(self, x: Wave, level: int, seed: int) -> Wave:
        """Limit the band of a waveform [S] and quantise its samples; `seed` is not used."""
        if not level:
            return x
        low, high = chosen(self.levels, level)
        return telephone(x, low, high)


class SoundNoise:
    """Add noise to a recording.

    Args:
        levels: signal-to-noise ratio of each level, dB: the power of the whole recording to that of the noise.
        colour: `white`, or `pink`: the power of the noise falls by 3 dB per octave.
    """

    def __init__(self, levels: Sequence[float], colour: str = "white") -> None:
        if colour not in COLOURS:
            raise ValueError(f"colour={colour}: expected one of {', '.join(COLOURS)}")
        self.levels = checked(levels, lambda ratio: -20 <= ratio <= 100, "ratios from -20 to 100 dB")
        self.colour = colour

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `white noise, SNR 20 dB`."""
        return f"{self.colour} noise, SNR {chosen(self.levels, level):g} dB"

    def sound(self, x: Wave, level: int, seed: int) -> Wave:
        """Add noise, drawn from `seed`, to a waveform [S]; the noise differs between levels only by its power."""
        if not level:
            return x
        return noisy(x, noise(len(x), self.colour, seed), chosen(self.levels, level))


class Resampled:
    """Convert a recording to a lower sampling rate and back.

    Args:
        levels: sampling rate of each level, Hz.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        expected = f"rates from {LOWEST_RATE} to {RATE - 1} Hz"
        self.levels = checked(levels, lambda rate: LOWEST_RATE <= rate < RATE, expected)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `resampled to 8000 Hz and back`."""
        return f"resampled to {chosen(self.levels, level)} Hz and back"

    def sound(self, x: Wave, level: int, seed: int) -> Wave:
        """Resample a waveform [S]; `seed` is not used."""
        return resampled(x, chosen(self.levels, level)) if level else x


class BandLimit:
    """Remove the frequencies of a recording above a limit.

    Args:
        levels: the limit of each level, Hz.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        expected = f"frequencies from 100 to below {RATE // 2} Hz"
        self.levels = checked(levels, lambda limit: 100 <= limit < RATE / 2, expected)

    def words(self, level: int) -> str:
        """Return a description of the perturbation, such as `low-pass filter, 4000 Hz`."""
        return f"low-pass filter, {chosen(self.levels, level):g} Hz"

    def sound(self, x: Wave, level: int, seed: int) -> Wave:
        """Filter a waveform [S]; `seed` is not used."""
        if not level:
            return x
        made = band_passed(x.astype(np.float64), 0, chosen(self.levels, level), RATE)
        return fitted(made.astype(np.float32), len(x))


def noise(length: int, colour: str, seed: int) -> Wave:
    """Return noise [length] of power 1, drawn from `seed`; `colour` is one of `COLOURS`."""
    drawn = np.random.default_rng(seed).standard_normal(length)
    if colour == "pink":
        spectrum = np.fft.rfft(drawn)
        drawn = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), length)
    power = np.sqrt(np.square(drawn).mean())
    return np.asarray(drawn / max(power, np.finfo(np.float64).tiny), np.float32)


def noisy(x: Wave, added: Wave, ratio: float) -> Wave:
    """Add noise of power 1 to a waveform, both [S], at a signal-to-noise ratio in dB; silence stays silent."""
    power = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    return np.clip(x + np.float32(power * 10 ** (-ratio / 20)) * added, -1, 1).astype(np.float32)


def _is_band(band: Sequence[float]) -> bool:
    return len(band) == 2 and 0 < band[0] < band[1] < 4000
