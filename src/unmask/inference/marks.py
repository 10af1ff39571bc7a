"""Search a file for marks of generators: in its metadata, the watermark of unmask, and C2PA manifests."""

from pathlib import Path

import numpy as np

from unmask.files import printable
from unmask.media.kinds import Frames
from unmask.provenance import inspect
from unmask.provenance.manifests import read_manifest

MARKED = 8  # maximum number of frames of a video that are searched for a watermark


def marks_of(path: Path, frames: Frames | None) -> tuple[str, ...]:
    """Return one sentence per mark. The marks do not change the answer: they can be removed or forged.

    Args:
        path: a video or a picture.
        frames: decoded frames of the file, uint8 [N, H, W, 3]; None skips the search for the watermark.
    """
    if frames is not None:
        frames = frames[np.unique(np.linspace(0, len(frames) - 1, MARKED).round().astype(int))]
    found = [*inspect(path, frames), *read_manifest(path)]
    return tuple(printable(sentence.replace(str(path), path.name)) for sentence in found)
