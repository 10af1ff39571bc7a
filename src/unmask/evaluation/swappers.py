"""Evaluate a face swapper on held-out faces: reconstructions (A -> A) and swaps (A -> B).

PSNR and SSIM compare the output of the network with the original face. All other metrics use the face as a swap shows
it: the output, blended with the original by the mask that the network predicts. If a metric needs weights that are
missing, its value is "not run", with the reason and the fix. Metrics computed with other features have other names.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from rich.progress import track
from torch import Tensor
from torch.nn.functional import normalize

from unmask.config import Settings
from unmask.config.build import build
from unmask.console import console, say
from unmask.data.augment import Augmentation
from unmask.data.datamodule import DataModule
from unmask.datasets.people import People
from unmask.evaluation.entries import keep
from unmask.evaluation.swaps import Embed, find_identity, find_lpips, recogniser
from unmask.metrics import generation
from unmask.modules.faceswap import inside
from unmask.modules.sample_metrics import figures, names
from unmask.networks.evaluators import Evaluator, Inception, RandomFeatures
from unmask.networks.weights import WeightsNotFound
from unmask.runs.run import Run
from unmask.training.trainer import devices_of

BATCH = 32  # faces per batch
SCORE = "inception_score"


def evaluate_swapper(run: Run, settings: Settings, data: DataModule, other: bool) -> float:
    """Measure reconstructions and swaps of one split, write `generation.json`, and return the PSNR of reconstructions.

    Args:
        run: the run of a swapper.
        settings: settings of `unmask evaluate`: split, evaluator, identity, lpips, trainer.
        data: the data module of the people, before `setup`.
        other: whether `data` is another data set than the one that the run was trained on.

    Raises:
        ValueError: the data set does not contain people that the run can render, or the split is empty.
    """
    split = str(settings["split"])
    people = list(run.config["data"]["people"])
    known = list(data.source.people) if isinstance(data.source, People) else []
    if not known or not set(known) <= set(people):
        raise ValueError(
            f"data={data.name} has the people {', '.join(known) or 'none'}; expected {', '.join(people)}, the people "
            f"of {run.name}: use data=people data.root=DIR"
        )
    data.augment = Augmentation()
    data.setup("test")
    if not len(data.samples[split]):
        raise ValueError(f"split={split} of {data.name} contains no face: {data.why_empty(split)}")
    device = torch.device(devices_of(settings["trainer"])[0])
    task = Measurement(run.module().to(device), len(people), find_tools(settings, data.loader.image_size, device))
    found = task.of(track(_batches(data, split, device), "faces", _count(data, split), console=console, transient=True))
    path = keep(run, data, split, found)
    kind = "demo metrics" if data.source.demo else "metrics"
    say(f"{kind} of {run.name}{' on another data set' if other else ''}: faces of {data.name} ({split})")
    for group, values in found.items():
        say(f"  {group}: {values.pop('faces')} faces")
        for name, value in values.items():
            undefined = value is None or value != value
            shown = "undefined for these faces" if undefined else value
            say(f"    {name}: {shown if isinstance(shown, str) else format(shown, '.4g')}")
    say(f"metrics written to {path}")
    return float(found["reconstruction"]["psnr"])


@dataclass(frozen=True)
class Tools:
    """The networks with which a face swapper is measured.

    Attributes:
        evaluator: an evaluator of generated images, see `networks.evaluators`.
        embed: function that embeds faces, to compare people.
        likeness: name of the similarity of embeddings: `identity` for a face-recognition network, else
            `similarity_EVALUATOR`.
        lpips: (name, perceptual distance of two batches of faces, or None if LPIPS is unavailable).
        missing: three mappings {metric: reason why it is not run}: of reconstructions, of swaps, and of the evaluator.
    """

    evaluator: Evaluator
    embed: Embed
    likeness: str
    lpips: tuple[str, Callable[[Tensor, Tensor], Tensor] | None]
    missing: tuple[dict[str, str], dict[str, str], dict[str, str]]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the evaluator's features [N, F] and the embeddings [N, E] of faces; one network may compute both."""
        found = self.evaluator(x)
        return found, found if self.embed is self.evaluator else self.embed(x)


def find_tools(settings: Settings, size: int, device: torch.device) -> Tools:
    """Build the networks whose weights are found, and collect the reasons why the other metrics are not run.

    Args:
        settings: `evaluator`, `identity` and `lpips`.
        size: side length of the faces, px.
        device: where the networks run.

    Raises:
        WeightsNotFound: weights that the settings name do not exist.
    """
    evaluator, no_score = find_evaluator(settings["evaluator"])
    network, no_identity = find_identity(settings["identity"])
    lpips, no_lpips = find_lpips(settings["lpips"], size)
    distance = f"lpips_{settings['lpips']['net']}" if lpips is None else lpips.name
    kinds = ("identity_target", "identity_source")
    missing = (
        {name: why for name, why in ((distance, no_lpips), ("identity", no_identity)) if why},
        dict.fromkeys(kinds, no_identity) if no_identity else {},
        {SCORE: no_score} if no_score else {},
    )
    evaluator = evaluator.to(device)
    embed: Embed = evaluator if network is None else recogniser(network.to(device))
    likeness = f"similarity_{evaluator.name}" if network is None else "identity"
    return Tools(evaluator, embed, likeness, (distance, lpips), missing)


def find_evaluator(settings: Settings | None) -> tuple[Evaluator, str]:
    """Build the evaluator; by default, the published Inception network or, without its weights, random features.

    Returns:
        The evaluator, and the reason why the Inception Score is not run ("" if it is).
    """
    fix = "set evaluator=inception evaluator.weights=PATH or evaluator.download=true"
    if settings is not None:
        chosen: Evaluator = build(settings)
        names(chosen)  # raises here if its file is missing
        return chosen, "" if chosen.score == SCORE else f"not run: the evaluator is '{chosen.name}'; {fix}"
    network = Inception()
    try:
        names(network)
    except WeightsNotFound as error:
        return RandomFeatures(), f"not run: {str(error).splitlines()[0]}; {fix}"
    return network, ""


class FaceSwapper(Protocol):
    """A module that renders a face as another person."""

    def swap(self, x: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Render faces [B, 3, S, S] as the people with these indices [B] -> images [B, 3, S, S], masks [B, 1, S, S].

        Faces, images and masks are in [0, 1].
        """


@dataclass(frozen=True)
class Measurement:
    """The measurement of a face swapper.

    Args:
        module: the swapper.
        people: number of people that it renders.
        tools: the networks with which it is measured.
    """

    module: FaceSwapper
    people: int
    tools: Tools

    def of(self, batches: Iterable[dict[str, Tensor]]) -> Settings:
        """Return the metrics by group: `reconstruction`, `swap`, and the name of the evaluator."""
        rows: dict[str, list[Tensor]] = defaultdict(list)
        for batch in batches:
            for measured in (self._back(batch), self._swapped(batch)):
                for name, values in measured.items():
                    rows[name].append(values.cpu())
        found = {name: torch.cat(values) for name, values in rows.items()}
        quality, likeness, score = self.tools.missing
        swapped = figures(self.tools.evaluator, found["features"], found["swapped features"])
        whole = {name: None if value != value else value for name, value in swapped.items()}
        faces = len(found["swapped features"])
        return {
            "reconstruction": {"faces": len(found["who"])} | self._reconstruction(found) | quality,
            "swap": {"faces": faces} | self._likeness(found) | likeness,
            self.tools.evaluator.name: {"faces": faces} | whole | score,
        }

    def _reconstruction(self, found: dict[str, Tensor]) -> dict[str, float]:
        distance, _ = self.tools.lpips
        known = ("psnr", "ssim", "psnr_crop", "ssim_crop", distance)
        means = {name: float(found[name].mean()) for name in known if name in found}
        same = generation.identity(found["embedded back"], found["embedded"])
        return means | {self.tools.likeness: float(same.mean())}

    def _likeness(self, found: dict[str, Tensor]) -> dict[str, float]:
        """Compare swapped faces with the mean real face of the target person, and with the faces they replaced."""
        real, who, target = normalize(found["embedded"]), found["who"], found["target"]
        typical = torch.stack(
            [real[who == person].mean(0) for person in range(self.people)]
        )  # NaN if a person is absent
        there = ~typical.isnan().any(1)[target]
        like_target = generation.identity(found["embedded swapped"], typical[target])[there]
        like_source = generation.identity(found["embedded swapped"], found["embedded"][found["source"]])
        name = self.tools.likeness
        return {f"{name}_target": float(like_target.mean()), f"{name}_source": float(like_source.mean())}

    def _back(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Measure reconstructions; each value has one row per face."""
        x, who, mask = batch["x"], batch["identity"], batch["mask"].float()
        made, drawn = self.module.swap(x, who)
        shown = blended(made, drawn, x)
        face = inside(made, x, mask)
        found = {"psnr": face[0], "ssim": face[1], "psnr_crop": generation.psnr(made, x)}
        found |= {"ssim_crop": generation.ssim(made, x), "who": who}
        found["features"], found["embedded"] = self.tools.features(x)
        found["embedded back"] = self.tools.embed(shown)
        name, distance = self.tools.lpips
        return found if distance is None else found | {name: distance(shown, x)}

    def _swapped(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Render each face as each other person and embed the results; each value has `people` - 1 rows per face."""
        x, who, found = batch["x"], batch["identity"], defaultdict[str, list[Tensor]](list)
        for step in range(1, self.people):
            target = (who + step) % self.people
            made, drawn = self.module.swap(x, target)
            shown = blended(made, drawn, x)
            found["target"].append(target)
            found["source"].append(batch["number"])
            features, embedded = self.tools.features(shown)
            found["swapped features"].append(features)
            found["embedded swapped"].append(embedded)
        return {name: torch.cat(values) for name, values in found.items()}


def blended(made: Tensor, mask: Tensor, original: Tensor) -> Tensor:
    """Blend rendered faces [N, 3, S, S] into the original faces by predicted masks [N, 1, S, S]."""
    return mask * made + (1 - mask) * original


def _count(data: DataModule, split: str) -> int:
    """Return the number of batches of a split."""
    return -(-len(data.samples[split]) // BATCH)


def _batches(data: DataModule, split: str, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Yield the faces of a split in order, with identities, masks and their `number` in the split."""
    samples = data.samples[split]
    for at in range(0, len(samples), BATCH):
        rows = range(at, min(at + BATCH, len(samples)))
        batch = {name: value.to(device) for name, value in samples.__getitems__([(0, row) for row in rows]).items()}
        yield data.on_after_batch_transfer(batch, 0) | {"number": torch.tensor(rows, device=device)}
