"""Structured pruning: remove whole channels of a network, so that it is smaller and faster on any device.

The channels with the smallest weights are removed. Layers whose channels depend on each other (those of a residual
connection, a convolution and its batch norm, ...) lose the same channels; torch-pruning finds these groups by tracing
the network (DepGraph, arXiv 2301.12900). The importance of a channel is the L2 norm of its weights, averaged over the
layers of its group, as in "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710, which uses the L1 norm).

A pruned network has another architecture than its config describes. `fit_channels` restores this architecture: it needs
nothing but the shapes of the tensors in the checkpoint, because a layer's numbers of channels are the lengths of its
weights. Which channels were removed does not matter after the pruning. A checkpoint therefore needs no further record,
torch-pruning is not needed to open a pruned network, and only tensors are read.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def prune_channels(network: nn.Module, x: Tensor, amount: float, round_to: int = 1) -> None:
    """Remove the same share of channels from each group of layers, in place; the network stays in its mode.

    Args:
        network: the network; all its weights must be trained, because frozen layers cannot be traced.
        x: an input of the network, with which it is traced; its values do not matter.
        amount: share of channels that are removed, from 0 to below 1.
        round_to: the numbers of remaining channels are multiples of this number; CPUs and GPUs process multiples of 8
            or 16 channels faster.

    Raises:
        ValueError: `amount` is out of range, layers are frozen, or the network cannot be pruned in this way.
        ModuleNotFoundError: torch-pruning is not installed.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount={amount}: expected a share of channels from 0 to below 1")
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    if frozen:
        raise ValueError(f"{len(frozen)} parameters are frozen, such as {frozen[0]}; train them first (tuned=['*'])")
    import torch_pruning  # optional; imported here, because only pruning needs it

    training = network.training
    network.eval()
    outputs = [layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1]
    try:
        torch_pruning.pruner.BasePruner(
            network,
            x,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=amount,
            round_to=round_to,
            ignored_layers=outputs,
        ).step()
        with torch.no_grad():
            network(x)
    except (RuntimeError, AssertionError, IndexError, KeyError) as error:
        said = str(error).partition("\n")[0][:160]
        raise ValueError(f"the channels of {type(network).__name__} cannot be pruned ({said})") from error
    network.train(training)


def fit_channels(network: nn.Module, shapes: Mapping[str, torch.Size]) -> None:
    """Shrink the layers of a network, in place, to the shapes of the tensors of a pruned network.

    Only convolutions, linear layers and batch norms are changed, and only to fewer channels. All other differences are
    left to `load_state_dict`, which raises an error.

    Args:
        network: the network as its config describes it.
        shapes: shapes of the tensors by their names in the state dict.
    """
    for name, layer in network.named_modules():
        if not isinstance(layer, (*CONVOLUTIONS, *NORMS, nn.Linear)):
            continue
        for own, value in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
            shape = shapes.get(f"{name}.{own}" if name else own, value.shape)
            smaller = len(shape) == value.ndim and all(0 < a <= b for a, b in zip(shape, value.shape, strict=True))
            if shape != value.shape and smaller:
                value.data = value.data[tuple(slice(length) for length in shape)].clone()
        _set_sizes(layer)


def _set_sizes(layer: nn.Module) -> None:
    """Set the sizes that a layer stores besides its weights."""
    if isinstance(layer, CONVOLUTIONS):
        if layer.groups > 1 and layer.groups == layer.in_channels:  # one group per channel: depthwise
            layer.groups = layer.weight.shape[0] * layer.groups // layer.out_channels
        layer.out_channels, layer.in_channels = layer.weight.shape[0], layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, NORMS) and layer.weight is not None:
        layer.num_features = len(layer.weight)
