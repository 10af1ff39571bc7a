"""Compare an exported model with the PyTorch module it was made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.export.pixels import Pixels
from unmask.export.wrapped import Wrapped
from unmask.files import printable

TOLERANCE = 1e-4
BATCHES = (1, 3, 16)
#: Runs an exported model: uint8 pixels -> its outputs, in the order of `Wrapped.names`.
Runs = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


class ExportError(ValueError):
    """An exported model differs from its network, or cannot be made; the message says by how much, or why."""


@dataclass(frozen=True)
class Checked:
    """The result of a comparison.

    Attributes:
        difference: the largest absolute difference of each output, by name.
        batches: the batch sizes that were compared.
        lengths: the clip lengths that were compared; empty for a detector of single frames.
        fixed: whether the exported model takes clips of a single length only.
        source: the pixels that were compared, in words.
    """

    difference: dict[str, float]
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    fixed: bool
    source: str

    def __str__(self) -> str:
        """Describe the result in one sentence."""
        sizes = ", ".join(map(str, self.batches))
        lengths = f", clips of {' and '.join(map(str, self.lengths))} frames" if self.lengths else ""
        worst = max(self.difference.values())
        only = f". Takes clips of {self.lengths[0]} frames only" if self.fixed else ""
        return f"equals PyTorch within {worst:.1g} on {self.source} (batches of {sizes}{lengths}){only}"


def second_length(model: Wrapped) -> int | None:
    """Return a second clip length that the network takes; None for single frames, or if the length is fixed."""
    frames = model.parts.frames
    if frames is None:
        return None
    side, other = model.parts.crop_size, frames + max(2, frames // 4)
    try:
        with torch.inference_mode():
            model(torch.zeros(1, other, 3, side, side, dtype=torch.uint8))
    except (ValueError, RuntimeError):  # such as a video transformer, which has one position embedding per frame
        return None
    return other


def compare(run: Runs, model: Wrapped, pixels: Pixels, other: int | None, what: str) -> Checked:
    """Compare an exported model with `model`, in batches of 1, 3 and 16, and for clips of two lengths.

    Args:
        run: runs the exported model.
        model: the module it was made of.
        pixels: the pixels to compare.
        other: a second clip length; None compares clips of one length only.
        what: the exported model, for the messages.

    Raises:
        ExportError: an output differs by more than `TOLERANCE` (times its largest value, if this is above 1), or the
            exported model does not run.
    """
    worst = dict.fromkeys(model.names, 0.0)
    sizes, frames = set[int](), model.parts.frames
    for batch in _batches(pixels.values, other):
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
    lengths = () if frames is None else (frames,) if other is None else (frames, other)
    return Checked(worst, tuple(sorted(sizes)), lengths, frames is not None and other is None, pixels.source)


def _batches(values: NDArray[np.uint8], other: int | None) -> Iterator[NDArray[np.uint8]]:
    """Yield batches of 1, 3, then of 16 until all pixels are used; then a batch of 2 with the other clip length."""
    at = 0
    for size in (*BATCHES[:2], *[BATCHES[2]] * len(values)):
        if at >= len(values):
            break
        yield np.ascontiguousarray(values[at : at + size])
        at += size
    if len(values) < sum(BATCHES):  # too few samples for all sizes: repeat them
        yield np.ascontiguousarray(np.resize(values, (BATCHES[2], *values.shape[1:])))
    if other is not None:
        frames = np.arange(other) % values.shape[1]
        yield np.ascontiguousarray(values[:2][:, frames])


def _first(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0][:160])
