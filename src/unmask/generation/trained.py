"""Load a run's trained generator or face swapper. For any other kind of run, the error names the command to use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

from unmask.config import Settings
from unmask.generation.exported import GeneratorFile
from unmask.runs import opening
from unmask.runs.exported import SUFFIX
from unmask.runs.run import Run

# Commands that error messages suggest: by kind of run, and for all other kinds.
USES = {"generator": "unmask sample run={run}", "swapper": "unmask swap run={run} video=FILE to=NAME"}
OTHERS = "unmask list runs"


class Module(Protocol):
    """A LightningModule that declares its kind."""

    kind: str  #: `generator`, `swapper`, `detector` or `segmenter`

    def to(self, device: str) -> Self:
        """Move the module to a device, such as `cuda:0`."""


class Generator(Module, Protocol):
    """A module that generates images from noise."""

    one_pass: bool  #: whether the network runs once per image, so that it can be exported

    @property
    def conditional(self) -> bool:
        """Whether generation is conditioned on attributes or captions."""

    @property
    def conditioned_on(self) -> str:
        """The entry of a batch that a conditional generator is conditioned on: `attributes` or `caption`."""

    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from seeds and, if conditional, attributes [n, A]."""

    def walk(self, seeds: Sequence[int], steps: int, size: int, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches [size, 3, S, S] of a film with `steps` images from each seed's sample to the next.

        The film ends where it began. `condition` contains the attributes [1, A] of all images.
        """

    def states(self, seeds: Sequence[int], columns: int, condition: Tensor | None = None) -> Tensor:
        """Return intermediate states [n, columns, 3, S, S] of the samples of these seeds."""

    def truncate(self, truncation: float) -> None:
        """Make all later samples more similar to the average image; see `training.module.Module.truncate`."""


class FaceSwapper(Module, Protocol):
    """A module that renders a face as another person."""

    def swap(self, x: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """Render faces [B, 3, S, S] as people with the indices `identity` [B].

        Returns:
            Images [B, 3, S, S] and masks [B, 1, S, S], all in [0, 1].
        """


M = TypeVar("M", bound=Module)


@dataclass
class Trained(Generic[M]):
    """A run and its module. Pickling stores only the run's folder, so that each process loads the weights itself."""

    run: Run

    @cached_property
    def module(self) -> M:
        """The module, in eval mode."""
        module: M = self.run.module()
        return module

    def __getstate__(self) -> Settings:
        return {"run": type(self.run)(self.run.folder)}


def open_run(folder: str | None, verb: str) -> Run:
    """Open the run given to a command as `run=DIR`, as a pack, or as an exported generator.

    Raises:
        ValueError: no folder is given, or it is not the folder of a run.
    """
    if folder and folder.endswith(SUFFIX):
        return GeneratorFile(Path(folder))
    if not folder:
        raise ValueError(f"run missing: unmask {verb} run=DIR ({OTHERS} shows the runs)")
    return opening.open_run(folder)


def load_generator(run: Run) -> Trained[Generator]:
    """Load the generator of a run.

    Raises:
        ValueError: the run has another kind; the message names the command for that kind.
    """
    found = Trained[Generator](run)
    _require("generator", found.module.kind, run)
    return found


def load_swapper(run: Run) -> Trained[FaceSwapper]:
    """Load the face swapper of a run.

    Raises:
        ValueError: the run has another kind; the message names the command for that kind.
    """
    found = Trained[FaceSwapper](run)
    _require("swapper", found.module.kind, run)
    return found


def _require(wanted: str, kind: str, run: Run) -> None:
    if kind != wanted:
        use = f"to use it: {USES[kind].format(run=run.folder)}" if kind in USES else f"{OTHERS} shows the runs"
        raise ValueError(f"run={run.folder}: {run.name} is a {kind}, not a {wanted}; {use}")
