"""Pictures of a trained generator: made by seeds, marked, listed in a manifest; what is there is not made again."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from rich.progress import track

from unmask.commands._inpainting import replace
from unmask.commands._made import batches, claim
from unmask.commands._shell import console, say
from unmask.data.manifest import Item, items_table
from unmask.provenance import Marking
from unmask.runs import Run
from unmask.training.samples import grid, pixels

GRID = 64  # pictures of the overview


def generate(cfg: DictConfig) -> None:
    """Make what is not there yet of `count` pictures of a run, then write the manifest and an overview."""
    run = Run(Path(cfg.run))
    module: Any = run.module()
    if not hasattr(module, "sample"):
        raise ValueError(f"run={cfg.run}: {run.name} is no generator; unmask list runs shows what there is")
    if cfg.count < 1:
        raise ValueError(f"count={cfg.count}: take at least 1")
    marking: Marking = instantiate(cfg.marking, _convert_="all")
    condition = _condition(cfg, run, module)
    out = Path(cfg.out or Path("outputs/generated") / str(run.config.name).replace("/", "_"))
    _claim(cfg, out, run, marking)
    todo = [number for number in range(cfg.count) if not _path(out, number).is_file()]
    say(f"{cfg.count} pictures of {run.name}, {len(todo)} of them to be made, into {out}")
    module.to("cuda" if torch.cuda.is_available() else "cpu")
    total = -(-len(todo) // cfg.batch_size)
    for batch in track(batches(todo, cfg.batch_size), "sampling", total, console=console, transient=True):
        wanted = None if condition is None else condition.expand(len(batch), -1)
        made = module.sample(len(batch), [seed_of(cfg.seed, number) for number in batch], wanted)
        for number, picture in zip(batch, pixels(made), strict=True):
            marking.write(_path(out, number), picture)
    _write_tables(cfg, out, run, marking)
    off = [name for name, value in marking.describe().items() if value == "off" and name != "label"]
    if off:
        say(f"not marked by {' and '.join(off)}, as the config says; the manifest records it", style="yellow")
    say(f"{cfg.count} pictures in {out}; items.parquet is the manifest, overview.png shows some")


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
    weights = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
    attributes = sorted(cfg.attributes)
    settings = {"weights": weights, "seed": cfg.seed, "attributes": attributes, "marking": marking.describe()}
    claim(out, settings, "pictures", cfg.rerun)


def _path(out: Path, number: int) -> Path:
    return out / "pictures" / f"{number:06d}.png"


def _write_tables(cfg: DictConfig, out: Path, run: Run, marking: Marking) -> None:
    method = str(run.config.name).rpartition("/")[2]
    rows = []
    for number in range(cfg.count):
        item = f"generated/{method}/{number:06d}"
        rows.append(Item(item, _path(out, number).relative_to(out).as_posix(), 1, method, groups=(item,)))
    marked = {f"marking.{name}": value for name, value in marking.describe().items()}
    replace(out / "items.parquet", items_table(rows).assign(**marked).to_parquet())
    some = [np.asarray(Image.open(_path(out, number))) for number in range(min(cfg.count, GRID))]
    pictures = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2) / 255
    Marking(watermark=False, label="").write(out / "overview.png", grid(pictures))
