"""Make marked pictures from text with a published pipeline, and list them in a manifest."""

from pathlib import Path

from rich.progress import track

from unmask.config import Settings
from unmask.console import console, say
from unmask.data.manifest import Item, items_table
from unmask.files import replace_file
from unmask.generation.folder import batches, claim, is_whole
from unmask.generation.pipelines import TextPipeline
from unmask.generation.sampler import SampleSettings, picture_path
from unmask.modules.latents import seed_of
from unmask.provenance import Marking


def generate(
    pipeline: TextPipeline,
    wanted: SampleSettings,
    out: Path,
    marking: Marking,
    about: Settings,
    rerun: bool = False,
    check: bool = False,
) -> None:
    """Make the missing pictures and write the manifest; existing pictures are kept.

    Args:
        pipeline: the published pipeline.
        wanted: which pictures to make; a prompt is required.
        out: the output folder.
        marking: how the pictures are marked.
        about: the settings of the pipeline that affect the pixels, to be recorded in the folder.
        rerun: remove existing pictures and start over.
        check: only print how many pictures exist.

    Raises:
        ValueError: a setting does not suit a pipeline, or `out` was made with other settings.
    """
    prompt = _prompt(wanted)
    if check:
        there = wanted.count - len(_missing(out, wanted.count))
        say(f"{there} of {wanted.count} pictures of {pipeline.method} are in {out}")
        return
    settings = {"generator": about, "prompt": prompt, "seed": wanted.seed, "marking": marking.describe()}
    claim(out, settings, "pictures", rerun)
    todo = _missing(out, wanted.count)
    say(f"{pipeline.method}: generating {len(todo)} of {wanted.count} pictures in {out}")
    for batch in track([*batches(todo, wanted.batch_size)], "sampling", console=console, transient=True):
        made = pipeline(prompt, [seed_of(wanted.seed, number) for number in batch])
        for number, picture in zip(batch, made, strict=True):
            marking.write(picture_path(out, number), picture)
    _write_manifest(out, wanted, pipeline.method, marking)
    say(f"{out} contains {wanted.count} pictures; items.parquet is the manifest")


def _prompt(wanted: SampleSettings) -> str:
    """Return the prompt; refuse settings that have no effect on a pipeline."""
    if not wanted.prompt:
        raise ValueError("prompt missing: unmask sample generator=sd generator.model=DIR prompt=TEXT")
    if wanted.attributes or wanted.walk or wanted.states or wanted.truncation != 1:
        raise ValueError("attributes, walk, states and truncation have no effect on a published pipeline; remove them")
    return wanted.prompt


def _missing(out: Path, count: int) -> list[int]:
    return [number for number in range(count) if not is_whole(picture_path(out, number))]


def _write_manifest(out: Path, wanted: SampleSettings, method: str, marking: Marking) -> None:
    name = f"generated_{method}"
    items = [
        Item(item := f"{name}/{method}/{number:06d}", f"pictures/{number:06d}.png", 1, method, groups=(item,))
        for number in range(wanted.count)
    ]
    marked = {f"marking.{key}": value for key, value in marking.describe().items()}
    replace_file(out / "items.parquet", items_table(items).assign(prompt=wanted.prompt, **marked).to_parquet())
