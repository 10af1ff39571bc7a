"""Pictures of a trained generator: made by seeds, marked, listed in a manifest; what is there is not made again."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from unmask.console import console, say
from unmask.data.manifest import items_table
from unmask.files import replace_file
from unmask.generation.folder import batches, claim_for_run
from unmask.generation.trained import Generator, Trained, load_generator
from unmask.generation.unmarked_samples import UnmarkedSamples
from unmask.media.encode import VideoWriter
from unmask.modules.latents import seed_of, walk
from unmask.parallel.devices import over_devices
from unmask.provenance import Marking
from unmask.runs.run import Run
from unmask.training.samples import grid, pixels

GRID = 64  # pictures of the overview
FPS = 24  # of a walk; from stop to stop it takes a second


@dataclass(frozen=True)
class SampleSettings:
    """Which pictures are made.

    Args:
        count: pictures in all.
        seed: of all of them; each picture has one of its own, drawn from it.
        attributes: of a conditional generator, those that pictures have.
        walk: so many of them are also the stops of a film through what lies between; 0 for no film.
        batch_size: pictures at once; decides no pixel.

    Raises:
        ValueError: a number is out of its range.
    """

    count: int = 100
    seed: int = 0
    attributes: tuple[str, ...] = ()
    walk: int = 0
    batch_size: int = 8

    def __post_init__(self) -> None:
        for key, value in (("count", self.count), ("batch_size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{key}={value}: take at least 1")
        if self.walk < 0 or self.walk == 1:
            raise ValueError(f"walk={self.walk}: name 2 stops or more, or 0 for no film")


def sample(
    run: Run,
    wanted: SampleSettings,
    out: Path,
    marking: Marking,
    devices: list[str],
    rerun: bool = False,
    check: bool = False,
) -> None:
    """Make what is not there yet of a run's pictures, then write the manifest, an overview and the film of a walk.

    Args:
        run: of a generator.
        wanted: which pictures.
        out: the folder of what is made.
        marking: of what is published.
        devices: see `over_devices`.
        rerun: start over.
        check: only say how many are there.

    Raises:
        ValueError: the run is of another kind, it does not know the attributes, or the folder is of something else.
    """
    generator = load_generator(run)
    sampler = Sampler(generator, wanted, condition_of(generator, wanted.attributes), out, marking)
    if not check:
        settings = {"seed": wanted.seed, "attributes": sorted(wanted.attributes)}
        claim_for_run(out, run, settings, marking, "pictures", rerun)
        for film in out.glob("walk-*.mp4") if rerun else ():
            film.unlink()
    kept = UnmarkedSamples(run, out)
    todo = [at for at in range(wanted.count) if not (_path(out, at).is_file() and kept.has_sample(at))]
    if check:
        say(f"{wanted.count - len(todo)} of {wanted.count} pictures of {run.name} are in {out}")
        return
    say(f"{wanted.count} pictures of {run.name}, {len(todo)} of them to be made, into {out}")
    if todo:
        kept.begin()
    over_devices(devices, sampler, todo, "sampling")
    _write_tables(out, wanted.count, kept, marking)
    kept.finish(wanted.count)
    film = out / f"walk-{wanted.walk}.mp4"
    if wanted.walk and not film.is_file():
        sampler.walk(devices[0], film)
        say(f"a walk over {wanted.walk} of them: {film}")
    _tell(out, wanted.count, marking)


def condition_of(generator: Trained[Generator], attributes: Iterable[str]) -> tuple[float, ...] | None:
    """Of each attribute that a generator knows 1 where it is named, else 0; None of an unconditional generator.

    Raises:
        ValueError: it does not know one of them.
    """
    run, given = generator.run, set(attributes)
    names = list(run.config["data"].get("attributes") or [])
    if not generator.module.conditional:
        if given:
            raise ValueError(f"attributes: {run.name} knows none")
        return None
    if wrong := sorted(given - set(names)):
        raise ValueError(f"attributes: {run.name} has no {', '.join(wrong)}; it knows {', '.join(names)}")
    return tuple(float(name in given) for name in names)


@dataclass(frozen=True)
class Sampler:
    """What is done with the pictures of one device; pickled where there are several."""

    generator: Trained[Generator]
    wanted: SampleSettings
    condition: tuple[float, ...] | None  # attributes of all pictures
    out: Path
    marking: Marking

    def __call__(self, device: str, todo: Iterable[int]) -> None:
        """Make pictures, by their numbers."""
        module = self.generator.module.to(device)
        kept = UnmarkedSamples(self.generator.run, self.out)
        for batch in batches(todo, self.wanted.batch_size):
            made = module.sample(len(batch), self._seeds(batch), self._condition(len(batch)))
            for number, picture in zip(batch, pixels(made), strict=True):
                kept.keep_sample(number, picture)  # first: what is published is then never without it
                if not _path(self.out, number).is_file():
                    self.marking.write(_path(self.out, number), picture)

    def walk(self, device: str, path: Path) -> None:
        """Write a film from the first picture to the second, ... and back, through what lies between their noise."""
        module, stops = self.generator.module.to(device), range(self.wanted.walk)
        way = walk(module.noise(len(stops), self._seeds(stops)), FPS)
        parts = torch.split(way, self.wanted.batch_size)
        with VideoWriter(path, FPS, metadata=self.marking.tags()) as film:
            for part in track(parts, "walking", console=console, transient=True):
                for frame in pixels(module.make(part, self._condition(len(part)))):
                    film.add(self.marking.frame(frame))
        self.marking.finish(path)

    def _seeds(self, numbers: Iterable[int]) -> list[int]:
        return [seed_of(self.wanted.seed, number) for number in numbers]

    def _condition(self, count: int) -> Tensor | None:
        return None if self.condition is None else torch.tensor([self.condition]).expand(count, -1)


def _path(out: Path, number: int) -> Path:
    return out / "pictures" / f"{number:06d}.png"


def _write_tables(out: Path, count: int, kept: UnmarkedSamples, marking: Marking) -> None:
    """Write the manifest, and the first pictures side by side."""
    marked = {f"marking.{name}": value for name, value in marking.describe().items()}
    table = items_table([kept.item(number) for number in range(count)])
    replace_file(out / "items.parquet", table.assign(**marked).to_parquet())
    some = [np.asarray(Image.open(_path(out, number))) for number in range(min(count, GRID))]
    pictures = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2) / 255
    Marking(watermark=False, label="").write(out / "overview.png", grid(pictures))


def _tell(out: Path, count: int, marking: Marking) -> None:
    """Say what was made, and which marks are off."""
    off = [name for name, value in marking.describe().items() if value == "off" and name != "label"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    say(f"{count} pictures in {out}; items.parquet is the manifest, overview.png shows some")
