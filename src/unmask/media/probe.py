"""File-level statistics: size, format, resolution, codec statistics, colour, and unmask's own watermark.

These statistics must not reveal whether a file is real or fake; the shortcut audit (data/audit.py) checks this.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unmask.media.kinds import Frames, Statistics, is_picture
from unmask.media.still import open_picture
from unmask.media.video import describe
from unmask.provenance import watermark

MARKED = 8  # maximum number of frames searched for the watermark
SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # chroma subsampling by Pillow's number


def file_statistics(path: Path) -> Statistics:
    """Return size in bytes, format, codec and resolution; for a video also frame rate, frame count and frame sizes.

    Cover pictures of videos are ignored. `width` and `height` are those of a displayed frame.
    """
    found: Statistics = {"bytes": float(path.stat().st_size), "format": path.suffix.lower().lstrip(".")}
    if is_picture(path):
        return found | _picture_statistics(path)
    about = describe(path)
    height, width = about.view.size
    key = [size for size, is_key in about.packets if is_key]
    other = [size for size, is_key in about.packets if not is_key]
    return found | {
        "codec": about.codec,
        "pixel_format": about.pixel_format,
        "width": float(width),
        "height": float(height),
        "fps": float(about.rate),
        "num_frames": float(len(about.packets)),
        "key_frame_bytes": float(np.mean(key)) if key else 0.0,
        "other_frame_bytes": float(np.mean(other)) if other else 0.0,
        "key_frames": float(len(key)),
    }


def _picture_statistics(path: Path) -> Statistics:
    """Return the statistics that Pillow reports; PyAV would reject some pictures that Pillow can read."""
    from PIL import JpegImagePlugin

    with open_picture(path) as picture:
        kind, (width, height) = picture.mode, picture.size
        if isinstance(picture, JpegImagePlugin.JpegImageFile):
            # Chroma subsampling depends on the program that saved the file.
            kind += f" {SAMPLING.get(JpegImagePlugin.get_sampling(picture), 'other')}"
        codec = str(picture.format).lower()
    return {"codec": codec, "pixel_format": kind, "width": float(width), "height": float(height)}


class Look(NamedTuple):
    """A summary of one frame. The frame's statistics are computed from it, so the frame itself need not be kept."""

    histogram: NDArray[np.int64]  # [3, 256]: counts of each value, in every fourth pixel of every fourth line
    plane: NDArray[np.float32] | None  # to be searched for the watermark; None if this frame is not searched


def look(frame: NDArray[np.uint8], number: int, count: int) -> Look:
    """Summarise the `number`-th of `count` frames [H, W, 3]; at most 8 frames are searched for the watermark."""
    some = frame[::4, ::4]
    histogram = np.stack([np.bincount(some[..., channel].ravel(), minlength=256) for channel in range(3)])
    return Look(histogram, None if number % -(-count // MARKED) else watermark.plane(frame))


def frame_statistics(frames: Frames) -> Statistics:
    """Return the statistics of frames uint8 [N, H, W, 3]; see `look_statistics`."""
    return look_statistics([look(frame, number, len(frames)) for number, frame in enumerate(frames)])


def look_statistics(seen: Sequence[Look]) -> Statistics:
    """Return mean and standard deviation of each channel in [0, 255] over all frames, and `watermark`.

    `watermark` is -log10 of the p-value of unmask's own watermark, which a detector could learn as a shortcut.
    """
    found: Statistics = {}
    values = np.arange(256)
    histograms = np.sum([one.histogram for one in seen], axis=0)
    for name, histogram in zip(("red", "green", "blue"), histograms, strict=True):
        mean = float(histogram @ values) / int(histogram.sum())
        deviation = math.sqrt(float(histogram @ (values - mean) ** 2) / int(histogram.sum()))
        found |= {f"{name}_mean": mean, f"{name}_std": deviation}
    planes = [one.plane for one in seen if one.plane is not None]
    chance = watermark.read_planes(planes, (watermark.PAYLOAD,)).p_value
    return found | {"watermark": math.log10(1 / max(chance, 1e-300))}
