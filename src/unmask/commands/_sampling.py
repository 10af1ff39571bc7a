"""Pictures of a trained generator: made by seeds, marked, listed in a manifest; what is there is not made again."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from unmask.commands._devices import devices_of, over_devices
from unmask.commands._inpainting import replace
from unmask.commands._made import batches, claim_for_run, is_whole
from unmask.commands._shell import console, say
from unmask.commands._unmarked import UnmarkedSamples
from unmask.data.manifest import items_table
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
    settings = {"seed": cfg.seed, "attributes": sorted(cfg.attributes)}
    claim_for_run(cfg, out, run, marking, "pictures", **settings)
    if cfg.rerun:
        for film in out.glob("walk-*.mp4"):
            film.unlink()
    kept = UnmarkedSamples(run, out, int(run.config.image_size))
    todo = [at for at in range(cfg.count) if not (is_whole(_path(out, at)) and kept.has(kept.item(at).item))]
    say(f"{cfg.count} pictures of {run.name}, {len(todo)} of them to be made, into {out}")
    if todo:
        kept.begin()
    sampler = _Sampler(cfg, out, marking, condition, module)
    over_devices(cfg.trainer, sampler.pictures, todo, "sampling")
    _write_tables(cfg, out, kept, marking)
    kept.finish(cfg.count)
    film = out / f"walk-{cfg.walk}.mp4"
    if cfg.walk and not film.is_file():
        sampler.walk(devices_of(cfg.trainer)[0], film)
        say(f"a walk over {cfg.walk} of them: {film}")
    off = [name for name, value in marking.describe().items() if value == "off" and name != "label"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    say(f"{cfg.count} pictures in {out}; items.parquet is the manifest, overview.png shows some")


@dataclass
class _Sampler:
    """Makes pictures of a run; in another process it loads the weights anew."""

    cfg: DictConfig
    out: Path
    marking: Marking
    condition: torch.Tensor | None  # [1, A]
    module: Any

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "module": None}

    def pictures(self, device: str, todo: Iterable[int]) -> None:
        """Make pictures on one device, by their numbers."""
        run = Run(Path(self.cfg.run))
        module: Any = (self.module or run.module()).to(device)
        kept = UnmarkedSamples(run, self.out, int(run.config.image_size))
        for batch in batches(todo, self.cfg.batch_size):
            made = module.sample(len(batch), [seed_of(self.cfg.seed, at) for at in batch], self._wanted(len(batch)))
            for number, picture in zip(batch, pixels(made), strict=True):
                kept.keep_picture(kept.item(number).item, picture)  # first: what is published is then never without it
                if not is_whole(_path(self.out, number)):
                    self.marking.write(_path(self.out, number), picture)

    def walk(self, device: str, path: Path) -> None:
        """A film from the first picture to the second, ... and back, through what lies between their noise."""
        module: Any = self.module.to(device)
        stops = module.noise(self.cfg.walk, [seed_of(self.cfg.seed, number) for number in range(self.cfg.walk)])
        parts = track(torch.split(walk(stops, FPS), self.cfg.batch_size), "walking", console=console, transient=True)
        frames = (frame for part in parts for frame in pixels(module.make(part, self._wanted(len(part)))))
        write_video(path, self.marking.frames(frames), FPS, metadata=self.marking.tags())
        self.marking.finish(path)

    def _wanted(self, count: int) -> torch.Tensor | None:
        return None if self.condition is None else self.condition.expand(count, -1)


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


def _path(out: Path, number: int) -> Path:
    return out / "pictures" / f"{number:06d}.png"


def _write_tables(cfg: DictConfig, out: Path, kept: UnmarkedSamples, marking: Marking) -> None:
    rows = [kept.item(number) for number in range(cfg.count)]
    marked = {f"marking.{name}": value for name, value in marking.describe().items()}
    replace(out / "items.parquet", items_table(rows).assign(**marked).to_parquet())
    some = [np.asarray(Image.open(_path(out, number))) for number in range(min(cfg.count, GRID))]
    pictures = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2) / 255
    Marking(watermark=False, label="").write(out / "overview.png", grid(pictures))
