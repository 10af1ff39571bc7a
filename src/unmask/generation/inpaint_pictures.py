"""Read originals at the inpainter's size, inpaint them, and write originals, masks and forgeries at full size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.generation.inpaint_folder import Job
from unmask.generation.inpainters import Inpainter
from unmask.generation.masks import MASKS
from unmask.media.kinds import MediaError
from unmask.media.reader import open_media
from unmask.provenance import ALTERED, TERMS, TRAINED, UNSPECIFIED, read_marks, source_marks, write_picture

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sheet:
    """A job's image and mask, at the inpainter's size (`seen`) and resized back to the original's size (`back`)."""

    job: Job
    seed: int
    seen: Pixels  # [S, S, 3]
    seen_mask: Pixels  # [S, S]
    back: Pixels  # [H, W, 3]
    back_mask: Pixels  # [H, W]


def read_sheets(jobs: Iterable[Job], root: Path, size: int, seed: int) -> tuple[list[Sheet], dict[str, str]]:
    """Read the original and draw the mask of each job.

    Args:
        jobs: forgeries to make.
        root: root folder of the data set.
        size: side of the inpainter's square input, px.
        seed: seed of the set, from which each forgery's seed is derived.

    Returns:
        The sheets of the jobs whose originals can be read, and {path: error message} of the other originals.
    """
    sheets, lost = list[Sheet](), dict[str, str]()
    for job in jobs:
        try:
            seen, back = there_and_back(root / job.original.path, size)
        except MediaError as error:
            lost[job.original.path] = str(error)
            continue
        number = job.seed(seed)
        mask = MASKS[job.mask]((size, size), np.random.default_rng(number))
        sheets.append(Sheet(job, number, seen, mask, back, resize(mask, back.shape[:2], cv2.INTER_NEAREST)))
    return sheets, lost


@lru_cache(maxsize=1)  # one entry is enough, because all jobs of an original are consecutive
def there_and_back(path: Path, size: int) -> tuple[Pixels, Pixels]:
    """Read an image; return it resized to [S, S, 3], and this result resized back to the original size [H, W, 3]."""
    picture: Pixels = open_media(path).read([0])[0]
    seen = resize(picture, (size, size))
    return seen, resize(seen, picture.shape[:2])


def resize(picture: Pixels, shape: tuple[int, ...], how: int | None = None) -> Pixels:
    """Resize an image to a shape [H, W]; an image that already has this shape is returned unchanged."""
    if picture.shape[:2] == shape[:2]:
        return picture
    smaller = shape[0] * shape[1] < picture.shape[0] * picture.shape[1]
    chosen = (cv2.INTER_AREA if smaller else cv2.INTER_CUBIC) if how is None else how
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=chosen), np.uint8)


def write(batch: Sequence[Sheet], inpainter: Inpainter, root: Path, paste: bool) -> None:
    """Inpaint a batch and write each job's original, mask and forgery, in this order.

    Args:
        batch: sheets whose inputs have the same size.
        inpainter: the inpainter.
        root: root folder of the data set.
        paste: keep the original outside the mask; if false, the inpainter's output is used there too.
    """
    seeds = np.array([sheet.seed for sheet in batch], np.int64)
    made = inpainter(np.stack([sheet.seen for sheet in batch]), np.stack([sheet.seen_mask for sheet in batch]), seeds)
    for sheet, picture in zip(batch, made, strict=True):
        job, forged = sheet.job, resize(picture, sheet.back.shape)
        if paste:
            forged = np.where(sheet.back_mask[..., None] > 127, forged, sheet.back)
        if not job.path("original").is_file():
            # Keep the source type of the original's file. The comment makes the mark about as long as a forgery's mark.
            term = read_marks(root / job.original.path).get("digitalSourceType", UNSPECIFIED).removeprefix(TERMS)
            write_picture(
                job.path("original"), sheet.back, source_marks(term, f"unmask: to {len(sheet.seen)} px and back")
            )
        write_picture(job.path("mask"), sheet.back_mask, {})
        mark = source_marks(TRAINED if inpainter.trained else ALTERED, f"unmask: inpainted by {inpainter.method}")
        write_picture(job.path("inpainting"), forged, mark)
