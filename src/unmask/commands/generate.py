"""Make pictures and videos: of a trained generator, of a face swapper, or inpainting forgeries from originals.

  unmask generate run=DIR count=10000                                     pictures of a GAN or an autoencoder, marked
  unmask generate run=DIR count=100 attributes=[Male,Smiling]             of a conditional one
  unmask generate run=DIR count=100 walk=8                                and a film of what lies between eight

Each picture has its own seed, drawn from seed=0, and is marked as synthetic in its metadata and its pixels. What it was
before it was marked is kept for detectors, beside real pictures: unmask train experiment=loop/cnn data.run=OUT

  unmask generate run=DIR video=clip.mp4 to=B                             the face in a video drawn as person B of a run
  unmask generate run=DIR video=FOLDER to=A blending=poisson colour=none  of all videos below a folder

A swapped video keeps its frames, its times and its sound, and is marked by a label that people see besides. A person's
own name gives the reconstruction. Swap nobody's face without their consent. Faces before any mark are kept for
detectors too: unmask train experiment=loop/cnn data=swapped data.run=OUT

Pictures and videos of a run are shared out to trainer.devices (trainer=ddp: all GPUs).

Inpainting takes each painting, five masks and one inpainter:

  unmask generate data=deepfakeart data.root=DIR                          Stable Diffusion 2, which must be on the disk
  unmask generate data=deepfakeart data.root=DIR generator.download=true  download it first (about 5 GB)
  unmask generate data=deepfakeart data.root=DIR generator=classical      OpenCV's inpainting, no model
  unmask generate data=demo_deepfakeart generator=classical limit=20      try it out on rendered paintings

The files go below out=DIR in DeepfakeArt's layout: similar/inpainting/N/{original,inpainting_MASK,mask_MASK}.png, white
is painted anew. The original goes the same way (to the inpainter's size and back), so that resampling tells nothing,
and outside of the mask the forgery is the original, to the bit (paste=false keeps what the model made of it).
Every picture is marked in its metadata. A killed call goes on where it was; rerun=true starts over. To use the set:

  unmask prepare data=deepfakeart data.name=NAME data.root=DIR
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.application import refuse_unread, verb
from unmask.config.check import validate
from unmask.console import console, quiet, say
from unmask.data.manifest import Item, ManifestError
from unmask.data.source import Source
from unmask.generation import sampling, swapping
from unmask.generation.folder import batches
from unmask.generation.folder import claim as claim_folder
from unmask.generation.inpainters import Inpainter
from unmask.generation.inpainting import Job, Sheet, sheets, write, write_tables
from unmask.generation.masks import MASKS
from unmask.media.kinds import VIDEOS
from unmask.runs.run import Run

SHARED = ("out", "batch_size", "rerun")
OF_A_RUN = (*SHARED, "run", "marking.", "trainer", "trainer.")
# What each of the three ways reads.
READ = {
    "pictures of a run": (*OF_A_RUN, "count", "seed", "attributes", "walk"),
    "swapped videos": (
        *OF_A_RUN,
        "video", "to", "blending", "colour", "feather", "search_every", "crf", "video_psnr", "label", "identity.",
        "lpips.",
    ),
    "inpaintings": (
        *SHARED,
        "data", "data.", "data/", "paths.", "generator", "generator.", "masks", "size", "paste", "limit", "seed",
        "check",
    ),
}  # fmt: skip
NO_PIXELS = ("device", "download")  # settings of an inpainter that decide nothing


def generate(cfg: DictConfig) -> None:
    """Make what is not there yet of one set, then write its tables."""
    if cfg.run:
        quiet()
        validate(cfg, "marking", "trainer")
        swaps = cfg.video or Run(Path(cfg.run)).config["data"].get("people")
        _refuse("swapped videos" if swaps else "pictures of a run")
        (swapping if swaps else sampling).generate(cfg)
        return
    _refuse("inpaintings")
    validate(cfg, "data", "generator")
    check(cfg)
    data: Source = instantiate(cfg.data.source, _convert_="all")
    inpainter: Inpainter = instantiate(cfg.generator, _convert_="all")
    originals, out = find_originals(data), Path(cfg.out or f"outputs/generated/{cfg.data.name}_{cfg.generator.method}")
    wanted = originals[: cfg.limit]
    jobs = [Job(item, mask, out) for item in wanted for mask in cfg.masks]
    say(f"{len(wanted)} originals of {data.name}, {len(cfg.masks)} masks each, {inpainter.method}, into {out}")
    if cfg.check:
        say(f"{sum(job.done for job in jobs)} of {len(jobs)} forgeries are there")
        return
    claim(cfg, out)
    todo, lost = [job for job in jobs if not job.done], dict[str, str]()
    for batch in batches(show(sheets(todo, data.root, cfg.size, cfg.seed, lost), len(todo)), cfg.batch_size):
        write(batch, inpainter, data.root, cfg.size, cfg.paste)
    made = write_tables(out, cfg.data.name, originals, inpainter.method)
    new = sum(job.done for job in todo)
    say(f"{made} forgeries in {out}, {new} of them new; items.parquet is the manifest")
    for path, reason in list(lost.items())[:10]:
        say(f"  not made: {path}: {reason}", style="yellow")
    name = f"{data.name}_{inpainter.method}"
    say(
        "to use them: " + shlex.join(["unmask", "prepare", "data=deepfakeart", f"data.name={name}", f"data.root={out}"])
    )


def _refuse(what: str) -> None:
    """Refuse arguments of the other ways."""
    refuse_unread(READ[what], f"has no effect on {what}; see unmask generate --help")


def check(cfg: DictConfig) -> None:
    """Refuse settings that cannot work, all at once."""
    wrong = [f"masks: there is no '{mask}'; choose from {', '.join(MASKS)}" for mask in cfg.masks if mask not in MASKS]
    least = {"size": 8, "batch_size": 1}
    wrong += [f"{key}={cfg[key]}: take at least {low}" for key, low in least.items() if cfg[key] < low]
    wrong += ["masks: name at least one"] * (not cfg.masks)
    wrong += [f"limit={cfg.limit}: take at least 1, or null for all"] * (cfg.limit is not None and cfg.limit < 1)
    if wrong:
        raise ValueError("\n  ".join(["the set cannot be made:", *wrong]))


def find_originals(data: Source) -> list[Item]:
    """The real pictures of a data set, in order of their names."""
    if not data.root.is_dir():
        raise ManifestError(f"data.root={data.root}: there is no such folder\n{data.explain()}")
    real = sorted((item for item in data.find_items() if item.label == 0), key=lambda item: item.item)
    films = [item.path for item in real if Path(item.path).suffix.lower() in VIDEOS]
    if films or not real:
        what = f"videos such as {films[0]}" if films else "no originals"
        raise ManifestError(f"data={data.name} holds {what}, and pictures are inpainted: take another data set")
    return real


def claim(cfg: DictConfig, out: Path) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's."""
    generator = {key: value for key, value in cfg.generator.items() if key not in NO_PIXELS}
    settings = {"data": cfg.data.name, "generator": generator, "size": cfg.size, "paste": cfg.paste, "seed": cfg.seed}
    claim_folder(out, settings, "similar/inpainting/*", cfg.rerun)


def show(work: Iterator[Sheet], total: int) -> Iterator[Sheet]:
    """Draw a bar with counts and the time that remains."""
    columns = (TextColumn("inpainting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        yield from bar.track(work, total=total)


@verb("generate")
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    generate(cfg)


if __name__ == "__main__":
    main()
