"""What a file is apart from its picture: size, format, resolution, codec statistics, colour, our own watermark.

A detector must not be able to tell real from fake by these; the shortcut audit (data/audit.py) checks that.
"""

import math
from pathlib import Path

import numpy as np

from unmask import watermark
from unmask.media.kinds import Frames, is_picture
from unmask.media.still import open_picture
from unmask.media.video import describe

Statistics = dict[str, float | str]
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


def frame_statistics(frames: Frames) -> Statistics:
    """Of whole frames uint8 [N, H, W, 3]: mean and deviation of each channel in [0, 255], and `watermark`.

    The last is -log10 of the p-value of our own mark, 0 for none: a detector could learn that instead.
    """
    pixels = frames[:, ::4, ::4].reshape(-1, 3).astype(np.float32)
    found: Statistics = {}
    for name, mean, deviation in zip(("red", "green", "blue"), pixels.mean(0), pixels.std(0), strict=True):
        found |= {f"{name}_mean": float(mean), f"{name}_std": float(deviation)}
    some = frames[:: -(-len(frames) // MARKED)]
    return found | {"watermark": math.log10(1 / max(watermark.read(some, (watermark.PAYLOAD,)).p_value, 1e-300))}
