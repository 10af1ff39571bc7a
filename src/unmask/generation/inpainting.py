"""Make inpainting forgeries from the real images of a data set; forgeries that exist already are kept."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.config import Settings
from unmask.console import console, say
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.generation.folder import batches, claim
from unmask.generation.inpaint_folder import FILES, Job, find_jobs, write_tables
from unmask.generation.inpaint_pictures import read_sheets, write
from unmask.generation.inpainters import Inpainter
from unmask.generation.masks import MASKS
from unmask.media.kinds import VIDEOS

PRINTED = 10  # maximum number of unreadable originals whose errors are printed


@dataclass(frozen=True)
class InpaintSettings:
    """Which forgeries to make, and how.

    Args:
        masks: names from `MASKS`; one forgery is made for each mask and each original.
        size: side of the inpainter's square input, px.
        paste: keep the original outside the mask; if false, the inpainter's output is used there too.
        limit: maximum number of originals, the first ones by name; None for all.
        seed: seed of the set, from which each forgery's seed is derived.
        batch_size: number of images per batch; does not affect the pixels.

    Raises:
        ValueError: some settings are invalid; the message lists all of them.
    """

    masks: tuple[str, ...] = tuple(MASKS)
    size: int = 512
    paste: bool = True
    limit: int | None = None
    seed: int = 0
    batch_size: int = 8

    def __post_init__(self) -> None:
        wrong = [
            f"masks: unknown '{mask}'; expected one of {', '.join(MASKS)}" for mask in self.masks if mask not in MASKS
        ]
        least = {"size": (self.size, 8), "batch_size": (self.batch_size, 1)}
        wrong += [f"{key}={value}: expected at least {low}" for key, (value, low) in least.items() if value < low]
        wrong += ["masks=[]: expected at least one mask"] * (not self.masks)
        if self.limit is not None and self.limit < 1:
            wrong.append(f"limit={self.limit}: expected at least 1, or null for all")
        if wrong:
            raise ValueError("\n  ".join(["the forgeries cannot be made:", *wrong]))


def inpaint(
    data: Source,
    inpainter: Inpainter,
    how: InpaintSettings,
    out: Path,
    about: Settings,
    rerun: bool = False,
    check: bool = False,
) -> None:
    """Make the missing forgeries of a data set, then write the tables of the output folder.

    Args:
        data: the data set; its real images are the originals.
        inpainter: the inpainter.
        how: which forgeries to make, and how.
        out: the output folder.
        about: the inpainter's settings that affect the pixels, to be recorded in the folder.
        rerun: remove existing forgeries and start over.
        check: only print how many forgeries exist.

    Raises:
        ValueError: there are no images, `out` was made with different settings, or no forgery could be made.
    """
    originals = find_originals(data)
    wanted = originals[: how.limit]
    jobs = find_jobs(wanted, how.masks, out)
    say(f"{inpainter.method} inpaints {len(wanted)} originals of {data.name}, {len(how.masks)} masks each, in {out}")
    if check:
        say(f"{sum(job.done for job in jobs)} of {len(jobs)} forgeries exist")
        return
    settings = {"data": data.name, "generator": about, "size": how.size, "paste": how.paste, "seed": how.seed}
    claim(out, settings, FILES, rerun)
    todo = [job for job in jobs if not job.done]
    lost = make(todo, inpainter, data.root, how)
    made = write_tables(out, str(data.name), originals, inpainter.method)
    say(f"{made} forgeries in {out}, {sum(job.done for job in todo)} of them new; items.parquet is the manifest")
    for path, reason in list(lost.items())[:PRINTED]:
        say(f"  original not readable, so its forgeries were not made: {path}: {reason}", style="yellow")
    name = f"data.name={data.name}_{inpainter.method}"
    say(f"to prepare them: {shlex.join(['unmask', 'prepare', 'data=deepfakeart', name, f'data.root={out}'])}")


def find_originals(data: Source) -> list[Item]:
    """Return the real images of a data set, in order of their names.

    Raises:
        ManifestError: the data set is missing, has no real images or contains videos.
    """
    if not data.root.is_dir():
        raise ManifestError(f"data.root={data.root}: no such folder\n{data.explain()}")
    real = sorted((item for item in data.find_items() if item.label == 0), key=lambda item: item.item)
    films = [item.path for item in real if Path(item.path).suffix.lower() in VIDEOS]
    if films or not real:
        what = f"videos such as {films[0]}" if films else "no originals"
        raise ManifestError(f"data={data.name} contains {what}, but inpainting needs pictures: choose another data set")
    return real


def make(todo: Sequence[Job], inpainter: Inpainter, root: Path, how: InpaintSettings) -> dict[str, str]:
    """Make forgeries. Return {path below `root`: error message} for the originals that could not be read."""
    lost: dict[str, str] = {}
    columns = (TextColumn("inpainting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        for jobs in batches(bar.track(todo), how.batch_size):
            sheets, unread = read_sheets(jobs, root, how.size, how.seed)
            lost |= unread
            if sheets:
                write(sheets, inpainter, root, how.paste)
    return lost
