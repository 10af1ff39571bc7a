"""Train the network of a finished run further: fine-tuning, and pruning with fine-tuning.

A run that starts from another run must be readable without that run. Its config therefore contains the config of the
network (`network_of`), and its checkpoint contains all weights. A pruned network has fewer channels than its config
says; the shapes of the tensors in the checkpoint say how many, see `networks.pruning`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.networks.pruning import fit_channels, prune_channels
from unmask.runs.errors import RunError
from unmask.runs.run import Run

KEY = "module.network"  # where the config describes the network, for messages


def trained(
    network: nn.Module,
    image_size: int,
    frames: int | None = None,
    run: str | None = None,
    remove: float = 0.0,
    round_to: int = 1,
) -> nn.Module:
    """Return the network of a finished detector run with its weights, after channels were removed.

    Args:
        network: the network as the config of the run describes it.
        image_size: side of the network's input, px.
        frames: number of frames of a clip; None for a network of frames.
        run: the run folder. None if a later run that started from this run is opened: its checkpoint contains all
            weights.
        remove: share of the channels of each layer that are removed, 0 to below 1 (structured pruning).
        round_to: the numbers of remaining channels are multiples of this number.

    Raises:
        RunError: the run is not a finished run of a detector, or its weights cannot be read safely.
        ValueError: the channels cannot be removed, see `prune_channels`.
    """
    network.register_load_state_dict_pre_hook(_fit)  # type: ignore[no-untyped-call]
    if run is None:
        return network
    start = Run(Path(run))
    if start.kind != "detector":
        raise RunError(f"{KEY}.run={run}: {start.name} is a {start.kind}; expected a run of a detector")
    network.load_state_dict(start.network().state_dict())
    if remove:
        shape = (1, 3, image_size, image_size) if frames is None else (1, frames, 3, image_size, image_size)
        try:
            prune_channels(network, torch.rand(shape, generator=torch.Generator().manual_seed(0)), remove, round_to)
        except ValueError as error:
            raise ValueError(f"{KEY}.remove={remove}: {error}") from error
    return network


def _fit(network: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: object) -> None:
    """Shrink the layers of the network to the tensors that are loaded into it."""
    own = {name.removeprefix(prefix): value.shape for name, value in state.items() if name.startswith(prefix)}
    fit_channels(network, own)
