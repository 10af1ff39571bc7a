"""Robustness suites: score a detector on perturbed test items, such as recompressed or resized ones.

Perturbations of files are applied to copies of the raw files, from which the run's recipe makes new crops; each copy
without a detected face lowers the coverage (the share of scored items). Perturbations of pixels or of sound change the
stored crops and recordings. Each step applies one perturbation at one level, and its prediction table is
`robustness/SUITE/NAME-LEVEL.parquet` in the run folder. An interrupted suite resumes with the steps that have no table.
A finished step is repeated only if the items, the weights or the perturbation change.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from unmask.console import say
from unmask.data.datamodule import DataModule
from unmask.data.predictions import prediction_table, score_samples
from unmask.data.store import MemoryStore
from unmask.evaluation.handle import Handle, Step, Task
from unmask.files import file_hash
from unmask.media.crops import Crops
from unmask.media.kinds import is_picture
from unmask.media.pcm import RATE, to_float32, to_int16
from unmask.metrics.robustness import CLEAN
from unmask.parallel import workers
from unmask.perturb.kinds import OnCrops, OnFiles, OnSound
from unmask.runs.errors import RunError
from unmask.runs.predictions import read_predictions, robustness_path, write_predictions

FLUSH = 256  # number of crops that are held in memory before they are scored
TIMEOUT = 600.0  # s: time limit for perturbing one file and applying the recipe


@dataclass(frozen=True)
class Suite:
    """A set of perturbations, and the number of test items on which a detector is scored.

    Args:
        name: name of the suite and of the folder for its tables.
        perturbations: the perturbations, by name.
        most: maximum number of test items, half of them real, drawn at random; None uses all items.
        seed: seed for the choice of items and for random perturbations.
        files: whether to perturb the raw files if possible; if False, stored crops are perturbed, which is faster.
    """

    name: str
    perturbations: Mapping[str, OnCrops | OnFiles | OnSound]
    most: int | None = None
    seed: int = 0
    files: bool = True

    def __post_init__(self) -> None:
        if not self.perturbations:
            raise ValueError(f"suite.perturbations is empty in suite={self.name}; expected at least one perturbation")
        if self.most is not None and self.most < 2:
            raise ValueError(f"suite.most={self.most}: expected at least 2 items, or null for all")

    @property
    def steps(self) -> list[Step]:
        """All steps, starting with the unperturbed data."""
        levels = ((name, len(one.levels)) for name, one in self.perturbations.items())
        return [Step(CLEAN, 0), *(Step(name, level + 1) for name, count in levels for level in range(count))]

    def words(self, step: Step, paths: Mapping[str, Path] | None) -> dict[str, str]:
        """Describe a step for the protocol of its table; for `paths`, see `on_files`."""
        done = self.perturbations[step.name].words(step.level) if step.level else "none"
        stored = "stored sound" if isinstance(self.perturbations.get(step.name), OnSound) else "stored crops"
        return {"Perturbation": done, "Applied to": "files" if self.on_files(step, paths) else stored}

    def on_files(self, step: Step, paths: Mapping[str, Path] | None) -> bool:
        """Return whether a step perturbs raw files, not crops; `paths` maps items to raw files, if these exist."""
        one = self.perturbations.get(step.name)
        if not isinstance(one, OnFiles) or paths is None:
            return False
        pictures = [is_picture(path) for path in paths.values()]
        return (one.pictures or not any(pictures)) and (one.videos or all(pictures))

    def applicable(
        self, paths: Mapping[str, Path] | None, pictures: bool, sound: bool
    ) -> tuple["Suite", dict[str, str]]:
        """Remove the perturbations that can be applied neither to these files nor to what is stored.

        Args:
            paths: see `on_files`.
            pictures: whether the samples contain pictures.
            sound: whether the samples contain sound.

        Returns:
            The remaining suite, and the reason for each removed perturbation, by name.

        Raises:
            ValueError: no perturbation remains.
        """
        kinds = (*((OnCrops,) if pictures else ()), *((OnSound,) if sound else ()))
        left_out = {
            name: self._why_not(one, paths, pictures)
            for name, one in self.perturbations.items()
            if not (pictures and self.on_files(Step(name, 1), paths)) and not isinstance(one, kinds)
        }
        if len(left_out) == len(self.perturbations):
            name, reason = next(iter(left_out.items()))
            raise ValueError(f"suite={self.name}: none of its perturbations applies ({name}: {reason})")
        kept = {name: one for name, one in self.perturbations.items() if name not in left_out}
        return replace(self, perturbations=kept), left_out

    def _why_not(self, one: OnCrops | OnFiles | OnSound, paths: Mapping[str, Path] | None, pictures: bool) -> str:
        """Return why a perturbation cannot be applied; see `applicable`."""
        if isinstance(one, OnSound):
            return "the samples have no sound"
        if not pictures:
            return "the samples are sound; use suite=sound"
        if paths is not None:
            return "it does not change files of this kind"
        return "the raw files are missing (data.root)" if self.files else "it changes only files, but suite.files=false"

    def sample(self, items: pd.DataFrame) -> pd.DataFrame:
        """Draw the items to score, half of them real if there are enough; their order does not change."""
        if self.most is None or len(items) <= self.most:
            return items
        rng = np.random.default_rng(self.seed)
        real, fake = (np.flatnonzero(items["label"] == label) for label in (0, 1))
        half = self.most // 2
        count = min(len(real), max(half, self.most - len(fake)))
        chosen = [rng.choice(real, count, replace=False), rng.choice(fake, self.most - count, replace=False)]
        return items.iloc[np.sort(np.concatenate(chosen))]


@dataclass(frozen=True)
class Detection:
    """A trained detector and its test data.

    Args:
        network: the network in eval mode, on its device.
        localises: whether the network returns a logit for each pixel instead of one per picture.
        data: the data module, after its `setup` was called.
        weights: the file of the weights; its hash is stored with each finished step.
    """

    network: nn.Module
    localises: bool
    data: DataModule
    weights: Path

    def score(self, crops: Mapping[str, Crops], items: pd.DataFrame) -> tuple[pd.DataFrame, torch.Tensor]:
        """Score the crops {item: crops} of some `items`; return the table of their N samples and the logits [N]."""
        data = self.data
        known = items[items["item"].isin(list(crops))]
        samples = data.sampling.samples(MemoryStore(crops), known, data.recipe)
        return samples.table, score_samples(self.network, samples, data.loader, self.localises)


class Scores:
    """The scores of one step, collected item by item; crops are scored as soon as at least `FLUSH` of them are held.

    Args:
        detection: the detector.
        items: the items of the step.
    """

    def __init__(self, detection: Detection, items: pd.DataFrame) -> None:
        self.detection, self.items = detection, items
        self._held: dict[str, Crops] = {}
        self._rows: list[pd.DataFrame] = []
        self._logits: list[torch.Tensor] = []

    def add(self, item: str, crops: Crops) -> None:
        """Add the crops of an item; an item that is never added lowers the coverage."""
        self._held[item] = crops
        if sum(_size(one) for one in self._held.values()) >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            rows, logit = self.detection.score(self._held, self.items)
            self._rows.append(rows)
            self._logits.append(logit)
            self._held = {}

    def table(self, split: str) -> pd.DataFrame:
        """Return the prediction table, sorted by item, track and frame."""
        self._flush()
        empty = self.detection.data.samples[split].table.iloc[:0]
        rows = pd.concat(self._rows, ignore_index=True) if self._rows else empty
        logit = torch.cat(self._logits) if self._logits else torch.zeros(0)
        found = prediction_table(rows, self.items, split, torch.arange(len(rows)), logit)
        return found.sort_values(["item", "track", "frame"], ignore_index=True)


def _size(crops: Crops) -> int:
    """Return the number of crops of an item; for sound, one is added per second."""
    return len(crops.pixels) + (0 if crops.sound is None else -(-len(crops.sound) // RATE))


def run_suite(suite: Suite, detection: Detection, split: str, out: Path, num_workers: int) -> Iterator[Step]:
    """Score each step of a suite, write its table, and yield the step; finished steps are yielded without scoring.

    Args:
        suite: the suite.
        detection: the detector and its data.
        split: the split to score, `test` or `val`.
        out: the run folder.
        num_workers: number of worker processes for files; 0 uses this process.

    Raises:
        ValueError: no item of the split has crops, or no perturbation supports these files or crops.
    """
    items = detection.data.items
    usable = items[(items["split"] == split) & items["rejected"].isna()]
    if usable.empty:
        raise ValueError(f"suite={suite.name}: {detection.data.why_empty(split)}")
    sample = suite.sample(usable)
    paths = _paths(sample, detection.data) if suite.files else None
    sampling = detection.data.sampling
    suite, left_out = suite.applicable(paths, sampling.STORED, sampling.seconds is not None)
    for name, why in left_out.items():
        say(f"perturbation {name} is skipped: {why}", style="yellow")
    about = {
        "Items": f"{len(sample)} of {len(usable)} of the {split} split, drawn with seed {suite.seed}",
        "Selected": hashlib.sha256("\n".join(sample["item"]).encode()).hexdigest()[:12],
        "Weights": file_hash(detection.weights)[:12],
    }
    protocols = {step: suite.words(step, paths) | about for step in suite.steps}
    done = [step for step in suite.steps if _is_done(robustness_path(out, suite.name, *step), protocols[step])]
    yield from done
    for step, scores in _scores(suite, detection, sample, paths, num_workers, done):
        write_predictions(robustness_path(out, suite.name, *step), scores.table(split), protocols[step])
        yield step


def _scores(
    suite: Suite,
    detection: Detection,
    items: pd.DataFrame,
    paths: Mapping[str, Path] | None,
    num_workers: int,
    done: Sequence[Step] = (),
) -> Iterator[tuple[Step, Scores]]:
    """Yield the scores of each step that is not finished yet."""
    todo = [step for step in suite.steps if step not in done]
    on_files = [step for step in todo if suite.on_files(step, paths)]
    tasks = [Task(step, item, path) for step in on_files for item, path in (paths or {}).items()]
    yield from _crop_steps(suite, detection, [step for step in todo if step not in on_files], items)
    yield from _file_steps(suite, detection, tasks, items, num_workers)


def _paths(items: pd.DataFrame, data: DataModule) -> dict[str, Path] | None:
    """Return the file of each item; None if a file no longer exists or the data set has no files."""
    roots = {prepared.source.name: prepared.raw for prepared, _ in data.members}
    found = dict[str, Path]()
    for item, dataset, path in zip(items["item"], items["dataset"], items["path"], strict=True):
        root = roots[dataset]
        if root is None or not (root / path).is_file():
            return None
        found[item] = root / path
    return found


def _is_done(path: Path, protocol: Mapping[str, str]) -> bool:
    try:
        return bool(read_predictions(path).attrs["protocol"] == dict(protocol))
    except RunError:  # missing or damaged
        return False


def _crop_steps(
    suite: Suite, detection: Detection, steps: Sequence[Step], items: pd.DataFrame
) -> Iterator[tuple[Step, Scores]]:
    """Yield the scores of each step that perturbs the stored crops."""
    for step in steps:
        scores, perturbation = Scores(detection, items), suite.perturbations.get(step.name)
        for number, item in enumerate(items["item"]):
            crops = detection.data.crops_of(item)
            if isinstance(perturbation, OnCrops):
                crops.pixels = perturbation.crops(crops.pixels, step.level, suite.seed + number)
            elif isinstance(perturbation, OnSound) and crops.sound is not None:
                heard = perturbation.sound(to_float32(crops.sound), step.level, suite.seed + number)
                crops.sound = to_int16(heard)
            scores.add(item, crops)
        yield step, scores


def _file_steps(
    suite: Suite, detection: Detection, tasks: Sequence[Task], items: pd.DataFrame, num_workers: int
) -> Iterator[tuple[Step, Scores]]:
    """Yield the scores of each step that perturbs files; all steps share the worker processes."""
    if not tasks:
        return
    scores, left = dict[Step, Scores](), Counter(task.step for task in tasks)
    work = Handle(suite.perturbations, detection.data.recipe)
    for task, found in workers.run(work, tasks, num_workers, TIMEOUT):
        mine = scores.setdefault(task.step, Scores(detection, items))
        if not isinstance(found, workers.TaskError):
            mine.add(task.item, found)
        left[task.step] -= 1
        if not left[task.step]:
            yield task.step, scores.pop(task.step)
