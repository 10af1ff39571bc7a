"""Compare decoding 20 of 353 frames as in `unmask prepare` with decoding the whole file and with a plain script.

The script reads every frame with OpenCV and resizes it. `unmask prepare` uses one thread per file. Therefore, the whole
file is decoded with one thread, and OpenCV is timed with one thread and with its default. Clips are rendered: 942x500,
353 frames, about 1.6 MB, with a key frame every 250 frames (as in most data sets) or every 12.

make bench ONLY=decoders
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from _bench import arguments, compare, interleave, report

from unmask.media.decoders import choose_decoder
from unmask.media.indices import burst_indices
from unmask.media.reader import open_media

FRAMES, WIDTH, HEIGHT, WANTED, BYTES = 353, 942, 500, 20, 1_600_000


def render(path: Path, gop: int) -> Path:
    """Render a video of a patch that moves over a moving texture, with camera noise."""
    rng = np.random.default_rng(0)
    scene, patch = _texture(rng, (HEIGHT + 200, WIDTH + 400), 6, 40), _texture(rng, (160, 120), 3, 30)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": str(gop), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = int(BYTES * 8 * 30 / FRAMES)
        for t in range(FRAMES):
            centre = WIDTH / 2 + 200 + 150 * np.sin(t / 40), HEIGHT / 2 + 100 + 60 * np.cos(t / 55)
            frame = cv2.getRectSubPix(scene, (WIDTH, HEIGHT), centre)
            y, x = int(150 + 80 * np.sin(t / 25)), int(400 + 150 * np.cos(t / 30))
            frame[y : y + 160, x : x + 120] = patch
            frame = np.clip(frame + rng.normal(0, 4, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _texture(rng: np.random.Generator, size: tuple[int, int], smooth: float, contrast: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(0, 1, (*size, 3)).astype(np.float32), (0, 0), smooth)
    return 128 + noise / noise.std() * contrast


def product(path: Path, decoder: str) -> Callable[[], object]:
    def work() -> np.ndarray:
        reader = open_media(path, decoder)
        return reader.read(burst_indices(len(reader), WANTED))

    return work


def bare(path: Path) -> Callable[[], object]:
    def work() -> int:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            return sum(1 for _ in container.decode(video=0))

    return work


def script(path: Path, threads: int | None) -> Callable[[], object]:
    settings = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]

    def work() -> list[np.ndarray]:
        video, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, settings), []
        while (read := video.read())[0]:
            frames.append(cv2.resize(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), (160, 160)))
        assert len(frames) == FRAMES
        return frames

    return work


def usable() -> list[str]:
    found = []
    for name in ("decord", "pyav", "torchcodec"):
        try:
            found.append(choose_decoder(name))
        except ValueError as error:
            print(f"skipped: {error}")
    return found


def main() -> None:
    options = arguments(__doc__, repeats=11)
    torch.set_num_threads(1)
    comparisons, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for gop in (250, 12):
            path = render(Path(folder) / f"gop{gop}.mp4", gop)
            sizes[f"GOP {gop}"] = path.stat().st_size
            works = {"whole file": bare(path), "script": script(path, None), "script, one thread": script(path, 1)}
            works |= {name: product(path, name) for name in usable()}
            seconds = interleave(works, options.repeats)
            auto = choose_decoder()
            bound = {"at_most": 1.25} if gop == 250 else {}
            comparisons[f"GOP {gop}: auto ({auto}) / whole file"] = compare(seconds, auto, "whole file", **bound)
            for name in ("script", "script, one thread"):
                bound = {"at_least": 2.0} if gop == 12 and name == "script" else {}
                comparisons[f"GOP {gop}: {name} / auto ({auto})"] = compare(seconds, name, auto, **bound)
            for name in set(usable()) - {auto}:
                comparisons[f"GOP {gop}: {name} / auto ({auto})"] = compare(seconds, name, auto)
    packages = ("av", "decord", "torchcodec", "opencv-python-headless", "opencv-python")
    report("decoders", comparisons, packages=packages, extra={"bytes": sizes, "stretch": "0.85 of the whole file"})


if __name__ == "__main__":
    main()
