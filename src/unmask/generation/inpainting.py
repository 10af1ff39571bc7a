"""The set of inpainting forgeries: its layout, its files, its tables."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.data.manifest import Item, items_table
from unmask.generation.inpainters import Inpainter
from unmask.generation.masks import MASKS
from unmask.media.kinds import MediaError
from unmask.media.reader import open_media
from unmask.provenance import ALTERED, TERMS, TRAINED, UNSPECIFIED, read_marks, source_marks, write_picture

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Job:
    """One forgery: an original of the data set and the mask to be painted anew, below the output folder `out`."""

    original: Item
    mask: str
    out: Path

    @property
    def record(self) -> str:
        """The original's own name, which names its folder."""
        return self.original.item.split("/", 2)[-1].replace("/", "_")

    def path(self, kind: str) -> Path:
        """Where `original`, `inpainting` or `mask` lies."""
        name = kind if kind == "original" else f"{kind}_{self.mask}"
        return self.out / "similar" / "inpainting" / self.record / f"{name}.png"

    def seed(self, seed: int) -> int:
        """Of this forgery alone, so that neither the batch nor the order decides a pixel."""
        return int.from_bytes(hashlib.sha256(f"{seed}/{self.record}/{self.mask}".encode()).digest()[:8]) >> 1

    @property
    def done(self) -> bool:
        """Whether all of its files are there; each appears only when it is complete."""
        return all(self.path(kind).is_file() for kind in ("original", "mask", "inpainting"))


@dataclass(frozen=True)
class Sheet:
    """What a job's inpainter sees and what its files hold: at the inpainter's size, and back at the original's."""

    job: Job
    seed: int
    seen: Pixels  # [S, S, 3]
    seen_mask: Pixels  # [S, S]
    back: Pixels  # [H, W, 3]
    back_mask: Pixels  # [H, W]


def sheets(jobs: Iterable[Job], root: Path, size: int, seed: int, lost: dict[str, str]) -> Iterator[Sheet]:
    """What each job is to be made from; an original that cannot be read goes to `lost` with the reason."""
    for job in jobs:
        try:
            seen, back = there_and_back(root / job.original.path, size)
        except MediaError as error:
            lost[job.original.path] = str(error)
            continue
        number = job.seed(seed)
        mask = MASKS[job.mask]((size, size), np.random.default_rng(number))
        yield Sheet(job, number, seen, mask, back, resize(mask, back.shape[:2], cv2.INTER_NEAREST))


@lru_cache(maxsize=1)  # the masks of one original come one after the other
def there_and_back(path: Path, size: int) -> tuple[Pixels, Pixels]:
    """A picture at the inpainter's size [S, S, 3], and this back at its own [H, W, 3]."""
    picture: Pixels = open_media(path).read([0])[0]
    seen = resize(picture, (size, size))
    return seen, resize(seen, picture.shape[:2])


def resize(picture: Pixels, shape: tuple[int, ...], how: int | None = None) -> Pixels:
    """Bring a picture to a shape [H, W]; one that has it stays as it is."""
    if picture.shape[:2] == shape[:2]:
        return picture
    smaller = shape[0] * shape[1] < picture.shape[0] * picture.shape[1]
    chosen = (cv2.INTER_AREA if smaller else cv2.INTER_CUBIC) if how is None else how
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=chosen), np.uint8)


def write(batch: Sequence[Sheet], inpainter: Inpainter, root: Path, size: int, paste: bool) -> None:
    """Inpaint a batch and write its files, the forgery last."""
    seeds = np.array([sheet.seed for sheet in batch], np.int64)
    made = inpainter(np.stack([sheet.seen for sheet in batch]), np.stack([sheet.seen_mask for sheet in batch]), seeds)
    for sheet, picture in zip(batch, made, strict=True):
        job, forged = sheet.job, resize(picture, sheet.back.shape)
        if paste:
            forged = np.where(sheet.back_mask[..., None] > 127, forged, sheet.back)
        if not job.path("original").is_file():
            # What the original's file says of itself stays true; its length is that of a forgery's mark.
            term = read_marks(root / job.original.path).get("digitalSourceType", UNSPECIFIED).removeprefix(TERMS)
            write_picture(job.path("original"), sheet.back, source_marks(term, f"unmask: to {size} px and back"))
        write_picture(job.path("mask"), sheet.back_mask, {})
        mark = source_marks(TRAINED if inpainter.trained else ALTERED, f"unmask: inpainted by {inpainter.method}")
        write_picture(job.path("inpainting"), forged, mark)


def write_tables(out: Path, name: str, originals: Sequence[Item], method: str) -> int:
    """Write the manifest and methods.csv of all that lies in the folder; the number of forgeries."""
    rows: list[Item] = []
    for item in originals:
        jobs = [job for job in (Job(item, mask, out) for mask in MASKS) if job.done]
        if not jobs:
            continue
        same = {"groups": item.groups, "listed": item.listed, "given": item.given}
        real = f"{name}/real/{jobs[0].record}"
        rows.append(Item(real, jobs[0].path("original").relative_to(out).as_posix(), 0, "real", **same))  # type: ignore[arg-type]
        for job in jobs:
            path, mask = (job.path(kind).relative_to(out).as_posix() for kind in ("inpainting", "mask"))
            fake = f"{name}/{method}/{job.record}_{job.mask}"
            rows.append(Item(fake, path, 1, method, source=real, mask=mask, **same))  # type: ignore[arg-type]
    if not rows:
        raise ValueError(f"out={out}: no forgery could be made")
    table = items_table(rows)
    fakes = table[table["label"] == 1][["path", "method"]]
    replace(out / "methods.csv", fakes.to_csv(index=False, lineterminator="\n").encode())
    replace(out / "items.parquet", table.to_parquet())
    _write_lists(out, rows)
    return len(fakes)


def _write_lists(out: Path, rows: Sequence[Item]) -> None:
    """Write the lists of the official split, if the originals came with one, so that the forgeries keep it."""
    if {item.given for item in rows} - {"train", "test"}:
        return
    originals = {item.item: item.path for item in rows}
    for split in ("train", "test"):
        listed = {
            item.item.rpartition("/")[2]: {"original": originals[item.source], "generated": item.path}
            for item in rows
            if item.given == split and item.source is not None
        }
        replace(out / "similar" / f"{split}_similar.json", json.dumps({"inpainting": listed}, indent=1).encode())


def replace(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
