"""The folder of swapped videos: which file is what, what it was made with, and the manifest of all."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from unmask.console import say
from unmask.data.manifest import Item, items_table
from unmask.datasets.people import PeopleDataModule
from unmask.generation.folder import claim_for_run
from unmask.generation.inpainting import replace
from unmask.media.kinds import VIDEOS
from unmask.provenance import Marking
from unmask.runs.run import Run

Pair = tuple[Item, Item]  # what is made of a video, and that video
METHOD = "faceswap"
ENDS = {"previews": ".png", "figures": ".json"}


@dataclasses.dataclass(frozen=True)
class Job:
    """One video and where what is made of it lies."""

    video: Path
    name: str  # of its files
    out: Path

    def path(self, kind: str) -> Path:
        """The file of `videos`, `masks`, `previews` or `figures`."""
        return self.out / kind / f"{self.name}{ENDS.get(kind, '.mp4')}"


def find_jobs(video: Path, out: Path) -> list[Job]:
    """One a video, in order; names are those of the files, with their folders below `video`."""
    if video.is_file():
        if video.suffix.lower() not in VIDEOS:
            raise ValueError(f"video={video}: it is no video ({' '.join(sorted(VIDEOS))})")
        return [Job(video, video.stem, out)]
    files = [f for f in sorted(video.rglob("*")) if f.suffix.lower() in VIDEOS and not f.name.startswith(".")]
    if not files:
        raise ValueError(f"video={video}: there is no video in this folder ({' '.join(sorted(VIDEOS))})")
    jobs: dict[str, Job] = {}
    for file in files:
        name = file.relative_to(video).with_suffix("").as_posix().replace("/", "_")
        if name in jobs:
            raise ValueError(f"video={video}: {jobs[name].video} and {file} would have one name; rename one of them")
        jobs[name] = Job(file, name, out)
    return list(jobs.values())


def claim_folder(cfg: DictConfig, out: Path, run: Run, marking: Marking) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's."""
    settings = {key: cfg[key] for key in ("to", "blending", "colour", "feather", "search_every", "crf")}
    claim_for_run(cfg, out, run, marking, "videos", **settings)
    for kind in ("videos", "masks", *ENDS):
        (out / kind).mkdir(parents=True, exist_ok=True)


def pairs_of(cfg: DictConfig, jobs: list[Job], run: Run) -> list[Pair]:
    """The manifest's rows of each video: of what is made, with its source and whose face is on whom, and of that."""
    known, name = _known(run), str(run.config["data"]["name"])
    found = []
    for job in jobs:
        filmed = f"video/{job.name}"
        source, group = known.get(job.video.resolve(), (str(job.video), filmed))
        groups = tuple(dict.fromkeys((group, f"{name}/{cfg.to}")))
        paths = {kind: job.path(kind).relative_to(job.out).as_posix() for kind in ("videos", "masks")}
        fake = f"generated_{METHOD}/{METHOD}/{job.name}_to_{cfg.to}"
        found.append(
            (
                Item(fake, paths["videos"], 1, METHOD, source, groups, mask=paths["masks"]),
                Item(filmed if group == filmed else source, str(job.video), 0, "real", groups=(group,)),
            )
        )
    return found


def write_table(jobs: list[Job], made: list[Item], marking: Marking, lost: dict[str, str]) -> None:
    """The manifest: every video with what was measured of it, or why it was not made."""
    by_item = {item.item: job for item, job in zip(made, jobs, strict=True)}
    table = items_table(made)
    table["rejected"] = [lost.get(by_item[item].name) for item in table["item"]]
    marked = {f"marking.{key}": value for key, value in marking.describe().items()}
    told = [_figures(by_item[item]) for item in table["item"]]
    table = table.join(pd.DataFrame(told, index=table.index).add_prefix("figure."))
    replace(jobs[0].out / "items.parquet", table.assign(**marked).to_parquet())
    for job, figures in zip((by_item[item] for item in table["item"]), told, strict=True):
        words = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
        say(f"  {job.name}: {words}" if words else f"  {job.name}: not made")


def _figures(job: Job) -> dict[str, float | None]:
    """What was measured of a video when it was made."""
    path = job.path("figures")
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _known(run: Run) -> dict[Path, tuple[str, str]]:
    """Of each file that the run was trained on its item and its person; nothing where they are not at hand."""
    data: Any = run.build("data")
    if not isinstance(data, PeopleDataModule) or not data.root.is_dir():
        return {}
    try:
        items = data.find_items()
    except ValueError:
        return {}
    return {(data.root / item.path).resolve(): (item.item, item.groups[0]) for item in items}
