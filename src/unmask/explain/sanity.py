"""A sanity check: do heat maps depend on what the network learnt?

This is the randomisation test of "Sanity Checks for Saliency Maps", arXiv 1810.03292: the heat maps of a copy of the
network with scrambled weights must differ from those of the network. Otherwise, the maps only show edges and faces and
do not depend on what the network learnt.
"""

from copy import deepcopy

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.explain.gradcam import Maps, heat_maps

ALIKE = 0.5  # a rank correlation above this value causes a warning


def agreement(network: nn.Module, x: Tensor, maps: Maps | None = None, draws: int = 3) -> float:
    """Return how similar a network's heat maps are to those of scrambled copies of it: 1 is identical, 0 unrelated.

    Args:
        network: see `heat_maps`.
        x: frames [B, 3, H, W] or clips [B, T, 3, H, W] in [0, 1].
        maps: the network's own heat maps; None computes them.
        draws: number of copies with scrambled weights.

    Returns:
        Spearman's rank correlation over pixels, averaged over samples and copies. Pairs with a constant map are left
        out; the result is NaN if no pair remains.
    """
    own = heat_maps(network, x) if maps is None else maps
    found = []
    for seed in range(draws):
        for one, other in zip(own, heat_maps(scrambled(network, x, seed), x), strict=True):
            if np.ptp(one) > 0 and np.ptp(other) > 0:  # a constant map has no ranks
                found.append(float(spearmanr(one.ravel(), other.ravel()).statistic))
    return float(np.mean(found)) if found else float("nan")


def scrambled(network: nn.Module, x: Tensor, seed: int = 0) -> nn.Module:
    """Return a copy of the network in which the values of each weight tensor are randomly permuted.

    A permutation keeps the distribution of the values, but nothing else that was learnt. The statistics of batch norm
    are recomputed on `x`, because the old ones do not fit the permuted weights and could shrink activations to zero.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():
        copy = deepcopy(network).eval()
        for weight in copy.parameters():
            order = torch.randperm(weight.numel(), generator=draw).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
        norms = [part for part in copy.modules() if isinstance(part, _BatchNorm)]
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        if norms:
            copy(x.detach().clone().float())
        return copy.eval()
