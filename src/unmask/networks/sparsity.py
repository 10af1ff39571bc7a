"""Unstructured pruning: set the weights with the smallest magnitudes to zero; the architecture does not change.

Weights of convolutions and linear layers are pruned; biases and norms, which are few, are not. A file with many zeros
can be compressed. A network with many zeros is not faster on common hardware, because dense kernels also multiply the
zeros; `networks.pruning` removes whole channels, which saves time.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained weights of convolutions and linear layers, by name."""
    layers = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, LAYERS)}
    return {name: value for name, value in network.named_parameters() if name in layers and value.requires_grad}


def magnitude_masks(weights: Mapping[str, Tensor], amount: float) -> dict[str, Tensor]:
    """Return masks that are False for the weights with the smallest magnitudes in all layers together.

    Args:
        weights: tensors by name.
        amount: share of weights to mask, 0 to 1. Exactly round(amount * number of weights) weights are masked; among
            equal magnitudes, the first ones are.

    Raises:
        ValueError: `amount` is out of range.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"amount={amount}: expected a share of weights from 0 to 1")
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    keep = torch.ones_like(flat, dtype=torch.bool)
    keep[flat.argsort(stable=True)[: round(amount * len(flat))]] = False
    parts = torch.split(keep, [weight.numel() for weight in weights.values()])
    return {name: part.view_as(weights[name]) for name, part in zip(weights, parts, strict=True)}


def sparsity(network: nn.Module) -> float:
    """Return the share of zeros among the weights of convolutions and linear layers, trained or not; 0 without any."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, LAYERS)]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0


def cubic(progress: float, begin: float, end: float, amount: float) -> float:
    """Return the share of zeros at a time of the training: fast at first, slowly at the end.

    amount * (1 - (1 - (progress - begin) / (end - begin))^3), equation 1 of Zhu and Gupta (arXiv 1710.01878) with an
    initial sparsity of 0.

    Args:
        progress: completed share of the training, 0 to 1.
        begin: share of the training at which pruning starts; before it, the result is 0.
        end: share of the training at which `amount` is reached.
        amount: final share of zeros.
    """
    if progress >= end:
        return amount
    if progress < begin:
        return 0.0
    return amount * (1 - (1 - (progress - begin) / (end - begin)) ** 3)
