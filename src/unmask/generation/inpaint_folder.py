"""The output folder of inpainting forgeries, in DeepfakeArt's layout: its file names and tables."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.config import Settings
from unmask.data.manifest import Item, items_table
from unmask.datasets.deepfakeart import NO_MASK
from unmask.files import replace_file
from unmask.generation.masks import MASKS

FILES = "similar/inpainting/*"  # glob pattern of the subfolders with generated files


@dataclass(frozen=True)
class Job:
    """One forgery to make: an original of the data set, the name of a mask, and the output folder."""

    original: Item
    mask: str
    out: Path

    @property
    def record(self) -> str:
        """The name of the original; the forgery's folder has this name."""
        return self.original.item.split("/", 2)[-1].replace("/", "_")

    def path(self, kind: str) -> Path:
        """Return the path of one of this job's files; `kind` is `original`, `inpainting` or `mask`."""
        name = kind if kind == "original" else f"{kind}_{self.mask}"
        return self.out / "similar" / "inpainting" / self.record / f"{name}.png"

    def seed(self, seed: int) -> int:
        """Derive this forgery's seed from the seed of the set, independently of the batch and the order of jobs."""
        return int.from_bytes(hashlib.sha256(f"{seed}/{self.record}/{self.mask}".encode()).digest()[:8]) >> 1

    @property
    def done(self) -> bool:
        """Whether all files of the forgery exist; a file appears only when it is complete."""
        return all(self.path(kind).is_file() for kind in ("original", "mask", "inpainting"))


def find_jobs(originals: Iterable[Item], masks: Iterable[str], out: Path) -> list[Job]:
    """Return one job for each pair of an original and a mask; all jobs of an original are consecutive."""
    return [Job(item, mask, out) for item in originals for mask in masks]


def write_tables(out: Path, name: str, originals: Sequence[Item], method: str) -> int:
    """Write the manifest and methods.csv of all forgeries in the folder.

    Args:
        out: the folder.
        name: name of the data set.
        originals: real images of the data set.
        method: method name of the inpainter.

    Returns:
        The number of forgeries.

    Raises:
        ValueError: there are no forgeries.
    """
    rows: list[Item] = []
    for item in originals:
        if jobs := [job for job in find_jobs([item], MASKS, out) if job.done]:
            rows += _rows(jobs, name, method)
    if not rows:
        raise ValueError(f"out={out}: no forgery could be made")
    table = items_table(rows)
    fakes = table[table["label"] == 1][["path", "method"]]
    replace_file(out / "methods.csv", fakes.to_csv(index=False, lineterminator="\n").encode())
    replace_file(out / "items.parquet", table.to_parquet())
    _write_lists(out, rows)
    return len(fakes)


def _rows(jobs: Sequence[Job], name: str, method: str) -> list[Item]:
    """Return the manifest rows of an original and its forgeries, which share its groups and its split."""
    item = jobs[0].original
    real = f"{name}/real/{jobs[0].record}"
    path = jobs[0].path("original").relative_to(jobs[0].out).as_posix()
    shared: Settings = {
        "groups": item.groups, "official_test": item.official_test, "predefined": item.predefined
    }  # fmt: skip
    rows = [Item(real, path, 0, "real", **shared, attributes={"mask": NO_MASK})]
    for job in jobs:
        path, mask = (job.path(kind).relative_to(job.out).as_posix() for kind in ("inpainting", "mask"))
        fake = f"{name}/{method}/{job.record}_{job.mask}"
        rows.append(Item(fake, path, 1, method, real, **shared, mask=mask, attributes={"mask": job.mask}))
    return rows


def _write_lists(out: Path, rows: Sequence[Item]) -> None:
    """Write the lists of the official split if there is one; forgeries are in the same split as their originals."""
    if {item.predefined for item in rows} - {"train", "test"}:
        return
    originals = {item.item: item.path for item in rows}
    for split in ("train", "test"):
        listed = {
            item.item.rpartition("/")[2]: {"original": originals[item.source], "generated": item.path}
            for item in rows
            if item.predefined == split and item.source is not None
        }
        replace_file(out / "similar" / f"{split}_similar.json", json.dumps({"inpainting": listed}, indent=1).encode())
