"""Compare reading clips of 20 crops of 160x160 from the store's memory map with other file formats.

Files are cached and read in one random order. All formats return the same uint8 array, except JPEG, which is lossy.

make bench ONLY=storage
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from _bench import arguments, compare, interleave, report
from loader import make_store
from safetensors import safe_open
from safetensors.numpy import save_file

ITEMS, FRAMES, SIZE = 64, 20, 160
Read = Callable[[int], np.ndarray]  # index of a clip -> uint8 [T, 3, S, S]


def content() -> np.ndarray:
    """Return smooth crops [ITEMS * FRAMES, 3, S, S] with grain, which compress like faces."""
    rng = np.random.default_rng(0)
    smooth = rng.normal(0, 1, (ITEMS * FRAMES, SIZE // 8, SIZE // 8, 3)).astype(np.float32)
    frames = [cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for small in smooth]
    grain = rng.normal(0, 3, (SIZE, SIZE, 3)).astype(np.float32)
    pictures = [np.clip(128 + 40 * frame + grain, 0, 255).astype(np.uint8) for frame in frames]
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))


def write_all(folder: Path, pixels: np.ndarray) -> dict[str, Read]:
    """Write the clips in every format; return a function per format that reads one clip."""
    clips = pixels.reshape(ITEMS, FRAMES, 3, SIZE, SIZE)
    store = make_store(folder)
    np.save(folder / "crops-00000.npy", pixels)
    save_file({f"{n}": clip for n, clip in enumerate(clips)}, folder / "clips.safetensors")
    for n, clip in enumerate(clips):
        np.save(folder / f"{n}.npy", clip)
        for t, frame in enumerate(clip):
            picture = cv2.cvtColor(frame.transpose(1, 2, 0), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{n}-{t}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            cv2.imwrite(str(folder / f"{n}-{t}.png"), picture)
    shard, tensors = np.zeros(FRAMES, np.int64), safe_open(folder / "clips.safetensors", "np").__enter__()

    def pictures(n: int, suffix: str) -> np.ndarray:
        found = [cv2.imread(str(folder / f"{n}-{t}.{suffix}")) for t in range(FRAMES)]
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).transpose(2, 0, 1) for frame in found])

    return {
        "memory map": lambda n: store.pixels(shard, np.arange(n * FRAMES, (n + 1) * FRAMES)),
        "safetensors": lambda n: tensors.get_tensor(f"{n}"),
        "a .npy file a clip": lambda n: np.load(folder / f"{n}.npy"),
        "JPEG q95": lambda n: pictures(n, "jpg"),
        "PNG": lambda n: pictures(n, "png"),
    }


def sizes(folder: Path) -> dict[str, float]:
    """Return the kB per crop of the compressed formats."""
    return {
        f"{suffix}_kB_a_crop": sum(path.stat().st_size for path in folder.glob(f"*-*.{suffix}")) / ITEMS / FRAMES / 1e3
        for suffix in ("jpg", "png")
    }


def main() -> None:
    options = arguments(__doc__, repeats=15)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    order, pixels = np.random.default_rng(1).permutation(ITEMS), content()
    with tempfile.TemporaryDirectory() as folder:
        ways = write_all(Path(folder), pixels)
        for name, read in ways.items():
            same = np.array_equal(read(3), pixels[3 * FRAMES : 4 * FRAMES])
            assert same != (name == "JPEG q95"), name
        works = {name: lambda read=read: [read(int(n)) for n in order] for name, read in ways.items()}
        seconds = interleave(works, options.repeats)
        extra = sizes(Path(folder))
    comparisons = {f"{name} / memory map": compare(seconds, name, "memory map") for name in list(ways)[1:]}
    extra["memory_map_ms_a_clip"] = 1e3 * comparisons["JPEG q95 / memory map"]["seconds"]["memory map"] / ITEMS
    main = "JPEG q95 / memory map"
    report("storage", comparisons, main, ("numpy", "safetensors", "opencv-python-headless"), extra)
    print(f"  memory map: {extra['memory_map_ms_a_clip']:.2f} ms/clip; JPEG {extra['jpg_kB_a_crop']:.0f} kB/crop")


if __name__ == "__main__":
    main()
