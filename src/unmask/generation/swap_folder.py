"""The folder of swapped videos: its file layout, settings and manifest."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from unmask.config import Settings
from unmask.console import say
from unmask.data.manifest import Item, items_table
from unmask.datasets.people import People
from unmask.files import read_json, replace_file
from unmask.generation.folder import claim_for_run
from unmask.media.kinds import VIDEOS
from unmask.provenance import Marking
from unmask.runs.run import Run

Pair = tuple[Item, Item]  # manifest rows of a swapped video and of its original
METHOD = "faceswap"
ENDS = {"previews": ".png", "figures": ".json"}


@dataclass(frozen=True)
class Job:
    """One video and the output files of its swap."""

    video: Path
    name: str  # name of the output files
    out: Path

    def path(self, kind: str) -> Path:
        """Return the path of an output file; `kind` is its folder: `videos`, `masks`, `previews` or `figures`."""
        return self.out / kind / f"{self.name}{ENDS.get(kind, '.mp4')}"

    def part(self, kind: str) -> Path:
        """Return the temporary path at which a file is written before it is renamed."""
        return self.out / kind / f".{self.name}.{os.getpid()}.part"


def find_jobs(video: Path, out: Path) -> list[Job]:
    """Return one job for a video, or one for each video in a folder, sorted by path.

    In a folder, a job is named after its video's path below the folder.
    """
    if video.is_file():
        if video.suffix.lower() not in VIDEOS:
            raise ValueError(f"video={video}: expected a video ({' '.join(sorted(VIDEOS))})")
        return [Job(video, video.stem, out)]
    files = [f for f in sorted(video.rglob("*")) if f.suffix.lower() in VIDEOS and not f.name.startswith(".")]
    if not files:
        raise ValueError(f"video={video}: this folder contains no video ({' '.join(sorted(VIDEOS))})")
    jobs: dict[str, Job] = {}
    for file in files:
        name = file.relative_to(video).with_suffix("").as_posix().replace("/", "_")
        if name in jobs:
            raise ValueError(
                f"video={video}: the outputs of {jobs[name].video} and {file} would have the same name; rename a video"
            )
        jobs[name] = Job(file, name, out)
    return list(jobs.values())


def claim_folder(out: Path, run: Run, settings: Settings, marking: Marking, rerun: bool) -> None:
    """Record the settings in a new folder, or check that an existing folder was made with the same settings.

    Args:
        out: the folder.
        run: run of the swapper.
        settings: further settings that affect the pixels.
        marking: how published videos are marked.
        rerun: remove the generated files and the stored crops, and start over.

    Raises:
        ValueError: the folder was made with different settings, or it contains files but no record of settings.
    """
    claim_for_run(out, run, settings, marking, "videos", rerun)
    for kind in ("videos", "masks", *ENDS):
        (out / kind).mkdir(parents=True, exist_ok=True)


def find_work(video: Path, to: str, out: Path, run: Run) -> list[tuple[Job, Pair]]:
    """Return a job and two manifest rows for each video: one row for the swapped video and one for the original.

    Args:
        video: a video, or a folder of videos.
        to: name of the person to render.
        out: the output folder.
        run: run of the swapper.

    Raises:
        ValueError: `video` is not a video, the folder contains no videos, or two outputs would have the same name.
    """
    known, name, work = _known(run), str(run.config["data"]["name"]), list[tuple[Job, Pair]]()
    for job in find_jobs(video, out):
        filmed = f"video/{job.name}"
        source, group = known.get(job.video.resolve(), (str(job.video), filmed))
        groups = tuple(dict.fromkeys((group, f"{name}/{to}")))
        paths = {kind: job.path(kind).relative_to(job.out).as_posix() for kind in ("videos", "masks")}
        fake = f"generated_{METHOD}/{METHOD}/{job.name}_to_{to}"
        made = Item(fake, paths["videos"], 1, METHOD, source, groups, mask=paths["masks"])
        item = filmed if group == filmed else source
        work.append((job, (made, Item(item, str(job.video), 0, "real", groups=(group,)))))
    return work


def write_table(work: list[tuple[Job, Pair]], marking: Marking, lost: dict[str, str]) -> None:
    """Write the manifest, and print the metrics of each video that was made.

    If some metrics were not computed, also print the reason.

    Args:
        work: the job and the manifest rows of each video.
        marking: how published videos are marked.
        lost: {name of the job: reason} for the videos that failed, which were printed when they failed.
    """
    by_item = {made.item: job for job, (made, _) in work}
    table = items_table(made for _, (made, _) in work)
    table["rejected"] = [lost.get(by_item[item].name) for item in table["item"]]
    marked = {f"marking.{key}": value for key, value in marking.describe().items()}
    measured = [_figures(by_item[item]) for item in table["item"]]
    values = [{name: value for name, value in each.items() if not isinstance(value, str)} for each in measured]
    table = table.join(pd.DataFrame(values, index=table.index).add_prefix("figure."))
    replace_file(work[0][0].out / "items.parquet", table.assign(**marked).to_parquet())
    for job, figures in zip((by_item[item] for item in table["item"]), values, strict=True):
        if job.name not in lost:
            numbers = ", ".join(f"{name} {value:z.3f}" for name, value in figures.items() if value is not None)
            say(f"  {job.name}: {numbers or 'no metrics'}")
    reasons = {name: value for each in measured for name, value in each.items() if isinstance(value, str)}
    for name, reason in reasons.items():
        say(f"  {name}: {reason}")


def _figures(job: Job) -> dict[str, float | str | None]:
    """Read the metrics that were measured when a video was made; return {} if it was not made."""
    path = job.path("figures")
    return read_json(path, "delete it and its video, then run the same command again") if path.is_file() else {}


def _known(run: Run) -> dict[Path, tuple[str, str]]:
    """Return {path: (item, person)} for the files of the run's data set; {} if the data set is not available."""
    data = run.build("data.source")
    if not isinstance(data, People) or not data.root.is_dir():
        return {}
    try:
        items = data.find_items()
    except ValueError:
        return {}
    return {(data.root / item.path).resolve(): (item.item, item.groups[0]) for item in items}
