"""Three ways to forge speech: resynthesis by a vocoder, another speaker's voice, and a word from another recording."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from unmask.demo.speech import RATE, STEP, Random, Speaker, Speech
from unmask.demo.throat import Wave, per_sample, pulses

METHODS = ("resynthesis", "conversion", "splice")
HOP, SIZE = 128, 512  # of the vocoder's spectra, samples
GRIDS = (4, 8)  # possible strides of the vocoder's last up-sampling, samples
FADE = 32  # samples of a cross-fade, 2 ms
DONATED = (4_200.0, 5_600.0)  # bandwidth of the recordings from which words are taken, Hz

Spectrum = NDArray[np.complex128]  # [T, SIZE // 2 + 1]


def resynthesise(wave: Wave, speech: Speech, r: Random, difficulty: float) -> Wave:
    """Return the wave [S] that a vocoder makes of its mel spectrum and its pitch.

    The vocoder smooths the spectrum over mel bands, makes regular pulses, and replaces their upper harmonics by noise.
    Like a network with strided up-sampling, it leaves a faint pattern that repeats every few samples.
    """
    power, voiced = np.abs(spectrum(wave)), per_sample(np.clip(speech.voice * 3, 0, 1))
    bands = mel_bands(round(26 + 30 * difficulty))
    weights = bands / np.maximum(bands.sum(1, keepdims=True), 1e-9)
    level = np.sqrt(np.square(power) @ weights.T)
    smooth = level @ (bands / np.maximum(bands.sum(0), 1e-9))
    noise = r.normal(0, 1, len(wave))
    low = firwin(65, r.uniform(2500, 4000), fs=RATE)
    tone = pulses(speech.pitch, np.ones(len(wave)), r, 0, 0)
    mixed = lfilter(low, [1], tone - noise) + np.roll(noise, 32)  # pulses below the corner, noise above
    source = voiced * mixed + (1 - voiced) * noise
    spectra = spectrum(source)
    flat = np.sqrt(np.square(np.abs(spectra)) @ weights.T) @ (bands / np.maximum(bands.sum(0), 1e-9))
    made = overlap_add(spectra * smooth / np.maximum(flat, 1e-9), len(wave))
    return _grid(made, r, difficulty)


def convert(wave: Wave, own: Speaker, other: Speaker, r: Random, difficulty: float) -> Wave:
    """Return the wave [S] with the formants of another speaker.

    The spectral envelope is stretched by the ratio of the two vocal tracts. The converter works at a lower sample rate:
    its output above the corner frequency is a copy of a lower band, at the level of the envelope.
    """
    spectra = spectrum(wave)
    size = np.log(np.abs(spectra) + 1e-6)
    envelope = _envelope(size)
    bins = np.arange(size.shape[1])
    stretched = np.stack([np.interp(bins * own.tract / other.tract, bins, row) for row in envelope])
    gain = np.clip(stretched - envelope, -2.5, 2.5)
    gain = np.repeat(gain[::2], 2, axis=0)[: len(gain)]  # the converter's frames are 16 ms apart
    made = spectra * np.exp(gain)
    corner = round(r.uniform(4600, 5600) * SIZE / RATE)
    wide = size.shape[1] - corner
    shift = made[:, corner - wide : corner] * np.exp(stretched[:, corner:] - stretched[:, corner - wide : corner])
    mix = 0.5 + 0.5 * (1 - difficulty)
    made[:, corner:] = mix * shift + (1 - mix) * made[:, corner:]
    return _grid(overlap_add(made, len(wave)), r, difficulty, 0.6)


def splice(host: Wave, speech: Speech, donor: Wave, donated: Speech, r: Random) -> Wave:
    """Replace a word of a recording by a word of another recording of the same speaker, at the same level.

    Args:
        host: the recording [S].
        speech: what is said in it.
        donor: a recording with another room, another microphone and a lower bandwidth.
        donated: what is said in the other recording.
        r: draws the words.
    """
    first, last = (STEP * frame for frame in speech.words[r.integers(len(speech.words))])
    start, end = (STEP * frame for frame in donated.words[r.integers(len(donated.words))])
    narrow = np.convolve(donor, firwin(129, r.uniform(*DONATED), fs=RATE), mode="same")
    word = narrow[start - FADE : end + FADE].copy()
    word *= np.sqrt(np.mean(np.square(host[first:last])) / np.mean(np.square(word)))
    rise = np.linspace(0, 1, 2 * FADE)
    before, after = host[: first + FADE].copy(), host[last - FADE :].copy()
    before[-2 * FADE :] = before[-2 * FADE :] * (1 - rise) + word[: 2 * FADE] * rise
    after[: 2 * FADE] = word[-2 * FADE :] * (1 - rise) + after[: 2 * FADE] * rise
    return np.concatenate([before, word[2 * FADE : -2 * FADE], after])


def spectrum(wave: Wave) -> Spectrum:
    """Return the short-time spectra of a wave [S] with a Hann window."""
    count = -(-len(wave) // HOP) + SIZE // HOP
    padded = np.concatenate([np.zeros(SIZE), wave, np.zeros(count * HOP)])
    places = (np.arange(count)[:, None] + 1) * HOP + np.arange(SIZE)
    return np.asarray(np.fft.rfft(padded[places] * _WINDOW, axis=1), np.complex128)


def overlap_add(spectra: Spectrum, samples: int) -> Wave:
    """Return the wave [S] of short-time spectra: the inverse of `spectrum` if they were not changed."""
    frames = np.fft.irfft(spectra, SIZE, axis=1) * _WINDOW
    out = np.zeros((len(frames) + SIZE // HOP, HOP))
    for part in range(SIZE // HOP):
        out[part : part + len(frames)] += frames[:, part * HOP : (part + 1) * HOP]
    return np.asarray(out.reshape(-1)[SIZE - HOP :][:samples] / 1.5, np.float64)  # the squared windows sum up to 1.5


def mel_bands(count: int) -> NDArray[np.float64]:
    """Return triangular weights [count, SIZE // 2 + 1], evenly spaced in mel from 0 Hz to the Nyquist frequency."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(SIZE, 1 / RATE)
    rise = (hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hertz) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rise, fall), 0, None)


_WINDOW = np.hanning(SIZE + 1)[:-1]


def _envelope(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smooth envelope of logarithmic spectra [T, F]: their lowest 50 cepstral coefficients."""
    cepstrum = np.fft.irfft(size, axis=1)
    cepstrum[:, 50:-49] = 0
    return np.asarray(np.fft.rfft(cepstrum, axis=1).real, np.float64)


def _grid(wave: Wave, r: Random, difficulty: float, share: float = 1.0) -> Wave:
    """Add the pattern that strided up-sampling leaves: a gain that repeats every few samples."""
    stride = int(r.choice(GRIDS))
    pattern = r.normal(0, 1, stride)
    pattern = (pattern - pattern.mean()) / pattern.std()
    size = share * (0.03 + 0.1 * (1 - difficulty))
    return np.asarray(wave * (1 + size * np.resize(pattern, len(wave))), np.float64)
