"""Sound files for tests."""

from pathlib import Path

import av
import numpy as np

RATE = 16_000
FORMATS = {
    "a.wav": ("pcm_s16le", "wav", 75), "b.wav": ("pcm_f32le", "wav", 140), "c.flac": ("flac", "flac", 75),
    "d.mp3": ("libmp3lame", "mp3", 20), "e.m4a": ("aac", "mp4", 20), "f.ogg": ("flac", "ogg", 75),
    "g.opus": ("libopus", "ogg", 15), "h.mkv": ("flac", "matroska", 75), "i.aiff": ("pcm_s16be", "aiff", 75),
    "j.aac": ("aac", "adts", None), "k.wma": ("wmav2", "asf", None),
}  # fmt: skip
RATES = {"libopus": 48_000, "libmp3lame": 48_000, "wmav2": 44_100}  # where not 16 kHz


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


def sounds_of(rng: np.random.Generator, folder: Path) -> list[bytes]:
    """One good file of each format."""
    sound = rng.normal(0, 0.1, RATE // 2)
    made = []
    for number, (name, (codec, form, _)) in enumerate(FORMATS.items()):
        rate = RATES.get(codec, RATE)
        made.append(save(folder / f"{number}{Path(name).suffix}", sound, rate, codec, form).read_bytes())
    return made


def harmed(rng: np.random.Generator, good: list[bytes], number: int, outside: Path) -> bytes:
    """A file that is damaged or lies."""
    one = good[number % len(good)]
    kind = number % 6
    if kind == 0:
        return one[: int(rng.integers(1, len(one)))]
    if kind in (1, 2):
        changed = bytearray(one)
        for at in rng.integers(0, len(one) if kind == 1 else min(200, len(one)), 12):
            changed[at] = int(rng.integers(256))
        return bytes(changed)
    if kind == 3:
        return f"ffconcat version 1.0\nfile '{outside}'\n".encode() + one[:40]
    if kind == 4:
        return f"#EXTM3U\n#EXTINF:1,\n{outside}\n".encode()
    return one[: len(one) // 2] + good[int(rng.integers(len(good)))][int(rng.integers(40)) :]


def hostile(folder: Path, count: int, seed: int) -> list[tuple[Path, bool]]:
    """Files that are damaged or lie, in a new folder `hostile`, and whether each is a list of other files."""
    rng = np.random.default_rng(seed)
    good = sounds_of(rng, folder / "good")
    outside = save(folder / "outside.wav", tone(440, 1.0), RATE)
    suffixes, made = [Path(name).suffix for name in FORMATS], []
    (folder / "hostile").mkdir()
    for number in range(count):
        path = folder / "hostile" / f"{number:02d}{suffixes[int(rng.integers(len(suffixes)))]}"
        path.write_bytes(harmed(rng, good, number, outside))
        made.append((path, number % 6 in (3, 4)))
    return made
