"""Compare an exported model with the PyTorch module it was made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.export.inputs import Input, Values
from unmask.export.pixels import Pixels
from unmask.export.wrapped import Wrapped
from unmask.files import printable

TOLERANCE = 1e-4
BATCHES = (1, 3, 16)
#: Runs an exported model: pixels or sound -> its outputs, in the order of `Wrapped.names`.
Runs = Callable[[Values], Sequence[NDArray[np.float32]]]


class ExportError(ValueError):
    """An exported model differs from its network, or cannot be made; the message says by how much, or why."""


@dataclass(frozen=True)
class Checked:
    """The result of a comparison.

    Attributes:
        difference: the largest absolute difference of each output, by name.
        batches: the batch sizes that were compared.
        lengths: the lengths of clips or windows that were compared; empty for a detector of single frames.
        fixed: whether the exported model takes a single length only.
        source: the samples that were compared, in words.
        words: how lengths are given in words; `{}` stands for the numbers.
    """

    difference: dict[str, float]
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    fixed: bool
    source: str
    words: str = "clips of {} frames"

    def __str__(self) -> str:
        """Describe the result in one sentence."""
        sizes = ", ".join(map(str, self.batches))
        lengths = f", {self.words.format(' and '.join(map(str, self.lengths)))}" if self.lengths else ""
        worst = max(self.difference.values())
        only = f". Takes {self.words.format(self.lengths[0])} only" if self.fixed else ""
        return f"equals PyTorch within {worst:.1g} on {self.source} (batches of {sizes}{lengths}){only}"


def second_length(model: Wrapped) -> int | None:
    """Return a second length of clips or windows that the network takes; None if it has no length, or a fixed one."""
    length = model.parts.input.length
    if length is None:
        return None
    other = length + max(2, length // 4)
    try:
        with torch.inference_mode():
            model(model.parts.input.blank(1, other))
    except (ValueError, RuntimeError):  # such as a video transformer, which has one position embedding per frame
        return None
    return other


def free_if_possible(export: Callable[[int | None], Checked], model: Wrapped) -> Checked:
    """Export a detector for any length if this is possible, else for the usual length only.

    Some networks take other lengths in PyTorch, but the exporter computes a size, such as a share of the length, once
    and stores it as a constant. The comparison finds that such a file is wrong for another length.

    Args:
        export: exports and compares the detector, given a second length; None fixes the length.
        model: the detector.

    Raises:
        ExportError: the detector cannot be exported with a fixed length either.
    """
    other = second_length(model)
    if other is not None:
        with suppress(ExportError):
            return export(other)
    return export(None)


def stored_length(model: Wrapped, other: int | None) -> dict[str, str]:
    """Return the entry `lengths` of the record, the length or `any`; empty if the input has no length.

    Args:
        model: the detector.
        other: its second length.
    """
    length = model.parts.input.length
    return {} if length is None else {"lengths": str(length) if other is None else "any"}


def compare(run: Runs, model: Wrapped, pixels: Pixels, other: int | None, what: str) -> Checked:
    """Compare an exported model with `model`, in batches of 1, 3 and 16, and for clips or windows of two lengths.

    Args:
        run: runs the exported model.
        model: the module it was made of.
        pixels: the pixels or the sound to compare; the extreme samples of the input are compared, too.
        other: a second length; None compares one length only.
        what: the exported model, for the messages.

    Raises:
        ExportError: an output differs by more than `TOLERANCE` (times its largest value, if this is above 1), or the
            exported model does not run.
    """
    worst = dict.fromkeys(model.names, 0.0)
    sizes, given = set[int](), model.parts.input
    for batch in (*_batches(pixels.values, other), *_extremes(given)):
        sizes.add(len(batch))
        with torch.inference_mode():
            wanted = [one.numpy() for one in model(torch.from_numpy(batch))]
        try:
            found = run(batch)
        except Exception as error:  # the runtimes have error types of their own
            raise ExportError(f"{what}: it does not run on an input of {list(batch.shape)} ({_first(error)})") from None
        for name, one, right in zip(model.names, found, wanted, strict=True):
            apart = float(np.abs(one - right).max()) if one.shape == right.shape else np.inf
            if not apart <= TOLERANCE * max(1.0, float(np.abs(right).max())):
                raise ExportError(
                    f"{what}: for an input of {list(batch.shape)}, its {name} differs from PyTorch's by {apart:.2g}; "
                    f"expected at most {TOLERANCE}"
                )
            worst[name] = max(worst[name], apart)
    lengths = tuple(length for length in (given.length, other) if length is not None)
    return Checked(worst, tuple(sorted(sizes)), lengths, len(lengths) == 1, pixels.source, given.lengths)


def _batches(values: Values, other: int | None) -> Iterator[Values]:
    """Yield batches of 1, 3, then of 16 until all samples are used; then a batch of 2 with the other length."""
    at = 0
    for size in (*BATCHES[:2], *[BATCHES[2]] * len(values)):
        if at >= len(values):
            break
        yield np.ascontiguousarray(values[at : at + size])
        at += size
    if len(values) < sum(BATCHES):  # too few samples for all sizes: repeat them
        yield np.ascontiguousarray(np.resize(values, (BATCHES[2], *values.shape[1:])))
    if other is not None:
        repeated = np.arange(other) % values.shape[1]
        yield np.ascontiguousarray(values[:2][:, repeated])


def _extremes(given: Input) -> Iterator[Values]:
    values = given.extremes()
    if len(values):
        yield values


def _first(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0][:160])
