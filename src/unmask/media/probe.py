"""What a file is apart from its picture: size, format, resolution, codec statistics, colour, our own watermark.

A detector must not be able to tell real from fake by these; the shortcut audit (data/audit.py) checks that.
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

MARKED = 8  # frames in which the watermark is looked for
SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # as Pillow numbers them


def file_statistics(path: Path) -> Statistics:
    """Size in bytes, format, codec, resolution and, for a video, rate, length and bytes of its key and other frames.

    Of the stream that is the video and not of a cover; `width` and `height` are those of a frame as it is shown.
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
    """By Pillow, which reads the pixels too: what it can read has statistics. PyAV refuses some."""
    from PIL import JpegImagePlugin

    with open_picture(path) as picture:
        kind, (width, height) = picture.mode, picture.size
        if isinstance(picture, JpegImagePlugin.JpegImageFile):
            # How coarse the colours are depends on who saved the file.
            kind += f" {SAMPLING.get(JpegImagePlugin.get_sampling(picture), 'other')}"
        codec = str(picture.format).lower()
    return {"codec": codec, "pixel_format": kind, "width": float(width), "height": float(height)}


class Look(NamedTuple):
    """What the statistics of a frame need; the frame itself may be forgotten."""

    histogram: NDArray[np.int64]  # [3, 256]: how often each value occurs, in every fourth pixel of every fourth line
    plane: NDArray[np.float32] | None  # in which the watermark is looked for


def look(frame: NDArray[np.uint8], number: int, count: int) -> Look:
    """Look at a whole frame [H, W, 3], the `number`-th of `count`; the watermark is looked for in up to 8 of them."""
    some = frame[::4, ::4]
    histogram = np.stack([np.bincount(some[..., channel].ravel(), minlength=256) for channel in range(3)])
    return Look(histogram, None if number % -(-count // MARKED) else watermark.plane(frame))


def frame_statistics(frames: Frames) -> Statistics:
    """Of whole frames uint8 [N, H, W, 3]; see `look_statistics`."""
    return look_statistics([look(frame, number, len(frames)) for number, frame in enumerate(frames)])


def look_statistics(seen: Sequence[Look]) -> Statistics:
    """Of the looks at all frames: mean and deviation of each channel in [0, 255], and `watermark`.

    The last is -log10 of the p-value of our own mark, 0 for none: a detector could learn that instead.
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
