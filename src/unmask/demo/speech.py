"""Speech that says nothing: speakers drawn at random, and random syllables as tracks of pitch, formants and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

RATE = 16_000  # samples per second
STEP = 80  # samples per frame of a track, 5 ms

Track = NDArray[np.float64]  # [T], one value per frame
Random = np.random.Generator

# First three formants of vowels, Hz, as measured by Peterson and Barney (1952) for men, rounded.
VOWELS = np.array([
    [730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240], [490, 1350, 1690],
    [660, 1720, 2410], [390, 1990, 2550],
])  # fmt: skip
BANDWIDTHS = np.array([60.0, 90.0, 130.0, 200.0, 300.0])  # Hz


@dataclass(frozen=True)
class Consonant:
    """How a syllable begins.

    Attributes:
        locus: second formant from which the vowel starts, Hz.
        closure: duration of the closed mouth, s.
        hum: amplitude of the voice during the closure.
        noise: amplitude of the noise that follows (burst or friction).
        centre: centre of this noise, Hz.
        seconds: duration of this noise.
        nose: whether the mouth stays closed and the nose open.
    """

    locus: float
    closure: float
    hum: float
    noise: float
    centre: float
    seconds: float
    nose: bool = False


CONSONANTS = (
    Consonant(900, 0.07, 0.0, 0.35, 1200, 0.02), Consonant(1800, 0.06, 0.0, 0.5, 4500, 0.025),
    Consonant(2200, 0.06, 0.0, 0.45, 2200, 0.03), Consonant(900, 0.05, 0.15, 0.2, 900, 0.01),
    Consonant(1800, 0.05, 0.15, 0.25, 3800, 0.01), Consonant(2100, 0.05, 0.15, 0.25, 2000, 0.015),
    Consonant(1100, 0.0, 0.0, 0.12, 5200, 0.09), Consonant(1750, 0.0, 0.0, 0.4, 5800, 0.11),
    Consonant(1900, 0.0, 0.0, 0.35, 3300, 0.11), Consonant(1750, 0.0, 0.3, 0.25, 5400, 0.08),
    Consonant(1000, 0.07, 0.45, 0.0, 1000, 0.0, nose=True), Consonant(1700, 0.07, 0.45, 0.0, 1000, 0.0, nose=True),
    Consonant(1300, 0.0, 0.0, 0.0, 1000, 0.0), Consonant(1400, 0.0, 0.0, 0.1, 1500, 0.05),
)  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """A speaker's voice.

    Attributes:
        pitch: median fundamental frequency, Hz.
        span: range of the intonation, semitones.
        tract: factor on all formants; 1 for a vocal tract of 17.5 cm.
        width: factor on the bandwidths of the formants.
        soft: corner frequency above which the voice is softer, Hz.
        breath: amplitude of the breath, relative to the voice.
        jitter: random change of the length of each period of the voice, as a share.
        shimmer: random change of the amplitude of each period, as a share.
        pace: factor on durations.
        hiss: factor on the centres of noises.
        upper: fourth and fifth formant, Hz.
    """

    pitch: float
    span: float
    tract: float
    width: float
    soft: float
    breath: float
    jitter: float
    shimmer: float
    pace: float
    hiss: float
    upper: tuple[float, float]


@dataclass(frozen=True)
class Speech:
    """An utterance as tracks; all arrays have one row per frame of 5 ms.

    Attributes:
        pitch: fundamental frequency, Hz [T].
        formants: Hz [T, 5].
        voice: amplitude of the voice [T].
        breath: amplitude of noise in the throat [T].
        noise: amplitude of noise in the mouth [T].
        centre: centre of the noise in the mouth, Hz [T].
        mouth: how far the mouth is open, from 0 to 1 [T].
        words: first and last frame of each word.
    """

    pitch: Track
    formants: NDArray[np.float64]
    voice: Track
    breath: Track
    noise: Track
    centre: Track
    mouth: Track
    words: tuple[tuple[int, int], ...]

    @property
    def samples(self) -> int:
        """Number of samples of the utterance."""
        return STEP * len(self.pitch)


def draw_speaker(r: Random) -> Speaker:
    """Draw a speaker; high voices tend to have short vocal tracts."""
    high = r.random() < 0.5
    return Speaker(
        pitch=r.uniform(165, 235) if high else r.uniform(88, 145),
        span=r.uniform(3, 7),
        tract=r.uniform(1.08, 1.24) if high else r.uniform(0.9, 1.06),
        width=r.uniform(0.8, 1.4),
        soft=r.uniform(1500, 4500),
        breath=r.uniform(0.02, 0.12),
        jitter=r.uniform(0.004, 0.012),
        shimmer=r.uniform(0.03, 0.1),
        pace=r.uniform(0.85, 1.2),
        hiss=r.uniform(0.88, 1.15),
        upper=(r.uniform(3300, 3800), r.uniform(4200, 4900)),
    )


def speak(speaker: Speaker, r: Random) -> Speech:
    """Let a speaker say three to five random words of one to three syllables."""
    parts = [_pause(r.uniform(0.15, 0.45))]
    words = list[tuple[int, int]]()
    count = int(r.integers(3, 6))
    for word in range(count):
        start = sum(map(len, parts))
        for _ in range(int(r.integers(1, 4))):
            parts += _syllable(speaker, r)
        words.append((start, sum(map(len, parts))))
        if word < count - 1 and r.random() < 0.6:
            parts.append(_pause(r.uniform(0.04, 0.22)))
    parts.append(_pause(r.uniform(0.15, 0.45)))
    table = np.concatenate(parts)
    quick, slow = (gaussian_filter1d(table, width, axis=0, mode="nearest") for width in (1.2, 3.5))
    formants = np.concatenate([slow[:, 5:8] * speaker.tract, np.tile(speaker.upper, (len(table), 1))], axis=1)
    return Speech(
        pitch=_intonation(slow[:, 8], speaker, r), formants=formants, voice=quick[:, 0], breath=quick[:, 1],
        noise=quick[:, 2], centre=slow[:, 3] * speaker.hiss, mouth=np.clip(slow[:, 4], 0, 1), words=tuple(words),
    )  # fmt: skip


# Columns of a piece: voice, breath, noise, centre, mouth, three formants, stress.
def _piece(seconds: float, values: list[float]) -> NDArray[np.float64]:
    return np.tile(np.array(values), (max(1, round(seconds * RATE / STEP)), 1))


def _pause(seconds: float) -> NDArray[np.float64]:
    return _piece(seconds, [0, 0, 0, 2500, 0, 500, 1500, 2500, 0])


def _syllable(speaker: Speaker, r: Random) -> list[NDArray[np.float64]]:
    """Return the pieces of a random syllable: a consonant and a vowel, sometimes closed by a nasal or a hiss."""
    c, vowel = CONSONANTS[r.integers(len(CONSONANTS))], VOWELS[r.integers(len(VOWELS))] * r.uniform(0.94, 1.06, 3)
    stress, pace = r.uniform(-1, 1), speaker.pace * r.uniform(0.85, 1.15)
    start = [0.5 * vowel[0] + 150, c.locus, 0.5 * (vowel[2] + 2500)]
    found = list[NDArray[np.float64]]()
    if c.closure:
        low = [280.0, c.locus, 2300.0] if c.nose else [220.0, c.locus, 2400.0]
        found.append(_piece(c.closure * pace, [c.hum, 0, 0, c.centre, 0, *low, stress]))
    if c.seconds:
        found.append(_piece(c.seconds * pace, [c.hum, 0.3 * c.noise, c.noise, c.centre, 0.15, *start, stress]))
    loud, opened = 1 + 0.25 * stress, float(np.clip((vowel[0] - 200) / 500, 0.25, 1))
    breath = speaker.breath * loud
    found.append(_piece(0.03 * pace, [0.7 * loud, breath, 0, c.centre, 0.6 * opened, *start, stress]))
    long = r.uniform(0.07, 0.15) * (1 + 0.3 * stress) * pace
    found.append(_piece(long, [loud, breath, 0, c.centre, opened, *vowel, stress]))
    end = r.random()
    if end < 0.15:
        found.append(_piece(0.06 * pace, [0.4, 0, 0, 1000, 0, 280, 1500, 2300, stress]))
    elif end < 0.3:
        found.append(_piece(0.08 * pace, [0, 0.1, 0.35, 5600, 0.15, 350, 1750, 2550, stress]))
    return found


def _intonation(stress: Track, speaker: Speaker, r: Random) -> Track:
    """Return the fundamental frequency, Hz [T]: it falls over the utterance, rises with stress, and wanders."""
    count = len(stress)
    fall = np.linspace(0.5, -0.5, count) * speaker.span
    wander = gaussian_filter1d(r.normal(0, 1, count), 25, mode="nearest")
    wander *= 0.6 / max(float(wander.std()), 1e-9)
    semitones = fall + 0.35 * speaker.span * stress + wander
    return np.asarray(speaker.pitch * 2 ** (semitones / 12), np.float64)
