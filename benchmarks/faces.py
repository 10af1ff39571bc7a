"""Compare face detection as in `unmask prepare` with MTCNN on each frame at full size, on real clips and photographs.

A clip's boxes are those used for cropping: detected, tracked, and smoothed or interpolated by the tracker. Each is
compared by IoU with MTCNN's box of the same face in that frame at full size; a missed face counts as 0.

make bench ONLY=faces (needs the real files in $UNMASK_SHARED_DATA)
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import SHARED, arguments, compare, interleave, report
from facenet_pytorch import MTCNN

from unmask.media.find import Array, FaceFinder, Faces
from unmask.media.indices import burst_indices, spaced
from unmask.media.kinds import Frames
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.media.track import associate, iou, main_face, smooth

USUAL = FaceCrops()
# name: frames per burst, detection interval in frames, and arguments of FaceFinder
SETTINGS: dict[str, tuple[int, int, dict[str, int]]] = {
    "default": (USUAL.burst, USUAL.search_every, {}),
    **{f"bursts of {burst}, every {every}": (burst, every, {}) for burst in (1, 4, 8, 16) for every in (1, 2)},
    "bursts of 4, every 3": (4, 3, {}),
    "long_side 640": (USUAL.burst, USUAL.search_every, {"long_side": 640}),
    "long_side 360": (USUAL.burst, USUAL.search_every, {"long_side": 360}),
}
Clip = tuple[Frames, np.ndarray]  # frames and their indices


def files() -> list[Path]:
    """Return the photographs, and each clip once (two layouts contain the same clips)."""
    clips = {p.stat().st_size: p for p in sorted(SHARED.glob("celebdf_layout/*/*.mp4"))}
    clips |= {p.stat().st_size: p for p in sorted(SHARED.glob("ffpp/*/*/c23/videos/*.mp4"))}
    return [*clips.values(), *sorted(SHARED.glob("face_photos/*.jpg"))]


def read(path: Path, burst: int) -> Clip:
    reader = open_media(path)
    numbers = burst_indices(len(reader), USUAL.frames, burst)
    return reader.read(numbers), np.array(numbers)


def one_by_one(net: MTCNN, clips: list[Clip]) -> list[list[Faces]]:
    with torch.inference_mode():
        return [[_faces(*net.detect(frame, landmarks=True)) for frame in frames] for frames, _ in clips]


def _faces(boxes: Array | None, probs: Array, points: Array) -> Faces:
    if boxes is None:
        return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    return Faces(*(np.asarray(part, np.float32) for part in (boxes, probs, points)))


def tracked(finder: FaceFinder, clips: list[Clip], every: int) -> list[dict[int, Array]]:
    """Return the main face's box in each frame, as the recipe computes it."""
    found = []
    for frames, numbers in clips:
        searched = spaced(numbers, every)
        boxes: dict[int, Array] = {}
        for track in main_face(associate(finder(frames[searched]))):
            inside = np.arange(searched[track.frames[0]], searched[track.frames[-1]] + 1)
            boxes |= dict(zip(inside.tolist(), smooth(track, numbers[inside], numbers[searched])[0], strict=True))
        found.append(boxes)
    return found


def overlaps(truth: list[list[Faces]], found: list[dict[int, Array]]) -> list[float]:
    """Return the IoU of each full-size box of the main face with the box found in the same frame."""
    values = []
    for faces, boxes in zip(truth, found, strict=True):
        for track in main_face(associate(faces)):
            for frame, box in zip(track.frames, track.boxes, strict=True):
                values.append(float(iou(box[None], boxes[frame][None])[0, 0]) if frame in boxes else 0.0)
    return values


def _keep(given: dict[str, Any], name: str, work: Callable[..., Any], *arguments: Any) -> None:
    given[name] = work(*arguments)


def main() -> None:
    options = arguments(__doc__, 3, files=1000)
    paths = files()[: options.files]
    if not paths:
        sys.exit(f"faces: skipped, because {SHARED} contains no real clips; set UNMASK_SHARED_DATA to their folder")
    torch.set_num_threads(1)
    net = MTCNN(keep_all=True, post_process=False)
    comparisons = {}
    for burst in sorted({burst for burst, *_ in SETTINGS.values()}):
        clips, given = [read(path, burst) for path in paths], {}
        works = {"full size": partial(_keep, given, "full size", one_by_one, net, clips)}
        for name, (_, every, how) in ((n, s) for n, s in SETTINGS.items() if s[0] == burst):
            works[name] = partial(_keep, given, name, tracked, FaceFinder(**how), clips, every)
        seconds = interleave(works, options.repeats, warm=0)
        truth = given.pop("full size")
        for name, found in given.items():
            values = overlaps(truth, found)
            bound = {"at_least": 2.5} if name == "default" else {}
            quality = {"mean_iou": statistics.mean(values), "min_iou": min(values), "boxes": len(values)}
            comparisons[name] = compare(seconds, "full size", name, **bound) | quality
    report("faces", comparisons, main="default", packages=("facenet-pytorch", "opencv-python-headless"))
    for name, one in comparisons.items():
        held = f" [at least 0.90: {'met' if one['mean_iou'] >= 0.9 else 'NOT MET'}]" if name == "default" else ""
        print(f"  {name}: IoU mean {one['mean_iou']:.3f}, min {one['min_iou']:.2f}, {one['boxes']} boxes{held}")


if __name__ == "__main__":
    main()
