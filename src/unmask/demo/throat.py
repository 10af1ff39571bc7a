"""Source-filter synthesis (Fant, 1960): pulses of the vocal folds and noise, shaped by moving formants."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft  # unlike NumPy's, fast in single precision
from scipy.signal import lfilter

from unmask.demo.speech import BANDWIDTHS, RATE, STEP, Random, Speaker, Speech, Track

LONG = 12  # length of a filtered frame, in steps of 5 ms
WINDOW = 4 * STEP  # samples of a frame before it is filtered
BINS = LONG * STEP // 2 + 1  # frequencies of a frame
HERTZ = np.fft.rfftfreq(LONG * STEP, 1 / RATE).astype(np.float32)  # of each bin

Wave = NDArray[np.float64]  # [S]


def synthesise(speaker: Speaker, speech: Speech, r: Random) -> Wave:
    """Return the sound of an utterance at the speaker's lips [S], with a level of 1 (root mean square)."""
    folds = pulses(speech.pitch, per_sample(speech.voice), r, speaker.jitter, speaker.shimmer)
    breath = r.normal(0, 1, speech.samples) * per_sample(speech.breath)
    wave = shape(_glottis(folds, speaker) + 0.25 * breath, resonance(speech.formants, speaker.width))
    hiss = r.normal(0, 1, speech.samples) * per_sample(speech.noise)
    wave += 0.6 * shape(hiss, band(speech.centre))
    return np.asarray(wave / np.sqrt(np.mean(np.square(wave))), np.float64)


def pulses(pitch: Track, voice: Wave, r: Random, jitter: float, shimmer: float) -> Wave:
    """Return the pulses of the vocal folds [S] for the fundamental frequency [T], with the amplitude `voice` [S].

    Args:
        pitch: fundamental frequency, Hz.
        voice: amplitude of each sample.
        r: draws the irregularities of the periods.
        jitter: standard deviation of the length of a period, as a share.
        shimmer: standard deviation of the amplitude of a period, as a share.
    """
    cycles = np.cumsum(per_sample(pitch)) / RATE
    number = np.floor(cycles)
    at = np.flatnonzero(np.diff(number) > 0)
    place = at + (number[at + 1] - cycles[at]) / (cycles[at + 1] - cycles[at])
    place += r.normal(0, 1, len(at)) * jitter * RATE / per_sample(pitch)[at]
    low = np.clip(np.floor(place).astype(np.int64), 0, len(voice) - 2)
    part = np.clip(place - low, 0, 1)
    size = voice[at] * (1 + shimmer * r.normal(0, 1, len(at))) * np.sqrt(RATE / per_sample(pitch)[at])
    wave = np.zeros(len(voice))
    np.add.at(wave, low, size * (1 - part))
    np.add.at(wave, low + 1, size * part)
    return wave


def per_sample(track: Track) -> Wave:
    """Interpolate a track [T] to samples [T * STEP]."""
    return np.interp(np.arange(len(track) * STEP), (np.arange(len(track)) + 0.5) * STEP, track)


def shape(wave: Wave, response: NDArray[np.complex64] | NDArray[np.float32]) -> Wave:
    """Filter a wave [S] by a response that changes every 5 ms [T, BINS], by overlapping windows; S = T * STEP."""
    count = len(response)
    padded = np.concatenate([np.zeros(WINDOW // 2), wave, np.zeros(WINDOW)]).astype(np.float32)
    places = np.arange(count)[:, None] * STEP + np.arange(WINDOW)
    frames = padded[places] * (0.5 * np.hanning(WINDOW + 1)[:-1]).astype(np.float32)
    filtered = irfft(rfft(frames, LONG * STEP) * response, LONG * STEP)
    out = np.zeros((count + LONG, STEP))
    for part in range(LONG):
        out[part : part + count] += filtered[:, part * STEP : (part + 1) * STEP]
    return np.asarray(out.reshape(-1)[WINDOW // 2 :][: len(wave)], np.float64)


def resonance(formants: NDArray[np.float64], width: float) -> NDArray[np.complex64]:
    """Return the response of the vocal tract [T, BINS] with these formants [T, 5], Hz."""
    response = np.ones((len(formants), BINS), np.complex64)
    places = np.square(formants.T[:, :, None], dtype=np.float32)
    for place, bandwidth in zip(places, BANDWIDTHS * width, strict=True):
        response *= place / (place - HERTZ**2 + np.complex64(1j * bandwidth) * HERTZ)
    return response


def band(centre: Track) -> NDArray[np.float32]:
    """Return the response of a constriction [T, BINS]: a broad band around `centre` [T], Hz."""
    octaves = np.log2(np.maximum(HERTZ, 1)) - np.log2(centre[:, None]).astype(np.float32)
    return np.asarray(np.exp(np.square(octaves / 0.55) * -0.5), np.float32)


def _glottis(folds: Wave, speaker: Speaker) -> Wave:
    """Return the flow through the vocal folds as radiated by the lips: softer by 6 dB per octave, more above `soft`."""
    wave = folds
    for corner in (0.9 * speaker.pitch, 2.2 * speaker.pitch, speaker.soft):
        pole = float(np.exp(-2 * np.pi * corner / RATE))
        wave = lfilter([1 - pole], [1, -pole], wave)
    return np.asarray(12 * lfilter([1, -0.97], [1], wave), np.float64)
