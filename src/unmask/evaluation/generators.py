"""Judge a generator's run: figures of its samples against real pictures, and the training pictures nearest to them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track
from torch import Tensor

from unmask.config import Settings
from unmask.config.build import build
from unmask.console import console, say
from unmask.data.augment import Augmentation
from unmask.data.datamodule import DataModule
from unmask.evaluation.loading import data_of
from unmask.evaluation.swaps import find_lpips
from unmask.files import read_json
from unmask.metrics import generation
from unmask.modules.judging import figures, names
from unmask.modules.latents import seed_of
from unmask.provenance import Marking
from unmask.runs.figures import write_json
from unmask.runs.run import Run
from unmask.training.samples import grid, pixels
from unmask.training.trainer import devices_of

BATCH = 64  # pictures at once
SHOWN, NEIGHBOURS = 6, 5  # rows of nearest.png, and training pictures of a row: with the sample it is a square
TILE, LETTER = 96, 12  # px: least side of a picture there, and its words
FILE = "generation.json"  # of the run's folder: figures by data and split


def judge_run(run: Run, settings: Settings, data: DataModule, other: bool) -> float:
    """Judge `count` samples of a run against one split, add the figures to `generation.json`; return the Frechet one.

    Args:
        run: of a generator.
        settings: of `unmask evaluate`: split, count, seed, judge, lpips, trainer.
        data: what the samples are held against, not yet set up.
        other: it is not the data that the run was trained on.
    """
    if settings["split"] not in ("val", "test"):
        raise ValueError(f"split={settings['split']}: choose val or test")
    if settings["count"] is not None and settings["count"] < 2:
        raise ValueError(f"count={settings['count']}: take at least 2, or null for as many as there are real pictures")
    device = torch.device(devices_of(settings["trainer"])[0])
    module: Any = run.module().to(device)
    if not hasattr(module, "sample"):
        raise ValueError(f"run={run.folder}: {run.name} makes no samples that could be judged")
    network = module.judge if settings["judge"] is None else build(settings["judge"]).to(device)
    named = names(network)["frechet"]  # a judge that lacks its file says so here
    own = data_of(run) if other else data
    for each in (data, own):
        each.augment = Augmentation()  # training pictures are shown as they are
        each.setup("test")
    if (there := len(data.samples[settings["split"]])) < 2:
        raise ValueError(
            f"split={settings['split']} of {data.name} holds {there} pictures; figures of a set want at least 2"
        )
    perceptual = find_lpips(settings["lpips"], data.loader.image_size)
    found = _judge(settings, run, module, network, (data, own), perceptual)
    place = run.folder / FILE
    known = read_json(place, "delete it; the figures are computed again") if place.is_file() else {}
    protocol = data.protocol_words(settings["split"])
    entry = known.setdefault(_key(known, data.name, settings["split"], protocol), {})
    entry |= {"demo": data.source.demo, "protocol": protocol, network.name: found}
    if hasattr(module, "decode"):  # it gives pictures back
        entry["reconstruction"] = _reconstruct(settings, module, data, device, perceptual)
    write_json(place, known)
    _tell(run, data, settings["split"], found, entry.get("reconstruction", {}))
    return float("nan") if found[named] is None else float(found[named])


def _key(known: dict[str, Any], name: str, split: str, protocol: dict[str, str]) -> str:
    """Where figures of a data set lie; those of another protocol or of other pictures keep their place."""
    rule, _, _ = protocol["Split"].partition(" ")
    for key in (f"{name}/{split}", f"{name}-{rule}/{split}"):
        before = known.get(key, {}).get("protocol", protocol)
        if all(before.get(word, protocol[word]) == protocol[word] for word in ("Split", "Manifest")):
            return key
    return f"{name}-{rule}-{protocol['Manifest']}/{split}"


def _judge(
    settings: Settings,
    run: Run,
    module: Any,
    network: Any,
    both: tuple[DataModule, DataModule],
    perceptual: tuple[Any, str],
) -> dict[str, Any]:
    data, own = both
    real = _seen(
        network, _loading(data, settings["split"], module.device), len(data.samples[settings["split"]]), "real pictures"
    )
    held = (
        real
        if own is data
        else _seen(network, _loading(own, settings["split"], module.device), len(own.samples[settings["split"]]))
    )
    training = _seen(network, _loading(own, "train", module.device), len(own.samples["train"]), "training pictures")
    sample, count = _sampling(settings, module, data), settings["count"] or len(real)
    lpips, reason = perceptual
    look, distances = (network, []) if lpips is None else _pairwise(network, lpips)
    made = _seen(look, sample, count, "samples")
    if count < made.shape[1]:
        say(f"{count} samples for {made.shape[1]} features: the Frechet distance hangs on the count", style="yellow")
    distance, index = generation.nearest(made, training, min(NEIGHBOURS, len(training)))
    usual = generation.nearest(held, training, 1)[0][:, 0]
    near = {"samples": float(distance[:, 0].median()), f"{settings['split']} pictures": float(usual.median())}
    which = distance[:, 0].argsort()[:SHOWN].tolist()
    rows = [
        (sample([at]), _loading(own, "train", module.device)(index[at].tolist()), distance[at].tolist()) for at in which
    ]
    words = (
        f"left: the {len(which)} of {count} samples nearest to a training picture; right: the nearest of these",
        f"distance in features of '{network.name}', median to the nearest training picture:",
        " | ".join(f"{name} {value:.4g}" for name, value in near.items())
        + "; a sample far below what is usual is a copy",
    )
    Marking(watermark=False, label="").write(run.folder / "nearest.png", _poster(rows, words))
    about = {"samples": count, "real": len(real), "seed": settings["seed"], "published": bool(network.published)}
    scores = {name: None if value != value else value for name, value in figures(network, real, made).items()}
    mean = reason if lpips is None else float(torch.cat(distances).mean())
    variety = {f"pairwise_{_lpips_name(settings, lpips)}": mean}
    return about | scores | variety | {"nearest_training": near | {"closest sample": float(distance[:, 0].min())}}


def _pairwise(network: Any, lpips: Any) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """The network, and the distances that LPIPS finds in passing between the halves of each batch."""
    distances: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        if half := len(x) // 2:
            distances.append(lpips(x[:half], x[half : 2 * half]).cpu())
        features: Tensor = network(x)
        return features

    return look, distances


def _lpips_name(settings: Settings, lpips: Any) -> str:
    """What its figure is called, whether or not it could be had."""
    return f"lpips_{settings['lpips']['net']}" if lpips is None else str(lpips.name)


def _loading(data: DataModule, split: str, device: torch.device) -> Callable[[Sequence[int]], Tensor]:
    """Rows of a split -> pictures [N, 3, S, S] in [0, 1]."""

    def load(rows: Sequence[int]) -> Tensor:
        x: Tensor = data.samples[split].__getitems__([(0, row) for row in rows])["x"].to(device)
        found: Tensor = data.on_after_batch_transfer({"x": x}, 0)["x"]
        return found

    return load


def _sampling(settings: Settings, module: Any, data: DataModule) -> Callable[[Sequence[int]], Tensor]:
    """Numbers -> samples of their seeds, those of `unmask sample`; attributes are those of real pictures, in turn."""

    def sample(numbers: Sequence[int]) -> Tensor:
        condition, samples = None, data.samples[settings["split"]]
        if module.conditional:
            condition = samples.__getitems__([(0, number % len(samples)) for number in numbers])["attributes"]
        made: Tensor = module.sample(len(numbers), [seed_of(settings["seed"], number) for number in numbers], condition)
        return made

    return sample


def _seen(network: Any, load: Callable[[Sequence[int]], Tensor], count: int, what: str = "pictures") -> Tensor:
    """Features of numbers 0 to `count` [count, F], on the CPU."""
    parts = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    return torch.cat([network(load(part)).cpu() for part in track(parts, what, console=console, transient=True)])


@torch.no_grad()
def _reconstruct(
    settings: Settings, module: Any, data: DataModule, device: torch.device, perceptual: tuple[Any, str]
) -> dict[str, Any]:
    """PSNR, SSIM and LPIPS of pictures that were encoded and decoded; what could not be had says why."""
    count, load = len(data.samples[settings["split"]]), _loading(data, settings["split"], device)
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": generation.psnr, "ssim": generation.ssim}
    lpips, reason = perceptual
    missing = {_lpips_name(settings, None): reason} if lpips is None else {}
    if lpips is not None:
        measures[lpips.name] = lpips
    values: dict[str, list[Tensor]] = {name: [] for name in measures}
    for at in range(0, count, BATCH):
        x = load(range(at, min(at + BATCH, count)))
        made = module(x)
        for name, measure in measures.items():
            values[name].append(measure(made, x).cpu())
    return {"pictures": count} | {name: float(torch.cat(each).mean()) for name, each in values.items()} | missing


def _poster(rows: Sequence[tuple[Tensor, Tensor, list[float]]], words: Sequence[str]) -> NDArray[np.uint8]:
    """Rows of a sample [1, 3, S, S], its neighbours [K, 3, S, S] and their distances, under lines of words."""
    tiles = []
    for sample, neighbours, distances in rows:
        labels = ["sample", *(f"{value:.4g}" for value in distances)]
        shown = [_tile(x, label) for x, label in zip(pixels(torch.cat([sample, neighbours])), labels, strict=True)]
        tiles += shown + [torch.zeros_like(shown[0])] * (1 + NEIGHBOURS - len(shown))
    tiles += [torch.zeros_like(tiles[0])] * (SHOWN * (1 + NEIGHBOURS) - len(tiles))
    canvas = grid(torch.stack(tiles))
    head = Image.new("RGB", (canvas.shape[1], 4 + len(words) * (LETTER + 4)), "white")
    for at, line in enumerate(words):
        _write(head, (4, 2 + at * (LETTER + 4)), line)
    return np.concatenate([np.asarray(head), canvas])


def _tile(picture: NDArray[np.uint8], label: str) -> Tensor:
    """A picture [S, S, 3] with words below it -> [3, H, W] in [0, 1]; small ones are enlarged."""
    side = max(TILE, picture.shape[0])
    canvas = Image.new("RGB", (side, side + LETTER + 6), "white")
    canvas.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST))
    _write(canvas, (4, side + 1), label)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1) / 255


def _write(canvas: Image.Image, at: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(canvas).text(at, text, fill="black", font=ImageFont.load_default(LETTER))


def _tell(run: Run, data: DataModule, split: str, found: dict[str, Any], given_back: dict[str, Any]) -> None:
    kind = "demo figures" if data.source.demo else "figures"
    say(f"{kind} of {run.name}, {found['samples']} samples against {found['real']} pictures of {data.name} ({split}):")
    for name, value in {**found, **given_back}.items():
        if isinstance(value, float) or value is None:
            say(f"  {name}: {'not defined for so few pictures' if value is None else format(value, '.4g')}")
        elif isinstance(value, str):
            say(f"  {name}: {value}")
    say(f"added to {run.folder / FILE}; beside it nearest.png: the training pictures nearest to samples")
