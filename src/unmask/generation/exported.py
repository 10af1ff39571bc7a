"""A generator in an ONNX file that `unmask export` wrote: onnxruntime makes the pictures."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from unmask.config import Settings
from unmask.modules.latents import film, noise
from unmask.runs.exported import GENERATOR, ExportedFile

NOISE, ATTRIBUTES, PICTURES = "noise", "attributes", "pictures"  # names of the inputs and of the output
MOST = 2**20  # numbers in the noise of one picture, and numbers of attributes; more is refused


class ExportedGenerator:
    """Makes pictures with an exported file; it has the methods of a trained generator, see `generation.trained`.

    Args:
        file: the file.

    Raises:
        RunError: the inputs or the output of the file are not those of a generator.
    """

    kind, one_pass, conditioned_on = GENERATOR, True, "attributes"

    def __init__(self, file: "GeneratorFile") -> None:
        self.file = file
        inputs = {one.name: one.shape[1:] for one in file.session.get_inputs()}
        self.shape, self.attributes = inputs.pop(NOISE, []), inputs.pop(ATTRIBUTES, [])
        outputs = [one.name for one in file.session.get_outputs()]
        sizes = [*self.shape, *self.attributes]
        if inputs or outputs != [PICTURES] or not self.shape or not all(isinstance(one, int) for one in sizes):
            raise file.refused("its inputs and outputs are not those of a generator; export the run again")
        if math.prod(sizes) > MOST:
            raise file.refused(f"it needs {math.prod(sizes):,} numbers per picture; expected at most {MOST:,}")

    @property
    def conditional(self) -> bool:
        """Whether generation is conditioned on attributes."""
        return bool(self.attributes)

    def to(self, device: str) -> Self:
        """Return the generator itself: onnxruntime computes on the CPU."""
        return self

    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from seeds and, if conditional, attributes [n, A]."""
        return self.make(self.noise(n, seeds), condition)

    def walk(self, seeds: Sequence[int], steps: int, size: int, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of a film that interpolates the noise of samples; see `latents.film`."""
        return film(self.make, self.noise(len(seeds), seeds), steps, size, condition)

    def states(self, seeds: Sequence[int], columns: int, condition: Tensor | None = None) -> Tensor:
        """Raise an error: an exported generator makes a picture in one pass, without intermediate states.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"states={columns}: expected 0, because only diffusion models have intermediate states")

    def truncate(self, truncation: float) -> None:
        """Raise an error unless `truncation` is 1: the file contains the pictures as trained.

        Raises:
            ValueError: `truncation` is not 1.
        """
        if truncation != 1:
            raise ValueError(f"truncation={truncation}: expected 1, because an exported generator cannot be truncated")

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Return the noise [n, ...] from which samples with these seeds are generated."""
        return noise(self.shape, n, seeds, torch.device("cpu"))

    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from noise [n, ...] and, if conditional, attributes [n, A].

        Raises:
            RunError: the file cannot be run, or its pictures are damaged.
        """
        given = {NOISE: z.numpy()} | ({} if condition is None else {ATTRIBUTES: condition.contiguous().numpy()})
        try:
            (found,) = self.file.session.run([PICTURES], given)
        except Exception as error:  # onnxruntime has error types of its own
            raise self.file.refused(f"it cannot make pictures ({str(error).partition(chr(10))[0][:200]})") from None
        side = int(self.file.config["image_size"])
        if found.shape != (len(z), 3, side, side) or not np.isfinite(found).all():
            raise self.file.refused(f"its pictures are not finite numbers of the shape {[len(z), 3, side, side]}")
        return torch.from_numpy(found).clamp(0, 1)


@dataclass(frozen=True)
class GeneratorFile(ExportedFile):
    """A generator in a file, in place of a run folder.

    Attributes:
        folder: path of the ONNX file.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.record.get("kind") != GENERATOR:
            raise self.refused(f"it is a detector; to use it: unmask predict FILE model={self.folder}")

    def _read_config(self) -> Settings:
        found = super()._read_config()
        if not isinstance(found.get("image_size"), int):
            raise self.refused("its config has no image_size")
        return found

    def module(self) -> ExportedGenerator:  # type: ignore[override]
        """Return the generator."""
        return ExportedGenerator(self)
