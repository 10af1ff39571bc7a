"""Spectrograms and players of recordings, for report pages that load no other files."""

import base64
import io
from collections.abc import Callable

import av
import matplotlib
import numpy as np
from numpy.typing import NDArray

from unmask.media.pcm import RATE

Wave = NDArray[np.int16]  # [S], one channel of 16 kHz
Sounds = Callable[[str], Wave | None]  # item -> its recording, or None if the item has no sound
SECONDS = 10.0  # s: of longer recordings, only the beginning is drawn and played
WINDOW, HOP = 512, 256  # samples: 32 ms, 16 ms; a column of the spectrogram
RANGE = 80.0  # dB: powers this far below the highest one are black


def spectrogram(sound: Wave, seconds: float = SECONDS) -> NDArray[np.uint8]:
    """Draw the power spectrum over time, from 0 Hz (bottom) to 8 kHz (top), as a picture [H, W, 3].

    Args:
        sound: the recording; a shorter one than a window is padded with silence.
        seconds: length of the drawn beginning, s.
    """
    x = sound[: round(seconds * RATE)].astype(np.float64) / 32768
    x = np.pad(x, (0, max(0, WINDOW - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames))).T[:-1]  # [256, columns]
    decibel = 10 * np.log10(np.maximum(power.reshape(-1, 2, power.shape[1]).max(1), 1e-12))
    level = np.clip(1 + (decibel - decibel.max()) / RANGE, 0, 1)
    coloured = np.asarray(matplotlib.colormaps["magma"](level[::-1]))[..., :3]
    picture: NDArray[np.uint8] = np.rint(255 * coloured).astype(np.uint8)
    return picture


def player(sound: Wave, seconds: float = SECONDS) -> str:
    """Return the beginning of a recording, losslessly compressed as FLAC, as a data URL for an `<audio>` element."""
    return f"data:audio/flac;base64,{base64.b64encode(flac(sound[: round(seconds * RATE)])).decode()}"


def flac(sound: Wave) -> bytes:
    """Encode a recording as FLAC."""
    buffer = io.BytesIO()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="s16", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono", format="s16")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
