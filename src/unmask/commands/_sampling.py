"""Pictures of a trained generator: made by seeds, marked, listed in a manifest; what is there is not made again."""

import hashlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from unmask.commands._inpainting import replace
from unmask.commands._made import batches, claim, over_devices
from unmask.commands._shell import console, say
from unmask.commands._unmarked import UnmarkedSamples
from unmask.data.manifest import file_hash, items_table
from unmask.datasets.generated import CROPS
from unmask.media.encode import write_video
from unmask.modules.latents import walk
from unmask.provenance import Marking
from unmask.runs import Run
from unmask.training.samples import grid, pixels

GRID = 64  # pictures of the overview
FPS = 24  # of a walk; from stop to stop it takes a second


def generate(cfg: DictConfig) -> None:
    """Make what is not there yet of `count` pictures of a run, then write the manifest and an overview."""
    run = Run(Path(cfg.run))
    module: Any = run.module()
    if not hasattr(module, "sample"):
        raise ValueError(f"run={cfg.run}: {run.name} is no generator; unmask list runs shows what there is")
    if cfg.count < 1:
        raise ValueError(f"count={cfg.count}: take at least 1")
    if cfg.walk < 0 or cfg.walk == 1:
        raise ValueError(f"walk={cfg.walk}: name 2 stops or more, or 0 for no film")
    marking: Marking = instantiate(cfg.marking, _convert_="all")
    condition = _condition(cfg, run, module)
    out = Path(cfg.out or Path("outputs/generated") / str(run.config.name).replace("/", "_"))
    _claim(cfg, out, run, marking)
    kept = UnmarkedSamples(run, out, int(run.config.image_size))
    todo = [at for at in range(cfg.count) if not (_path(out, at).is_file() and kept.has(kept.item(at).item))]
    say(f"{cfg.count} pictures of {run.name}, {len(todo)} of them to be made, into {out}")
    if todo:
        kept.begin()
    over_devices(cfg.trainer, partial(_sample, cfg, out, marking, condition), todo)
    _write_tables(cfg, out, kept, marking)
    kept.finish(cfg.count)
    films = [out / f"walk-{cfg.walk}.mp4"] * (cfg.walk > 0)
    over_devices(cfg.trainer, partial(_walk, cfg, marking, condition), [film for film in films if not film.is_file()])
    off = [name for name, value in marking.describe().items() if value == "off" and name != "label"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    say(f"{cfg.count} pictures in {out}; items.parquet is the manifest, overview.png shows some")


def _sample(
    cfg: DictConfig, out: Path, marking: Marking, condition: torch.Tensor | None, device: str, todo: list[int]
) -> None:
    """Make pictures on one device."""
    run = Run(Path(cfg.run))
    module: Any = run.module().to(device)
    kept, total = UnmarkedSamples(run, out, int(run.config.image_size)), -(-len(todo) // cfg.batch_size)
    for batch in track(batches(todo, cfg.batch_size), "sampling", total, console=console, transient=True):
        wanted = None if condition is None else condition.expand(len(batch), -1)
        made = module.sample(len(batch), [seed_of(cfg.seed, number) for number in batch], wanted)
        for number, picture in zip(batch, pixels(made), strict=True):
            kept.keep_picture(kept.item(number).item, picture)  # first: what is published is then never without it
            if not _path(out, number).is_file():
                marking.write(_path(out, number), picture)


def seed_of(seed: int, number: int) -> int:
    """Of this picture alone, so that neither the batch nor the order decides a pixel."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8]) >> 1


def _condition(cfg: DictConfig, run: Run, module: Any) -> torch.Tensor | None:
    """The attributes of all pictures [1, A], 1 where they are named."""
    names, given = list(run.config.data.get("attributes") or []), list(cfg.attributes)
    if not module.conditional:
        if given:
            raise ValueError(f"attributes: {run.name} knows none")
        return None
    if wrong := sorted(set(given) - set(names)):
        raise ValueError(f"attributes: {run.name} has no {', '.join(wrong)}; it knows {', '.join(names)}")
    return torch.tensor([[float(name in given) for name in names]])


def _claim(cfg: DictConfig, out: Path, run: Run, marking: Marking) -> None:
    """Note in a new folder what it is made with; refuse one that was made otherwise or is somebody else's."""
    settings = {
        "weights": file_hash(run.checkpoint),
        "seed": cfg.seed,
        "attributes": sorted(cfg.attributes),
        "marking": marking.describe(),
        "data": str(run.config.data.name),
        "demo": bool(run.config.data.get("demo")),
    }
    claim(out, settings, "pictures", cfg.rerun)
    if cfg.rerun:  # what was made of other samples
        shutil.rmtree(out / CROPS, ignore_errors=True)
        for film in out.glob("walk-*.mp4"):
            film.unlink()


def _walk(cfg: DictConfig, marking: Marking, condition: torch.Tensor | None, device: str, paths: list[Path]) -> None:
    """A film from the first picture to the second, ... and back, through what lies between their noise."""
    (path,) = paths
    module: Any = Run(Path(cfg.run)).module().to(device)
    stops = module.noise(cfg.walk, [seed_of(cfg.seed, number) for number in range(cfg.walk)])
    way = walk(stops, FPS)

    def frames() -> Iterator[NDArray[np.uint8]]:
        for part in track(torch.split(way, cfg.batch_size), "walking", console=console, transient=True):
            yield from pixels(module.make(part, None if condition is None else condition.expand(len(part), -1)))

    write_video(path, marking.frames(frames()), FPS, metadata=marking.tags())
    marking.finish(path)
    say(f"a walk over {cfg.walk} of them: {path}")


def _path(out: Path, number: int) -> Path:
    return out / "pictures" / f"{number:06d}.png"


def _write_tables(cfg: DictConfig, out: Path, kept: UnmarkedSamples, marking: Marking) -> None:
    rows = [kept.item(number) for number in range(cfg.count)]
    marked = {f"marking.{name}": value for name, value in marking.describe().items()}
    replace(out / "items.parquet", items_table(rows).assign(**marked).to_parquet())
    some = [np.asarray(Image.open(_path(out, number))) for number in range(min(cfg.count, GRID))]
    pictures = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2) / 255
    Marking(watermark=False, label="").write(out / "overview.png", grid(pictures))
