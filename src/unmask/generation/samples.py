"""Sample images by seed from a trained generator, mark them and list them in a manifest; existing images are kept."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unmask.config import Settings
from unmask.console import say
from unmask.data.manifest import items_table
from unmask.files import replace_file
from unmask.generation.folder import claim_for_run, is_whole
from unmask.generation.sampler import Sampler, SampleSettings, condition_of, picture_path
from unmask.generation.trained import load_generator
from unmask.generation.unmarked_samples import UnmarkedSamples
from unmask.parallel.devices import over_devices
from unmask.provenance import Marking
from unmask.runs.run import Run
from unmask.training.samples import grid

GRID = 64  # maximum number of images in the overview


def sample(
    run: Run,
    wanted: SampleSettings,
    out: Path,
    marking: Marking,
    devices: list[str],
    rerun: bool = False,
    check: bool = False,
) -> None:
    """Generate the missing images of a run, then write the manifest, an overview and the film of a latent walk.

    Args:
        run: run of a generator.
        wanted: which images to generate.
        out: the output folder.
        marking: how published images are marked.
        devices: see `over_devices`.
        rerun: remove existing images and start over.
        check: only print how many images exist.

    Raises:
        ValueError: the run is not a generator, a setting does not suit it, or `out` was made with other settings.
    """
    generator, count = load_generator(run), wanted.count
    generator.module.truncate(wanted.truncation)  # raises if the generator cannot be truncated
    sampler = Sampler(generator, wanted, condition_of(generator, wanted), out, marking)
    if check:
        say(f"{count - len(_missing(UnmarkedSamples(run, out), count))} of {count} pictures of {run.name} are in {out}")
        return
    _claim(out, run, wanted, marking, rerun)
    kept = UnmarkedSamples(run, out)
    todo = _missing(kept, count)
    say(f"{run.name}: generating {len(todo)} of {count} pictures in {out}")
    if todo:
        kept.reopen()
    over_devices(devices, sampler, todo, "sampling")
    _write_tables(out, count, kept, marking)
    kept.finish(count)
    _extras(sampler, devices[0])
    _print_summary(out, count, marking)


def _claim(out: Path, run: Run, wanted: SampleSettings, marking: Marking, rerun: bool) -> None:
    settings: Settings = {"seed": wanted.seed, "attributes": sorted(wanted.attributes)}
    if wanted.prompt is not None:
        settings["prompt"] = wanted.prompt
    if wanted.truncation != 1:
        settings["truncation"] = wanted.truncation
    claim_for_run(out, run, settings, marking, "pictures", rerun)
    if rerun:
        for film in out.glob("walk-*.mp4"):
            film.unlink()


def _missing(kept: UnmarkedSamples, count: int) -> list[int]:
    """Return the numbers of images that are not yet published or not yet stored for training detectors."""
    return [at for at in range(count) if not (is_whole(picture_path(kept.out, at)) and kept.has_sample(at))]


def _extras(sampler: Sampler, device: str) -> None:
    """Write a strip of intermediate states and the film of a latent walk, if requested; an existing film is kept."""
    if sampler.wanted.states:
        sampler.strip(device, sampler.out / "strip.png")
    stops = sampler.wanted.walk
    film = sampler.out / f"walk-{stops}.mp4"
    if stops and not film.is_file():
        sampler.walk(device, film)
        say(f"wrote a latent walk over {stops} pictures: {film}")


def _write_tables(out: Path, count: int, kept: UnmarkedSamples, marking: Marking) -> None:
    """Write the manifest and an overview of the first images."""
    marked = {f"marking.{name}": value for name, value in marking.describe().items()}
    table = items_table([kept.item(number) for number in range(count)])
    replace_file(out / "items.parquet", table.assign(**marked).to_parquet())
    some = [np.asarray(Image.open(picture_path(out, number))) for number in range(min(count, GRID))]
    pictures = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2) / 255
    Marking(watermark=False, label="").write(out / "overview.png", grid(pictures))


def _print_summary(out: Path, count: int, marking: Marking) -> None:
    """Print how many images there are, and which marks are switched off."""
    off = [name for name, value in marking.describe().items() if value == "off" and name != "label"]
    if off:
        say(f"these marks are switched off: {', '.join(off)}; the manifest records this", style="yellow")
    say(f"{out} contains {count} pictures; items.parquet is the manifest, overview.png shows some pictures")
