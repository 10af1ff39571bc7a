"""The inputs of a network. Most networks take `x`; a network for clips with sound declares which parts it takes."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class SeveralInputs(Protocol):
    """A network that is called with keyword arguments: the entries of a batch with these names.

    Attributes:
        inputs: some of `x` (frames or clips) and `sound` (waveforms [B, S]).
    """

    inputs: tuple[str, ...]


def inputs_of(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the entries of a batch that a network takes."""
    return network.inputs if isinstance(network, SeveralInputs) else ("x",)


Inputs = Tensor | Mapping[str, Tensor]  # the input of most networks, or the entries of a batch


def as_batch(inputs: Inputs) -> Mapping[str, Tensor]:
    """Return inputs as entries of a batch; a tensor is the entry `x`."""
    return {"x": inputs} if isinstance(inputs, Tensor) else inputs


def apply(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the output of a network for a batch.

    Raises:
        ValueError: the batch lacks an input, for example because the data set has no sound.
    """
    output: Tensor = network(*_positional(network, batch), **_named(network, batch))
    return output


def encode(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the features of a batch, for a network with a method `encode`; the errors are those of `apply`."""
    features: Tensor = network.encode(*_positional(network, batch), **_named(network, batch))  # type: ignore[operator]
    return features


def _positional(network: nn.Module, batch: Mapping[str, Tensor]) -> list[Tensor]:
    return [] if isinstance(network, SeveralInputs) else [batch["x"]]


def _named(network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not isinstance(network, SeveralInputs):
        return {}
    if missing := [name for name in network.inputs if name not in batch]:
        takes, lacks = " and ".join(network.inputs), " and no ".join(missing)
        raise ValueError(
            f"{type(network).__name__} takes {takes}, but batches have no {lacks}: choose a data set of clips with "
            "sound"
        )
    return {name: batch[name] for name in network.inputs}
