"""Videos in which one face is drawn as a person of a run: found, followed, drawn, put back, marked, listed.

Each video is read twice: once to find and follow the face, once to put the other one in its place. What is kept of it
are boxes and a few frames, so that memory does not grow with its length.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.progress import track

from unmask.commands._figures import Embed, SwapFigures
from unmask.commands._inpainting import replace
from unmask.commands._made import claim
from unmask.commands._shell import console, say
from unmask.commands._swapper import Swapper
from unmask.config import validate
from unmask.data.manifest import Item, file_hash, items_table
from unmask.datasets.people import PeopleDataModule
from unmask.media.align import warp
from unmask.media.decode import VIDEOS, MediaError
from unmask.media.encode import write_video
from unmask.media.paste import BLENDS, COLOURS
from unmask.media.stream import clock
from unmask.provenance import TRAINED, Marking
from unmask.runs import Run
from unmask.training.samples import rows

Pixels = NDArray[np.uint8]
METHOD = "faceswap"
SHOWN = 6  # frames of a video in its preview
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


def generate(cfg: DictConfig) -> None:
    """Make what is not there yet of the videos, then write the manifest."""
    run = Run(Path(cfg.run))
    people = list(run.config.data.get("people") or {})
    _check(cfg, run, people)
    marking: Marking = instantiate(cfg.marking, _convert_="all")
    marking = dataclasses.replace(marking, label=cfg.label or "", psnr=cfg.video_psnr, source=TRAINED)
    out = Path(cfg.out or Path("outputs/generated") / f"{str(run.config.name).replace('/', '_')}_to_{cfg.to}")
    jobs = _jobs(Path(cfg.video), out)
    _claim(cfg, out, run, marking)
    todo = [job for job in jobs if not job.path("videos").is_file()]
    say(f"{len(jobs)} videos to {cfg.to} of {run.name}, {len(todo)} of them to be made, into {out}")
    lost: dict[str, str] = {}
    if todo:
        swapper, embed = _swapper(cfg, run, people.index(cfg.to)), _embedder(cfg)
        for job in track(todo, "swapping", console=console, transient=True):
            try:
                make(job, swapper, marking, cfg.crf, embed)
            except MediaError as error:
                lost[job.name] = str(error)
                say(f"  set aside: {job.video}: {error}", style="yellow")
    _write_table(cfg, jobs, run, marking, lost)
    off = [name for name, value in marking.describe().items() if value == "off"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    if jobs and len(lost) == len(jobs):
        raise ValueError(f"none of {len(jobs)} videos could be made, see above and {out / 'items.parquet'}")
    say(f"{len(jobs) - len(lost)} videos in {out / 'videos'}; items.parquet is the manifest, previews/ shows some")


def make(job: Job, swapper: Swapper, marking: Marking, crf: int = 14, embed: Embed | None = None) -> None:
    """Write one video, and before it its mask, preview and figures; each file appears only when it is complete.

    Raises:
        MediaError: it cannot be read, or shows no face.
    """
    fps, times = clock(job.video)
    places = swapper.find(job.video, len(times.times))
    shown = {sorted(places)[at] for at in np.linspace(0, len(places) - 1, SHOWN).round().astype(int)}
    part, mask = (job.path(kind).with_name(f".{job.name}.{os.getpid()}.part") for kind in ("videos", "masks"))
    preview: list[NDArray[np.float32]] = []
    masks, figures = _Masks(), SwapFigures(embed)

    def unmarked() -> Iterator[Pixels]:
        """The frames as detectors may see them; what comes after this is marks."""
        for number, made in enumerate(swapper.frames(job.video, places)):
            if made.crop is not None and made.drawn is not None and made.matrix is not None:
                pasted = warp(made.frame, made.matrix, swapper.image_size)
                figures.add(number, made.crop, pasted, number in shown)
                if number in shown:
                    preview.append(np.stack([made.crop, made.drawn, pasted]))
            masks.add(made.alpha)
            yield _even(made.frame)

    try:
        frames = marking.frames(unmarked())
        write_video(part, frames, fps, crf, marking.tags(), sound=job.video, clock=times)
        marking.finish(part)
        write_video(mask, masks.frames(), fps, 10, marking.tags(), clock=times)
        mask.replace(job.path("masks"))
        picture = torch.from_numpy(np.stack(preview)).permute(0, 1, 4, 2, 3) / 255  # [N, 3, 3, S, S]
        dataclasses.replace(marking, watermark=False).write(job.path("previews"), rows(picture))
        replace(job.path("figures"), json.dumps(figures.means(), indent=2).encode())
        part.replace(job.path("videos"))
    finally:
        part.unlink(missing_ok=True)
        mask.unlink(missing_ok=True)


class _Masks:
    """The masks of a video, on disk in small while its frames are written: one file is encoded after the other."""

    def __init__(self) -> None:
        self._file = TemporaryFile()

    def add(self, alpha: NDArray[np.float32]) -> None:
        """Keep one [H, W] in [0, 1]; of it only the part that is not 0."""
        lines, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        box = [lines[0], lines[-1] + 1, columns[0], columns[-1] + 1] if len(lines) else [0, 0, 0, 0]
        part = np.rint(255 * alpha[box[0] : box[1], box[2] : box[3]]).astype(np.uint8)
        np.save(self._file, np.array([*alpha.shape, *box]))
        np.save(self._file, part)

    def frames(self) -> Iterator[Pixels]:
        """Them as a video's frames [H, W, 3], 255 where all was put in."""
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            height, width, top, bottom, left, right = np.load(self._file).tolist()
            frame = np.zeros((height, width, 3), np.uint8)
            frame[top:bottom, left:right] = np.load(self._file)[..., None]
            yield _even(frame)


def _swapper(cfg: DictConfig, run: Run, identity: int) -> Swapper:
    module: Any = run.module()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Swapper(
        module, run.build("data.recipe"), run.config.image_size, identity,
        cfg.search_every, cfg.blending, cfg.colour, cfg.feather, cfg.batch_size, device,
    )  # fmt: skip


def _embedder(cfg: DictConfig) -> Embed | None:
    """What tells people apart; None where its weights are not named, for a random network tells nothing."""
    validate(cfg, "identity")
    if cfg.identity is None or (cfg.identity.weights is None and cfg.identity.pretrained is None):
        return None
    network: torch.nn.Module = instantiate(cfg.identity, _convert_="all").eval()
    return torch.no_grad()(network)


def _check(cfg: DictConfig, run: Run, people: list[str]) -> None:
    """Refuse settings that cannot work, all at once."""
    if not people:
        raise ValueError(f"run={cfg.run}: {run.name} swaps no faces; train experiment=faceswap/default")
    wrong = []
    if not cfg.video:
        wrong.append("video: name the video, or the folder of videos, in which a face is to be drawn anew")
    elif not Path(cfg.video).exists():
        wrong.append(f"video={cfg.video}: there is no such file or folder")
    if cfg.to not in people:
        wrong.append(f"to={cfg.to}: {run.name} knows {', '.join(people)}; name the one who is to be seen")
    if cfg.blending not in BLENDS:
        wrong.append(f"blending={cfg.blending}: choose {' or '.join(BLENDS)}")
    if cfg.colour not in COLOURS:
        wrong.append(f"colour={cfg.colour}: choose {' or '.join(COLOURS)}")
    if not 0 <= cfg.feather <= 0.25:
        wrong.append(f"feather={cfg.feather}: give a share of the face's crop from 0 to 0.25")
    wrong += [f"{key}={cfg[key]}: take at least 1" for key in ("search_every", "batch_size") if cfg[key] < 1]
    if wrong:
        raise ValueError("\n  ".join(["the faces cannot be swapped:", *wrong]))


def _jobs(video: Path, out: Path) -> list[Job]:
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


def _claim(cfg: DictConfig, out: Path, run: Run, marking: Marking) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's."""
    weights = file_hash(run.checkpoint)
    how = {key: cfg[key] for key in ("to", "blending", "colour", "feather", "search_every", "crf")}
    claim(out, {"weights": weights, **how, "marking": marking.describe()}, "videos", cfg.rerun)
    for kind in ("videos", "masks", *ENDS):
        (out / kind).mkdir(parents=True, exist_ok=True)


def _write_table(cfg: DictConfig, jobs: list[Job], run: Run, marking: Marking, lost: dict[str, str]) -> None:
    """The manifest: every video with its source and whose face was put on whom."""
    known, name = _known(run), str(run.config.data.name)
    made = []
    for job in jobs:
        source, filmed = known.get(job.video.resolve(), (str(job.video), f"video/{job.name}"))
        item = f"generated/{METHOD}/{job.name}_to_{cfg.to}"
        groups = tuple(dict.fromkeys((filmed, f"{name}/{cfg.to}")))
        paths = {kind: job.path(kind).relative_to(job.out).as_posix() for kind in ("videos", "masks")}
        made.append(Item(item, paths["videos"], 1, METHOD, source, groups, mask=paths["masks"]))
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


def _even(frame: Pixels) -> Pixels:
    """H.264 takes even sizes: an odd frame's last line or column is repeated, so that nothing is lost or moved."""
    height, width = frame.shape[:2]
    if height % 2 == width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
