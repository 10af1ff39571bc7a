"""Waveforms as arrays: the sample rate that unmask uses, resampling, and conversion from and to 16 bits."""

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]  # [S] in [-1, 1], one channel

RATE = 16_000  # samples per second of every waveform that unmask stores or scores
DENOMINATOR = 1_000  # largest denominator of the ratio of sample rates; other ratios are rounded, by less than 1e-6
ZERO_CROSSINGS, BETA = 64, 9.0  # of the resampling filter: zero crossings at each side, and shape of its Kaiser window


def resample(sound: Sound, rate: int, wanted: int = RATE) -> Sound:
    """Resample a waveform [S] from `rate` to `wanted` samples per second.

    A polyphase filter with linear phase, so that no frequency is delayed. Its stop band, above the lower of the two
    Nyquist frequencies, is attenuated by 90 dB; the upper 9 % of the pass band are attenuated, too.
    """
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly  # slow to import

    ratio = Fraction(wanted, rate).limit_denominator(DENOMINATOR)
    up, down = ratio.numerator, ratio.denominator
    filtered = resample_poly(sound, up, down, window=_filter(up, down))  # type: ignore[call-overload]
    return np.asarray(filtered, np.float32)


@lru_cache(maxsize=8)
def _filter(up: int, down: int) -> Sound:
    """Return the taps of the anti-aliasing filter at `up` times the original rate.

    SciPy's types allow only windows by name, but `resample_poly` also takes the taps themselves.
    """
    from scipy.signal import firwin

    slower = max(up, down)
    transition = 11.5 / (2 * ZERO_CROSSINGS)  # width for `BETA` (Kaiser's formula), as a share of the Nyquist frequency
    taps = firwin(2 * ZERO_CROSSINGS * slower + 1, (1 - transition / 2) / slower, window=("kaiser", BETA))
    return np.asarray(taps, np.float32)


def to_int16(sound: Sound) -> NDArray[np.int16]:
    """Round a waveform in [-1, 1] to 16 bits; the waveform of a 16-bit file is not changed."""
    return np.asarray(np.clip(np.rint(sound * 32768.0), -32768, 32767), np.int16)


def to_float32(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """Convert 16-bit samples to float in [-1, 1)."""
    return sound.astype(np.float32) / np.float32(32768)
