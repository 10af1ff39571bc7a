"""Statistics of a waveform: level, silence at its ends and within, noise floor, and clipping.

These statistics must not reveal whether a recording is real or fake; the shortcut audit (data/audit.py) checks this.
In several published data sets, the silence before the first word does (Müller et al., "Speech is Silver, Silence is
Golden", arXiv:2106.12914).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import Statistics
from unmask.media.pcm import RATE
from unmask.media.waveform import Recording

FRAME, HOP = 0.02, 0.01  # length and distance of the frames whose level is measured, s
LOWEST = -100.0  # dB re full scale; lower levels count as this level
FLOOR = 0.1  # the noise floor is the level that this share of the frames does not exceed
ABOVE_FLOOR, BELOW_PEAK = 10.0, (40.0, 20.0)  # dB; see `silent`


def sound_statistics(path: Path, recording: Recording) -> Statistics:
    """Return the statistics of a sound file: its format, and what is measured in its waveform."""
    size, seconds = path.stat().st_size, len(recording.sound) / RATE
    found: Statistics = {
        "bytes": float(size),
        "format": path.suffix.lower().lstrip("."),
        "codec": recording.codec,
        "sample_format": recording.sample_format,
        "sample_rate": float(recording.rate),
        "channels": float(recording.channels),
        "bit_rate": 8 * size / seconds,
        "clipped": recording.clipped,
    }
    return found | waveform_statistics(recording.sound)


def waveform_statistics(sound: NDArray[np.float32]) -> Statistics:
    """Return the statistics of a waveform [S] of 16 kHz: durations in s, levels in dB relative to full scale."""
    levels = frame_levels(sound)
    quiet = silent(levels)
    heard = np.flatnonzero(~quiet)
    return {
        "seconds": len(sound) / RATE,
        "level": _decibel(float(np.mean(np.square(sound, dtype=np.float64)))),
        "noise_floor": float(np.quantile(levels, FLOOR)),
        "offset": float(np.mean(sound, dtype=np.float64)),
        "leading_silence": HOP * float(heard[0]),
        "trailing_silence": HOP * float(len(levels) - 1 - heard[-1]),
        "silence": float(quiet.mean()),
    }


def frame_levels(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the level of each frame of 20 ms, every 10 ms, in dB relative to full scale [T], T at least 1."""
    long, step = round(FRAME * RATE), round(HOP * RATE)
    energy = np.cumsum(np.concatenate([[0.0], np.square(sound, dtype=np.float64)]))
    starts = np.arange(0, max(len(sound) - long, 0) + 1, step)
    ends = np.minimum(starts + long, len(sound))
    power = (energy[ends] - energy[starts]) / np.maximum(ends - starts, 1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (LOWEST / 10))), np.float64)


def silent(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frames are silent, given their levels in dB [T]; the loudest frame never is.

    A frame is silent if it is less than 10 dB above the noise floor. The threshold is at least 40 dB and at most 20 dB
    below the loudest frame, so that it also works without pauses and without noise.
    """
    peak = levels.max()
    threshold = np.clip(np.quantile(levels, FLOOR) + ABOVE_FLOOR, peak - BELOW_PEAK[0], peak - BELOW_PEAK[1])
    return np.asarray(levels < threshold, np.bool_)


def _decibel(power: float) -> float:
    return float(10 * np.log10(max(power, 10 ** (LOWEST / 10))))
