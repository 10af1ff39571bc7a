"""The trained module of a run: what makes pictures, what swaps faces, and which verb takes which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

from unmask.config import Settings
from unmask.runs.run import Run

# What is done with a run of each kind, and with all others.
USES = {"generator": "unmask sample run={run}", "swapper": "unmask swap run={run} video=FILE to=NAME"}
OTHERS = "unmask list runs"


class Module(Protocol):
    """A LightningModule that says what it is."""

    kind: str  #: `generator`, `swapper`, `detector` or `segmenter`

    def to(self, device: str) -> Self:
        """Move it to a device, such as `cuda:0`."""


class Generator(Module, Protocol):
    """A module that makes pictures of noise."""

    @property
    def conditional(self) -> bool:
        """Whether pictures are made by attributes."""

    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Pictures [n, 3, S, S] in [0, 1] of these seeds; attributes [n, A] where it is conditional."""

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """The noise [n, ...] that the samples of these seeds are made from."""

    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Noise [n, ...], attributes [n, A] where it is conditional -> pictures [n, 3, S, S] in [0, 1]."""


class FaceSwapper(Module, Protocol):
    """A module that draws a face as another person."""

    def swap(self, x: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Faces [B, 3, S, S], number of a person [B] -> pictures [B, 3, S, S] and masks [B, 1, S, S], in [0, 1]."""


M = TypeVar("M", bound=Module)


@dataclass
class Trained(Generic[M]):
    """A run with its module. Only the run's folder is pickled: each process loads the weights for itself."""

    run: Run

    @cached_property
    def module(self) -> M:
        """The module, in eval mode."""
        module: M = self.run.module()
        return module

    def __getstate__(self) -> Settings:
        return {"run": Run(self.run.folder)}


def open_run(folder: str | None, verb: str) -> Run:
    """The run that a verb's `run=DIR` names.

    Raises:
        ValueError: none is named, or it is not a run's folder.
    """
    if not folder:
        raise ValueError(f"run missing: unmask {verb} run=DIR ({OTHERS} shows them)")
    return Run(Path(folder))


def load_generator(run: Run) -> Trained[Generator]:
    """A run's generator.

    Raises:
        ValueError: the run is of another kind; the message names the verb that takes it.
    """
    found = Trained[Generator](run)
    _require("generator", found.module.kind, run)
    return found


def load_swapper(run: Run) -> Trained[FaceSwapper]:
    """A run's face swapper.

    Raises:
        ValueError: the run is of another kind; the message names the verb that takes it.
    """
    found = Trained[FaceSwapper](run)
    _require("swapper", found.module.kind, run)
    return found


def _require(wanted: str, kind: str, run: Run) -> None:
    if kind != wanted:
        use = USES[kind].format(run=run.folder) if kind in USES else f"{OTHERS} shows what there is"
        raise ValueError(f"run={run.folder}: {run.name} is a {kind}, not a {wanted}; {use}")
