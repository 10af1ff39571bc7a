"""Generate images from seeds with a trained generator, and interpolate between them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from unmask.console import console
from unmask.data.captions import as_bytes
from unmask.generation.folder import batches, is_whole
from unmask.generation.trained import Generator, Trained
from unmask.generation.unmarked_samples import UnmarkedSamples
from unmask.media.encode import VideoWriter
from unmask.modules.latents import seed_of
from unmask.provenance import Marking
from unmask.training.samples import pixels, rows

ROWS = 8  # maximum number of images in a strip of intermediate states
FPS = 24  # frames per second of a latent walk, which takes 1 s from one image to the next


@dataclass(frozen=True)
class SampleSettings:
    """Which images to generate.

    Args:
        count: total number of images.
        seed: seed of the set, from which each image's seed is derived.
        attributes: attributes of the images, for a conditional generator.
        walk: number of images, at least 2, between which a video interpolates (a latent walk); 0 for no video.
        batch_size: number of images per batch; does not affect the pixels.
        truncation: 1 for samples as in training; smaller values, from 0, make the images of a style-based generator
            more similar to the average image.
        states: number of intermediate states, at least 2, of each image in a strip; 0 for no strip.
        prompt: text that describes the images, for a generator that was trained with captions; None for no text.

    Raises:
        ValueError: a number is out of range.
    """

    count: int = 100
    seed: int = 0
    attributes: tuple[str, ...] = ()
    walk: int = 0
    batch_size: int = 8
    truncation: float = 1.0
    prompt: str | None = None
    states: int = 0

    def __post_init__(self) -> None:
        for key, value in (("count", self.count), ("batch_size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{key}={value}: expected at least 1")
        if self.states < 0 or self.states == 1:
            raise ValueError(f"states={self.states}: expected 0 (no strip) or at least 2")
        if self.walk < 0 or self.walk == 1:
            raise ValueError(f"walk={self.walk}: expected 0 (no video) or at least 2 pictures to interpolate between")


def condition_of(generator: Trained[Generator], wanted: SampleSettings) -> Tensor | None:
    """Return the condition [1, ...] of all images: a value for each attribute, or the bytes of the prompt.

    For an unconditional generator, return None.

    Raises:
        ValueError: the generator was not trained with one of the attributes, or with captions.
    """
    run, given = generator.run, set(wanted.attributes)
    if generator.module.conditional and generator.module.conditioned_on == "caption":
        if given:
            raise ValueError(
                f"attributes: expected none, because {run.name} was trained with captions; use prompt=TEXT"
            )
        return torch.from_numpy(as_bytes([wanted.prompt or ""]))
    if wanted.prompt is not None:
        raise ValueError(f"prompt={wanted.prompt}: expected null, because {run.name} was trained without captions")
    names = list(run.config["data"]["loader"].get("attributes") or [])
    if not generator.module.conditional:
        if given:
            raise ValueError(f"attributes: expected none, because {run.name} was trained without attributes")
        return None
    if wrong := sorted(given - set(names)):
        raise ValueError(f"attributes: unknown {', '.join(wrong)}; {run.name} was trained with {', '.join(names)}")
    return torch.tensor([[float(name in given) for name in names]])


@dataclass(frozen=True)
class Sampler:
    """Generates images on one device. With several devices, one process per device runs a pickled copy of it."""

    generator: Trained[Generator]
    wanted: SampleSettings
    condition: Tensor | None  # [1, ...], for all images, see `condition_of`
    out: Path
    marking: Marking

    def __call__(self, device: str, todo: Iterable[int]) -> None:
        """Generate the images with the numbers in `todo`, store them unmarked, and write missing marked files."""
        module = self._module(device)
        kept = UnmarkedSamples(self.generator.run, self.out)
        for batch in batches(todo, self.wanted.batch_size):
            made = module.sample(len(batch), self._seeds(batch), self._condition(len(batch)))
            for number, picture in zip(batch, pixels(made), strict=True):
                kept.keep_sample(number, picture)  # stored first, so that each published image is also stored
                if not is_whole(picture_path(self.out, number)):
                    self.marking.write(picture_path(self.out, number), picture)

    def walk(self, device: str, path: Path) -> None:
        """Write a film that interpolates from image to image and, at the end, back to the first one."""
        stops, size = self.wanted.walk, self.wanted.batch_size
        parts = self._module(device).walk(self._seeds(range(stops)), FPS, size, self._condition(1))
        total = math.ceil(stops * FPS / size)
        with VideoWriter(path, FPS, metadata=self.marking.tags()) as film:
            for part in track(parts, "walking", total=total, console=console, transient=True):
                for frame in pixels(part):
                    film.add(self.marking.frame(frame))
        self.marking.finish(path)

    def strip(self, device: str, path: Path) -> None:
        """Write a picture with one row per image (at most `ROWS`) that shows its intermediate states."""
        numbers = range(min(self.wanted.count, ROWS))
        made = self._module(device).states(self._seeds(numbers), self.wanted.states, self._condition(len(numbers)))
        Marking(watermark=False, label="").write(path, rows(made))

    def _module(self, device: str) -> Generator:
        module = self.generator.module.to(device)
        module.truncate(self.wanted.truncation)
        return module

    def _seeds(self, numbers: Iterable[int]) -> list[int]:
        return [seed_of(self.wanted.seed, number) for number in numbers]

    def _condition(self, count: int) -> Tensor | None:
        return None if self.condition is None else self.condition.expand(count, -1)


def picture_path(out: Path, number: int) -> Path:
    """Return the path of the published image with this number."""
    return out / "pictures" / f"{number:06d}.png"
