"""Perturb files and prepare the results in worker processes.

This file imports no framework, because each worker process imports it when it starts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from unmask.media.crops import Crops
from unmask.perturb.kinds import OnCrops, OnFiles, OnSound


class Step(NamedTuple):
    """One perturbation at one level; level 0 is the unperturbed data."""

    name: str
    level: int


@dataclass(frozen=True)
class Task:
    """The task to perturb one file in one step; `path` is the original file."""

    step: Step
    item: str
    path: Path


@dataclass
class Handle:
    """A function for worker processes that perturbs one file and applies the recipe to the result.

    Args:
        perturbations: the perturbations, by name.
        recipe: reads a file and returns its crops.
    """

    perturbations: Mapping[str, OnCrops | OnFiles | OnSound]
    recipe: Callable[[Path], Crops]

    def __call__(self, task: Task) -> Crops:
        """Return the crops of the perturbed file.

        Raises:
            MediaError: the perturbed file cannot be read, or no face is found in it.
        """
        perturbation = self.perturbations[task.step.name]
        assert isinstance(perturbation, OnFiles)
        with TemporaryDirectory(prefix="unmask-") as folder:
            return self.recipe(perturbation.file(task.path, task.step.level, Path(folder)))
