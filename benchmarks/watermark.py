"""Measure the watermark's robustness, its PSNR, its time and its rate of false alarms.

make bench ONLY=watermark              reads 400 photographs for false alarms
make bench ONLY=watermark ARGS=--full  reads 4,000, each with ten keys; takes minutes

Real photographs and clips are read from UNMASK_SHARED_DATA and are not part of the repository; without them, only the
demo portraits are marked.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from _bench import SHARED, arguments, compare, interleave, report
from PIL import Image

from unmask.demo.portraits import FOLDER, render_portraits
from unmask.provenance.watermark import PSNR, Reading, embed, read

PICTURES, PORTRAITS, FRAMES = 200, 50, 50
EVERY = 5  # every n-th frame of a clip is read, similar to predict


def jpeg(pixels: np.ndarray) -> np.ndarray:
    """Save a picture as JPEG at quality 75 and read it back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.array(Image.open(file))


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def half(pixels: np.ndarray) -> np.ndarray:
    return resized(pixels, pixels.shape[1] // 2, pixels.shape[0] // 2)


def back(pixels: np.ndarray) -> np.ndarray:
    return resized(half(pixels), pixels.shape[1], pixels.shape[0])


def h264(frames: np.ndarray) -> np.ndarray:
    """Encode frames [T, H, W, 3] with libx264 at crf 28 in yuv420p and decode them."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "28", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def each(attack: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda frames: np.stack([attack(frame) for frame in frames])


ATTACKS = {
    "none": lambda frames: frames,
    "jpeg 75": each(jpeg),
    "half size": each(half),
    "half and back": each(back),
    "h264 crf 28": h264,
}


def photographs(count: int, side: int = 256) -> Iterator[np.ndarray]:
    """Yield `count` evenly spaced real face pictures of 200 px, resized to `side`."""
    files = sorted((SHARED / "utkface_200").glob("*.jpg"))
    for path in files[:: max(1, len(files) // count)][:count]:
        with Image.open(path) as picture:
            yield np.array(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def portraits(count: int) -> Iterator[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        render_portraits(Path(folder) / "p", portraits=count, workers=1)
        for path in sorted((Path(folder) / "p" / FOLDER).glob("*.jpg")):
            with Image.open(path) as picture:
                yield np.array(picture.resize((256, 312), Image.Resampling.BICUBIC))


def clips(side: int | None, starts: tuple[int, ...] = (0,), count: int = FRAMES) -> Iterator[np.ndarray]:
    """Yield `count` frames from each of `starts` in FaceForensics++ clips, cropped to squares of `side` px if given."""
    for path in sorted((SHARED / "ffpp").rglob("*.mp4")):
        with av.open(str(path)) as container:
            frames = []
            for number, frame in enumerate(container.decode(video=0)):
                if number >= starts[-1] + count:
                    break
                if any(start <= number < start + count for start in starts):
                    frames.append(
                        square(frame.to_ndarray(format="rgb24"), side) if side else frame.to_ndarray(format="rgb24")
                    )
        yield from np.array(frames).reshape(len(starts), count, *frames[0].shape)


def square(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return cv2.resize(frame[top : top + edge, left : left + edge], (side, side), interpolation=cv2.INTER_AREA)


def survival(name: str, media: Iterator[np.ndarray], attacks: tuple[str, ...] = tuple(ATTACKS), every: int = 1) -> dict:
    """Measure PSNR, and bit accuracy and detection rate after each attack. Media are [T, H, W, 3]."""
    random = np.random.default_rng(0)
    noise, found = [], {attack: [] for attack in attacks}
    for frames in media:
        payload = int(random.integers(2**32))
        marked = embed(frames, payload)
        noise += [
            10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)) for a, b in zip(frames, marked, strict=True)
        ]
        for attack in attacks:
            attacked = ATTACKS[attack](marked)[::every]
            reading = read(attacked)
            bits = 1 - (reading.payload ^ payload).bit_count() / 32
            found[attack].append((bits, reading.present, read(attacked, [payload]).present))
    if not noise:
        return {}
    print(f"\n{name}: {len(found['none'])} marked; PSNR min {min(noise):.2f}, mean {np.mean(noise):.2f} dB")
    print("  attack         bits right  (worst)  all 32 right  present  present, payload known")
    result = {"count": len(found["none"]), "psnr_min": min(noise), "psnr_mean": float(np.mean(noise)), "attacks": {}}
    for attack, rows in found.items():
        bits, present, known = np.array(rows, float).T
        figures = (bits.mean(), bits.min(), (bits == 1).mean(), present.mean(), known.mean())
        print("  {:<14} {:10.4f}  {:7.2f}  {:12.3f}  {:7.3f}  {:22.3f}".format(attack, *figures))
        names = ("bits", "bits_worst", "all_bits", "present", "present_known")
        result["attacks"][attack] = dict(zip(names, map(float, figures), strict=True))
    return result


def false_alarms(count: int, keys: int) -> dict:
    """Count unmarked photographs in which a mark is detected; each is read with several keys."""
    names, scores, alarms, readings = ["unmask/1", *(f"other {n}" for n in range(1, keys))], [], 0, 0
    for pixels in photographs(count):
        found: list[Reading] = [read(pixels, [0x756E6D61], key=key) for key in names]
        alarms += sum(reading.present for reading in found)
        scores += [read(pixels, key=names[0]).score]
        readings += len(found)
    if not scores:
        return {}
    print(f"\nfalse alarms: {alarms} in {readings} readings of {len(scores)} unmarked photographs with {keys} keys")
    print(f"  score: mean {np.mean(scores):.2f}, highest {max(scores):.2f}; a mark is detected from 8.49")
    return {"photographs": len(scores), "keys": keys, "readings": readings, "alarms": alarms, "score_max": max(scores)}


def speed(repeats: int) -> dict[str, dict]:
    """Compare the time of embedding and reading a mark with that of saving a PNG, for two picture sizes."""
    random = np.random.default_rng(0)
    works: dict[str, Callable[[], object]] = {}
    for name, shape in {"256": (256, 256, 3), "1080p": (1080, 1920, 3)}.items():
        noise = random.integers(0, 256, (*(n // 8 for n in shape[:2]), 3), np.uint8)
        pixels = cv2.resize(noise, shape[1::-1], interpolation=cv2.INTER_CUBIC)
        works |= {
            f"embed {name}": lambda pixels=pixels: embed(pixels, 1),
            f"read {name}": lambda pixels=pixels: read(pixels),
            f"PNG {name}": lambda pixels=pixels: cv2.imencode(".png", pixels),
        }
    seconds = interleave(works, repeats)
    pairs = [("embed 256", "PNG 256"), ("embed 1080p", "PNG 1080p"), ("read 1080p", "PNG 1080p")]
    found = {f"{over} / {under}": compare(seconds, over, under) for over, under in pairs}
    for name, values in seconds.items():
        print(f"  {name}: {1000 * np.median(values):.1f} ms")
    return found


def main() -> None:
    options = arguments(__doc__, 15, "full")
    cv2.setNumThreads(1)
    print(f"watermark at {PSNR} dB")
    small = ("none", "jpeg 75", "half size")
    sets = {
        "photographs 256": survival("photographs of 256 px", (p[None] for p in photographs(PICTURES))),
        "portraits": survival("demo portraits of 256x312 px", (p[None] for p in portraits(PORTRAITS))),
        "frames 256": survival("single frames of ffpp at 256 px", clips(256, (0, 60, 120, 180, 240), 1)),
        "clips 256": survival(
            f"ffpp at 256 px, every fifth of {FRAMES} frames is read", clips(256, (0, 120)), every=EVERY
        ),
        "clips": survival("ffpp at full size, every fifth of 20 frames is read", clips(None, count=20), every=EVERY),
        **{
            f"photographs {side}": survival(
                f"photographs of {side} px", (p[None] for p in photographs(100, side)), small
            )
            for side in (32, 64, 128)
        },
    }
    alarms = false_alarms(4000 if options.full else 400, 10 if options.full else 2)
    print()
    report("watermark", speed(options.repeats), extra={"survival": sets, "false_alarms": alarms})


if __name__ == "__main__":
    main()
