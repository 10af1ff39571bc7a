"""Sound files for tests."""

from pathlib import Path

import av
import numpy as np

RATE = 16_000


def tone(hertz: float, seconds: float, rate: int = RATE, size: float = 0.5) -> np.ndarray:
    """A sine, float64 [S]."""
    return size * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def save(path: Path, sound: np.ndarray, rate: int, codec: str = "pcm_s16le", form: str = "wav") -> Path:
    """Encode sound [S] or [C, S] in [-1, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.atleast_2d(sound)
    layout = {1: "mono", 2: "stereo"}[len(sound)]
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            stream.bit_rate = 128_000
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(format=wanted, layout=layout, rate=rate, frame_size=stream.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return path


def clip(path: Path, sound: np.ndarray, frames: int = 25, late: float = 0.0) -> Path:
    """A video of 25 frames per second with sound [S] of 16 kHz that starts `late` s after the first frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(frames):
            picture = np.full((48, 64, 3), 10 * (number % 20), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, len(sound) - 1023, 1024):
            piece = np.ascontiguousarray(sound[None, start : start + 1024], np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start + round(late * RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path
