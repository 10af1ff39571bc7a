"""From the lips to the file: rooms, microphones, noise and level, drawn alike for real and forged speech."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from unmask.demo.speech import RATE, Random
from unmask.demo.throat import Wave

TAIL = 0.3  # length of the echo of a room, s
TAPS = 257  # of a microphone's filter
LEVEL = (-34.0, -27.0)  # level of a file, dB relative to full scale; its peaks stay below full scale
OFFSET = 0.002  # largest mean of a recording, as of an analogue-to-digital converter
SNR = (24.0, 42.0)  # level of the speech above the noise, dB


@dataclass(frozen=True)
class Channel:
    """A room, a microphone and its noise.

    Attributes:
        echo: impulse response of the room.
        microphone: impulse response of the microphone.
        colour: impulse response that colours white noise.
        snr: level of the speech above the noise, dB.
    """

    echo: Wave
    microphone: Wave
    colour: Wave
    snr: float


def draw_channel(r: Random) -> Channel:
    """Draw a room, a microphone and its noise."""
    low, high = r.uniform(50, 130), r.uniform(7000, 7800)
    curve = _smooth(r, 3.0) - 3 * r.uniform(0, 1) * np.linspace(0, 1, _BINS)
    curve -= 40 * np.clip(1 - _HERTZ / low, 0, 1) + 60 * np.clip((_HERTZ - high) / 800, 0, 1)
    slope = r.uniform(1, 6)  # dB per octave
    colour = _smooth(r, 3.0) - slope * np.log2(np.maximum(_HERTZ, 60.0) / 1000)
    return Channel(_echo(r), _filter(curve), _filter(colour), r.uniform(*SNR))


def record(wave: Wave, channel: Channel, r: Random) -> Wave:
    """Record a wave [S]: echo, microphone, noise [S]."""
    heard = fftconvolve(fftconvolve(wave, channel.echo)[: len(wave)], channel.microphone, mode="same")
    heard /= np.sqrt(np.mean(np.square(heard)))
    noise = fftconvolve(r.normal(0, 1, len(wave) + TAPS), channel.colour, mode="same")[: len(wave)]
    noise *= 10 ** (-channel.snr / 20) / np.sqrt(np.mean(np.square(noise)))
    return np.asarray(heard + noise, np.float64)


def at_level(wave: Wave, r: Random) -> Wave:
    """Give a wave a random level and mean, drawn alike for real and forged speech; a vocoder changes the mean."""
    level = 10 ** (r.uniform(*LEVEL) / 20)
    wave = wave - wave.mean()
    scaled = wave * level / np.sqrt(np.mean(np.square(wave))) + r.uniform(-OFFSET, OFFSET)
    return np.asarray(np.clip(scaled, -1, 1), np.float64)


_BINS = TAPS // 2 + 1
_HERTZ = np.linspace(0, RATE / 2, _BINS)


def _echo(r: Random) -> Wave:
    """Draw the impulse response of a room: the direct sound, then noise that decays by 60 dB within 0.1 to 0.5 s."""
    time = np.arange(round(TAIL * RATE)) / RATE
    tail = r.normal(0, 1, len(time)) * 10 ** (-3 * time / r.uniform(0.1, 0.5))
    tail[: int(r.uniform(0.001, 0.006) * RATE)] = 0
    tail *= 10 ** (-r.uniform(4, 16) / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    return np.asarray(tail, np.float64)


def _smooth(r: Random, size: float) -> Wave:
    """Draw a smooth curve over all frequencies, dB."""
    knots = np.linspace(0, RATE / 2, 9)
    return np.interp(_HERTZ, knots, size * r.normal(0, 1, len(knots)))


def _filter(decibel: Wave) -> Wave:
    """Return a filter of linear phase with this response [_BINS], dB."""
    taps = np.fft.irfft(10 ** (decibel / 20), TAPS)
    return np.asarray(np.roll(taps, TAPS // 2) * np.hanning(TAPS), np.float64)
