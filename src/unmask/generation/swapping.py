"""Videos in which one face is drawn as a person of a run: found, followed, drawn, put back, marked, listed.

Each video is read twice: once to find and follow the face, once to put the other one in its place. What is kept of it
are boxes and a few frames, so that memory does not grow with its length.
"""

import dataclasses
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig

from unmask.config.check import resolved
from unmask.console import say
from unmask.data.recipe import overrides
from unmask.evaluation.swaps import Compare, SwapFigures, comparisons
from unmask.generation.inpainting import replace
from unmask.generation.swap_folder import Job, Pair, claim_folder, find_jobs, pairs_of, write_table
from unmask.generation.swapper import Swapper
from unmask.generation.unmarked import Kept, UnmarkedFaces
from unmask.media.align import warp
from unmask.media.encode import write_video
from unmask.media.kinds import MediaError
from unmask.media.paste import BLENDS, COLOURS
from unmask.media.recipe import FaceCrops
from unmask.media.stream import clock
from unmask.parallel.devices import over_devices
from unmask.provenance import TRAINED, Marking
from unmask.runs.run import Run
from unmask.training.samples import rows

Pixels = NDArray[np.uint8]
SHOWN = 6  # frames of a video in its preview


def generate(cfg: DictConfig) -> None:
    """Make what is not there yet of the videos, then write the manifest."""
    run = Run(Path(cfg.run))
    people = list(run.config["data"].get("people") or {})
    _check(cfg, run, people)
    marking: Marking = instantiate(cfg.marking, _convert_="all")
    marking = dataclasses.replace(marking, label=cfg.label or "", psnr=cfg.video_psnr, source=TRAINED)
    name = str(run.config["name"]).replace("/", "_")
    out = Path(cfg.out or f"outputs/generated/{name}_to_{cfg.to}")
    jobs = find_jobs(Path(cfg.video), out)
    claim_folder(cfg, out, run, marking)
    pairs, kept = pairs_of(cfg, jobs, run), UnmarkedFaces(run.build("data.recipe"), out)
    work = list(zip(jobs, pairs, strict=True))
    todo = [(job, pair) for job, pair in work if not (job.path("videos").is_file() and kept.has_both(*pair))]
    say(f"{len(jobs)} videos to {cfg.to} of {run.name}, {len(todo)} of them to be made, into {out}")
    if todo:
        kept.begin()
    lost: dict[str, str] = {}
    for found in over_devices(cfg.trainer, partial(_swap, cfg, marking, people.index(cfg.to)), todo, "swapping"):
        lost |= found
    write_table(jobs, [fake for fake, _ in pairs], marking, lost)
    if len(lost) < len(jobs):
        kept.finish([pair for job, pair in work if job.name not in lost])
        call = ["unmask", "train", "experiment=loop/cnn", "data=swapped", f"data.run={out}"]
        call += overrides(vars(kept.recipe), vars(FaceCrops(align=True)))  # the usual one of data=swapped
        say(f"a detector sees them before any mark: {shlex.join(call)}")
    off = [name for name, value in marking.describe().items() if value == "off"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    if jobs and len(lost) == len(jobs):
        raise ValueError(f"none of {len(jobs)} videos could be made, see above and {out / 'items.parquet'}")
    say(f"{len(jobs) - len(lost)} videos in {out / 'videos'}; items.parquet is the manifest, previews/ shows some")


def _swap(
    cfg: DictConfig, marking: Marking, identity: int, device: str, todo: Iterable[tuple[Job, Pair]]
) -> dict[str, str]:
    """Make videos on one device; why some could not be made, by their names."""
    run, lost = Run(Path(cfg.run)), dict[str, str]()
    swapper = Swapper(
        run.module(), run.build("data.recipe"), run.config["image_size"], identity,
        cfg.search_every, cfg.blending, cfg.colour, cfg.feather, cfg.batch_size, device,
    )  # fmt: skip
    plain = resolved(cfg, "identity", "lpips")
    compare = comparisons(plain["identity"], plain["lpips"], run.config["image_size"])
    for job, pair in todo:
        try:
            make(job, pair, swapper, marking, cfg.crf, compare)
        except MediaError as error:
            lost[job.name] = str(error)
            say(f"  set aside: {job.video}: {error}", style="yellow")
    return lost


def make(
    job: Job, pair: Pair, swapper: Swapper, marking: Marking, crf: int = 14, compare: Compare | None = None
) -> None:
    """Write one video, and before it its mask, preview, figures and what detectors may see of it.

    Each file appears only when it is complete.

    Raises:
        MediaError: it cannot be read, or shows no face.
    """
    fps, times = clock(job.video)
    places = swapper.find(job.video, len(times.times))
    shown = {sorted(places)[at] for at in np.linspace(0, len(places) - 1, SHOWN).round().astype(int)}
    part, mask = (job.path(kind).with_name(f".{job.name}.{os.getpid()}.part") for kind in ("videos", "masks"))
    preview: list[NDArray[np.float32]] = []
    masks, figures = _Masks(), SwapFigures(compare)
    kept, faces = UnmarkedFaces(swapper.recipe, job.out), list[Kept]()
    chosen = kept.chosen(places)

    def unmarked() -> Iterator[Pixels]:
        """The frames as detectors may see them; what comes after this is marks."""
        for number, made in enumerate(swapper.frames(job.video, places)):
            if made.face is not None:
                pasted = warp(made.frame, made.face.matrix, swapper.image_size)
                figures.add(number, made.face.seen, pasted, number in shown)
                if number in shown:
                    preview.append(np.stack([made.face.seen, made.face.drawn, pasted]))
                if number in chosen:
                    cut = kept.cut(made.frame, places[number])
                    faces.append(Kept(number, times.seconds(number), places[number], cut, made.face.cut))
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
        kept.keep_both(*pair, faces)  # first: what is published is then never without it
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


def _even(frame: Pixels) -> Pixels:
    """H.264 takes even sizes: an odd frame's last line or column is repeated, so that nothing is lost or moved."""
    height, width = frame.shape[:2]
    if height % 2 == width % 2 == 0:
        return frame
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
