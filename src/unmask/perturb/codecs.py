"""Encode and decode waveforms in memory: what a codec does to a recording.

A waveform is float32 [S] in [-1, 1], mono, 16 kHz. The result has the same length and no delay.
"""

import io
from typing import NamedTuple, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from unmask.media.pcm import RATE

Wave = NDArray[np.float32]
TELEPHONE_RATE = 8000  # Hz


class Codec(NamedTuple):
    """A codec of PyAV and the container in which its packets are stored, because it records the delay to remove.

    Attributes:
        label: name for people.
        encoder: name of the encoder in FFmpeg.
        container: name of the format in FFmpeg.
        lowest: lowest bit rate at 16 kHz, kbit/s.
        highest: highest bit rate at 16 kHz, kbit/s.
    """

    label: str
    encoder: str
    container: str
    lowest: int
    highest: int


CODECS = {
    "mp3": Codec("MP3", "libmp3lame", "mp3", 8, 160),
    "aac": Codec("AAC", "aac", "mp4", 8, 96),
    "opus": Codec("Opus", "libopus", "ogg", 6, 128),
}


def require_codec(name: str, kilobits: float) -> None:
    """Check that a codec exists, that PyAV has its encoder, and that the bit rate is possible.

    Raises:
        ValueError: it is not so; the message says what was expected.
    """
    if name not in CODECS:
        raise ValueError(f"codec={name}: expected one of {', '.join(CODECS)}")
    codec = CODECS[name]
    if codec.encoder not in av.codecs_available:
        raise ValueError(
            f"this PyAV cannot write {codec.label}: it has no {codec.encoder}; "
            "pip install --force-reinstall --only-binary av av"
        )
    if not codec.lowest <= kilobits <= codec.highest:
        raise ValueError(f"{codec.label} at {kilobits:g} kbit/s: expected {codec.lowest} to {codec.highest} kbit/s")


def coded(x: Wave, name: str, kilobits: float) -> Wave:
    """Encode and decode a waveform [S] -> [S].

    Args:
        x: the waveform; not changed.
        name: one of `CODECS`.
        kilobits: bit rate in kbit/s.
    """
    codec, buffer = CODECS[name], io.BytesIO()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x[None], np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    with av.open(buffer, "w", format=codec.container) as container:
        stream = cast(AudioStream, container.add_stream(codec.encoder, rate=RATE, layout="mono"))
        stream.bit_rate = round(1000 * kilobits)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    buffer.seek(0)
    return fitted(_decoded(buffer), len(x))


def _decoded(buffer: io.BytesIO) -> Wave:
    """Decode the only stream of a file -> [S]."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
    parts = list[Wave]()
    with av.open(buffer, "r") as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def fitted(x: Wave, length: int) -> Wave:
    """Cut a waveform to `length` samples, or pad it with zeros; clip it to [-1, 1]."""
    found = np.zeros(length, np.float32)
    found[: len(x)] = np.clip(x[:length], -1, 1)
    return found


def resampled(x: Wave, rate: int) -> Wave:
    """Convert a waveform [S] at 16 kHz to another sampling rate and back, both with an anti-aliasing filter -> [S]."""
    from scipy.signal import resample_poly  # imported here because SciPy is slow to import

    down = resample_poly(x.astype(np.float64), rate, RATE)
    return fitted(resample_poly(down, RATE, rate).astype(np.float32), len(x))


def telephone(x: Wave, lowest: float, highest: float) -> Wave:
    """Send a waveform [S] through a telephone: 8 kHz, a band-pass, and 8-bit mu-law samples (ITU-T G.711) -> [S].

    Args:
        x: the waveform; not changed.
        lowest: lower limit of the band, Hz.
        highest: upper limit of the band, Hz; below 4000.
    """
    from scipy.signal import resample_poly

    down = band_passed(resample_poly(x.astype(np.float64), TELEPHONE_RATE, RATE), lowest, highest, TELEPHONE_RATE)
    up = resample_poly(mu_law(down), RATE, TELEPHONE_RATE)
    return fitted(up.astype(np.float32), len(x))


def band_passed(x: NDArray[np.float64], lowest: float, highest: float, rate: int) -> NDArray[np.float64]:
    """Filter a waveform [S] with Butterworth filters of order 4, forwards and backwards, so that nothing is delayed.

    Args:
        x: the waveform.
        lowest: lower limit, Hz; 0 for none.
        highest: upper limit, Hz.
        rate: sampling rate of x, Hz.
    """
    from scipy.signal import butter, sosfiltfilt

    if lowest > 0:
        sections = butter(4, [lowest, highest], "bandpass", fs=rate, output="sos")
    else:
        sections = butter(4, highest, "lowpass", fs=rate, output="sos")
    padded = max(0, min(len(x) - 1, 200))
    return np.asarray(sosfiltfilt(sections, x, padlen=padded), np.float64)


def mu_law(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round samples [S] to the 256 values of G.711's mu-law.

    FFmpeg's encoder rounds in the same way; PyAV is used, so that the values are those of real telephones.
    """
    samples = np.clip(np.rint(x * 32768), -32768, 32767).astype(np.int16)
    encoder = av.CodecContext.create("pcm_mulaw", "w")
    decoder = av.CodecContext.create("pcm_mulaw", "r")
    for context in (encoder, decoder):
        context.sample_rate, context.layout = TELEPHONE_RATE, "mono"
    encoder.format = "s16"
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = TELEPHONE_RATE
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    found = [part.to_ndarray()[0] for packet in packets for part in decoder.decode(packet)]
    return np.concatenate(found).astype(np.float64) / 32768
