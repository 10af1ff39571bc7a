"""Measure the PSNR of each perturbation in conf/perturbation at each level, in dB, and its time.

Crops of 256 px are cut from the two photographs of scikit-learn. The video pans over one of them. A perturbed video is
compared with the original at the original's times and size. The time is that of the last level.

make bench ONLY=perturbations
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from _bench import arguments, compare, interleave, report
from sklearn.datasets import load_sample_image

from unmask.config.build import build
from unmask.media.encode import write_video
from unmask.media.reader import open_media
from unmask.perturb.kinds import OnCrops, OnFiles

CONF = Path(__file__).parents[1] / "conf" / "perturbation"
SIZE, FRAMES = 256, 24
Perturbation = OnCrops | OnFiles


def photographs() -> np.ndarray:
    """Return eight crops [8, 3, S, S]."""
    places = [(top, left) for top in (0, 170) for left in (40, 340)]
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return np.stack([x[t : t + SIZE, n : n + SIZE].transpose(2, 0, 1) for x in photos for t, n in places])


def write_pan(path: Path) -> None:
    photo = load_sample_image("china.jpg")
    write_video(path, [photo[60 : 60 + SIZE, 4 * t : 4 * t + SIZE] for t in range(FRAMES)], 25, crf=5)


def decibel(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean PSNR over frames [N, ...]."""
    errors = np.square(a.astype(np.float32) - b).reshape(len(a), -1).mean(1)
    return float(np.mean(10 * np.log10(255**2 / errors)))


def shown(path: Path, like: Path) -> np.ndarray:
    """Return the frames [N, H, W, 3] that a viewer sees at the times of the frames of `like`, at their size."""
    new, old = open_media(path), open_media(like)
    times, wanted = (one.times(list(range(len(one)))) for one in (new, old))
    frames = new.read(list(range(len(new))))
    at = np.searchsorted(times, wanted + 1e-3, side="right") - 1
    return np.stack([cv2.resize(frames[i], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for i in at])


def measure(one: Perturbation, crops: np.ndarray, video: Path, folder: Path) -> list[float]:
    """Return the PSNR of each level, dB."""
    levels = range(1, len(one.levels) + 1)
    if isinstance(one, OnCrops):
        return [decibel(one.crops(crops, level, 0), crops) for level in levels]
    clean = shown(video, video)
    return [decibel(shown(one.file(video, level, folder), video), clean) for level in levels]


def apply(one: Perturbation, crops: np.ndarray, video: Path, folder: Path) -> object:
    last = len(one.levels)
    return one.crops(crops, last, 0) if isinstance(one, OnCrops) else one.file(video, last, folder)


def level_name(level: object) -> str:
    return " ".join(map(str, level.values())) if isinstance(level, dict) else str(level)


def main() -> None:
    options = arguments(__doc__, repeats=5)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = {path.stem: build(yaml.safe_load(path.read_text())) for path in sorted(CONF.glob("*.yaml"))}
    crops = photographs()
    with tempfile.TemporaryDirectory() as name:
        video, folder = Path(name, "pan.mp4"), Path(name, "made")
        folder.mkdir()
        write_pan(video)
        psnr = {key: measure(one, crops, video, folder) for key, one in found.items()}
        works = {key: lambda one=one: apply(one, crops, video, folder) for key, one in found.items()}
        seconds = interleave(works, options.repeats)
    comparisons = {f"{key} / jpeg": compare(seconds, key, "jpeg") for key in found if key != "jpeg"}
    count = {key: len(crops) if isinstance(one, OnCrops) else FRAMES for key, one in found.items()}
    ms = {key: 1e3 * float(np.median(seconds[key])) / count[key] for key in found}
    print("| perturbation | levels | PSNR, dB | ms per 256 px picture |\n|---|---|---|---|")
    for key, one in found.items():
        levels = ", ".join(map(level_name, one.levels))
        print(f"| {key} | {levels} | {', '.join(f'{x:.1f}' for x in psnr[key])} | {ms[key]:.2f} |")
    report("perturbations", comparisons, None, ("pillow", "av", "numpy"), {"psnr": psnr, "ms_a_picture": ms})


if __name__ == "__main__":
    main()
