"""Read one file for an examination: facts about it, and the frames that a recipe selects."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.data.recipe import Recipe
from unmask.files import NotRegularError, file_hash, printable
from unmask.inference.examination import Facts
from unmask.media.crops import Crops
from unmask.media.decoders import decoder_version
from unmask.media.indices import burst_indices
from unmask.media.kinds import Frames, MediaError, is_picture
from unmask.media.pcm import to_int16
from unmask.media.probe import file_statistics
from unmask.media.reader import open_media
from unmask.media.waveform import read_beside


@dataclass(frozen=True)
class Reading:
    """The frames of a file that a recipe selects.

    Attributes:
        frames: uint8 [N, H, W, 3].
        numbers: frame numbers [N].
        times: s from the start of the file [N].
        total: number of frames of the file.
    """

    frames: Frames
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    total: int

    @property
    def still(self) -> bool:
        """Whether the file has a single frame."""
        return self.total == 1


def read_frames(path: Path, recipe: Recipe) -> Reading:
    """Decode the frames that a recipe selects from a file.

    Raises:
        MediaError: the file cannot be read.
        OSError: the file cannot be opened.
    """
    reader = open_media(path, recipe.decoder)
    numbers = np.array(burst_indices(len(reader), recipe.frames, recipe.burst), np.int64)
    return Reading(reader.read(numbers.tolist()), numbers, reader.times(numbers.tolist()), len(reader))


def cut(recipe: Recipe, reading: Reading, path: Path) -> Crops:
    """Return the crops of the frames that were read and, if the recipe stores sound, the sound of the file.

    Raises:
        MediaError: no face is found, or the file has no sound.
    """
    crops = recipe.cut(reading.frames, reading.numbers, reading.times)
    return replace(crops, sound=to_int16(read_beside(path).sound)) if recipe.hears else crops


def facts_of(path: Path) -> Facts:
    """Return facts about a file that are known without decoding it: its name, size, hash, kind, codec and duration.

    For a file that cannot be read, only the facts that could be determined are set.
    """
    facts = Facts(name=printable(path.name))
    try:
        facts = replace(facts, size=path.stat().st_size, sha256=file_hash(path))
        picture = is_picture(path)
        found = file_statistics(path)
    except (MediaError, NotRegularError, OSError):
        return facts
    frames = 1 if picture else int(found["num_frames"])
    details = {"codec": str(found["codec"]), "pixel format": str(found["pixel_format"])}
    if not picture:
        details["frame rate"] = f"{float(found['fps']):.4g} per second"
    width, height = int(found["width"]), int(found["height"])
    details["bits per pixel"] = f"{8 * float(found['bytes']) / max(width * height * frames, 1):.3g}"
    return replace(
        facts, kind="picture" if picture else "video", width=width, height=height, frames=frames,
        duration=None if picture else frames / float(found["fps"]), details=details,
    )  # fmt: skip


def facts_read(facts: Facts, reading: Reading, recipe: Recipe) -> Facts:
    """Add the facts that are known after decoding: displayed size, numbers of frames, and decoder."""
    height, width = reading.frames.shape[1:3]
    decoder = f"Pillow {version('pillow')}" if facts.kind == "picture" else decoder_version(recipe.decoder)
    details = facts.details | {"decoder": decoder}
    return replace(facts, width=width, height=height, frames=reading.total, read=len(reading.numbers), details=details)


def versions(recipe: Recipe, picture: bool, library: str) -> dict[str, str]:
    """Return the versions of unmask and of the libraries that decode and score the file; `library` computes scores."""
    found = {name: version(name) for name in ("unmask", library, "numpy")}
    name, _, number = (f"Pillow {version('pillow')}" if picture else decoder_version(recipe.decoder)).partition(" ")
    return found | {name: number}
