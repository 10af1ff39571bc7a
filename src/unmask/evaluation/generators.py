"""Evaluate a generator: compare its samples with real images, and find the training images nearest to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from unmask.config import Settings
from unmask.config.build import build
from unmask.console import console, say
from unmask.data.augment import Augmentation
from unmask.data.datamodule import DataModule
from unmask.evaluation.entries import keep
from unmask.evaluation.loading import data_of
from unmask.evaluation.poster import NEIGHBOURS, SHOWN, poster
from unmask.evaluation.swaps import find_lpips
from unmask.metrics import generation
from unmask.modules.autoencoder import Autoencoder
from unmask.modules.latents import seed_of
from unmask.modules.sample_metrics import figures, names
from unmask.networks.perceptual import LPIPS
from unmask.provenance import Marking
from unmask.runs.folder import GENERATION
from unmask.runs.run import Run
from unmask.training.trainer import devices_of

BATCH = 64  # number of images per batch


def evaluate_generator(run: Run, settings: Settings, data: DataModule, other: bool) -> float:
    """Compare samples of a generator with one split, write `generation.json`, and return the Frechet distance.

    Args:
        run: the run of a generator.
        settings: settings of `unmask evaluate`: split, count, seed, evaluator, lpips, trainer.
        data: the data module of the real images, before `setup`.
        other: whether `data` is another data set than the one that the run was trained on.
    """
    split, count = settings["split"], settings["count"]
    if split not in ("val", "test"):
        raise ValueError(f"split={split}: expected val or test")
    if count is not None and count < 2:
        raise ValueError(f"count={count}: expected at least 2, or null for as many as the split has real pictures")
    module = run.module().to(torch.device(devices_of(settings["trainer"])[0]))
    network = module.evaluator if settings["evaluator"] is None else build(settings["evaluator"]).to(module.device)
    named = names(network)["frechet"]  # raises here if the evaluator's file is missing
    own = data_of(run) if other else data
    for each in (data, own):
        each.augment = Augmentation()  # no augmentation, even for training images
        each.setup("test")
    if (there := len(data.samples[split])) < 2:
        raise ValueError(f"split={split} of {data.name} contains {there} pictures; expected at least 2")
    task = _Task(run, module, network, data, own, settings, find_lpips(settings["lpips"], data.loader.image_size))
    found = _evaluate(task)
    given_back = _reconstruct(task) if isinstance(module, Autoencoder) else {}
    keep(run, data, split, {network.name: found} | ({"reconstruction": given_back} if given_back else {}))
    _print_metrics(run, data, split, found, given_back)
    return float("nan") if found[named] is None else float(found[named])


@dataclass
class _Task:
    """Inputs of an evaluation.

    Attributes:
        run: the run of the generator.
        module: the generator.
        network: the evaluator, the network whose features are compared: images -> features.
        data: the data set of the real images.
        own: the data set that the generator was trained on.
        settings: settings of the command.
        perceptual: (LPIPS, ""), or (None, the reason why LPIPS is unavailable).
    """

    run: Run
    module: Any
    network: Any
    data: DataModule
    own: DataModule
    settings: Settings
    perceptual: tuple[LPIPS | None, str]

    @property
    def split(self) -> str:
        """Split of the real images."""
        return str(self.settings["split"])

    def seen(self, data: DataModule, split: str, what: str = "pictures") -> Tensor:
        """Compute the evaluator's features [N, F] of all images of a split; `what` labels the progress bar."""
        return _seen(self.network, _loading(data, split, self.module.device), len(data.samples[split]), what)


def _evaluate(task: _Task) -> Settings:
    """Compute the metrics of the samples, and plot some samples next to their nearest training images."""
    network, (lpips, reason) = task.network, task.perceptual
    real = task.seen(task.data, task.split, "real pictures")
    held = real if task.own is task.data else task.seen(task.own, task.split)
    training = task.seen(task.own, "train", "training pictures")
    sample, count = _sampling(task), task.settings["count"] or len(real)
    look, distances = (network, []) if lpips is None else _pairwise(network, lpips)
    made = _seen(look, sample, count, "samples")
    if count < made.shape[1]:
        say(
            f"count={count} is less than the {made.shape[1]} features, so the Frechet distance depends on count",
            style="yellow",
        )
    near = _nearest(task, sample, made, training, held)
    about = {"samples": count, "real": len(real), "seed": task.settings["seed"], "published": bool(network.published)}
    scores = {name: None if value != value else value for name, value in figures(network, real, made).items()}
    mean = reason if lpips is None else float(torch.cat(distances).mean())
    return about | scores | {f"pairwise_{_lpips_name(task)}": mean, "nearest_training": near}


def _nearest(
    task: _Task, sample: Callable[[Sequence[int]], Tensor], made: Tensor, training: Tensor, held: Tensor
) -> dict[str, float]:
    """Compute how far samples and held-out images are from their nearest training image; plot the closest samples."""
    distance, index = generation.nearest(made, training, min(NEIGHBOURS, len(training)))
    usual = generation.nearest(held, training, 1)[0][:, 0]
    near = {"samples": float(distance[:, 0].median()), f"{task.split} pictures": float(usual.median())}
    which, pictures = distance[:, 0].argsort()[:SHOWN].tolist(), _loading(task.own, "train", task.module.device)
    rows = [(sample([at]), pictures(index[at].tolist()), distance[at].tolist()) for at in which]
    words = (
        f"left: the {len(which)} of {len(made)} samples nearest to training pictures; right: these training pictures",
        f"median distance to the nearest training picture, in features of '{task.network.name}':",
        " | ".join(f"{name} {value:.4g}" for name, value in near.items())
        + "; a sample far below these values is a copy",
    )
    Marking(watermark=False, label="").write(task.run.folder / "nearest.png", poster(rows, words))
    return near | {"closest sample": float(distance[:, 0].min())}


def _pairwise(network: Any, lpips: Any) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Wrap the network to also compute LPIPS between the halves of each batch; return it and the list of distances."""
    distances: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        if half := len(x) // 2:
            distances.append(lpips(x[:half], x[half : 2 * half]).cpu())
        features: Tensor = network(x)
        return features

    return look, distances


def _lpips_name(task: _Task) -> str:
    """Return the name of the LPIPS metric, even if LPIPS is not available."""
    lpips, _ = task.perceptual
    return f"lpips_{task.settings['lpips']['net']}" if lpips is None else lpips.name


def _loading(data: DataModule, split: str, device: torch.device) -> Callable[[Sequence[int]], Tensor]:
    """Return a function that loads rows of a split as images [N, 3, S, S] in [0, 1]."""

    def load(rows: Sequence[int]) -> Tensor:
        x: Tensor = data.samples[split].__getitems__([(0, row) for row in rows])["x"].to(device)
        found: Tensor = data.on_after_batch_transfer({"x": x}, 0)["x"]
        return found

    return load


def _sampling(task: _Task) -> Callable[[Sequence[int]], Tensor]:
    """Return a function that makes the samples with the given numbers, seeded as in `unmask sample`.

    If the generator is conditional, the samples get the attributes or captions of real images.
    """

    def sample(numbers: Sequence[int]) -> Tensor:
        condition, samples = None, task.data.samples[task.split]
        if task.module.conditional:
            rows = samples.__getitems__([(0, number % len(samples)) for number in numbers])
            condition = rows[task.module.conditioned_on]
        seeds = [seed_of(task.settings["seed"], number) for number in numbers]
        made: Tensor = task.module.sample(len(numbers), seeds, condition)
        return made

    return sample


def _seen(network: Any, load: Callable[[Sequence[int]], Tensor], count: int, what: str = "pictures") -> Tensor:
    """Compute the features of images 0 to `count` - 1 [count, F], and move them to the CPU."""
    parts = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    return torch.cat([network(load(part)).cpu() for part in track(parts, what, console=console, transient=True)])


@torch.no_grad()
def _reconstruct(task: _Task) -> Settings:
    """Compute PSNR, SSIM and LPIPS of reconstructed images; if LPIPS is unavailable, its value is the reason."""
    count, load = len(task.data.samples[task.split]), _loading(task.data, task.split, task.module.device)
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": generation.psnr, "ssim": generation.ssim}
    lpips, reason = task.perceptual
    missing = {_lpips_name(task): reason} if lpips is None else {}
    if lpips is not None:
        measures[lpips.name] = lpips
    values: dict[str, list[Tensor]] = {name: [] for name in measures}
    for at in range(0, count, BATCH):
        x = load(range(at, min(at + BATCH, count)))
        made = task.module(x)
        for name, measure in measures.items():
            values[name].append(measure(made, x).cpu())
    return {"pictures": count} | {name: float(torch.cat(each).mean()) for name, each in values.items()} | missing


def _print_metrics(run: Run, data: DataModule, split: str, found: Settings, given_back: Settings) -> None:
    kind = "demo metrics" if data.source.demo else "metrics"
    say(
        f"{kind} of {run.name}: {found['samples']} samples compared with {found['real']} pictures of {data.name} "
        f"({split})"
    )
    for name, value in {**found, **given_back}.items():
        if isinstance(value, float) or value is None:
            say(f"  {name}: {'undefined for so few pictures' if value is None else format(value, '.4g')}")
        elif isinstance(value, str):
            say(f"  {name}: {value}")
    say(f"metrics written to {run.folder / GENERATION}; nearest.png shows samples and their nearest training pictures")
