"""Count the floating-point operations of a network."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unmask.networks.inputs import Inputs, apply, as_batch


@torch.no_grad()
def count_flops(network: nn.Module, x: Inputs) -> int:
    """Return the number of floating-point operations of a forward pass in eval mode; a multiply-add counts as two.

    Like `FlopCounterMode`, this counts convolutions, matrix products and attention, but no element-wise operations
    (norms, activations). The pass runs on a copy of the network on the meta device, which computes no values.

    Args:
        network: the network; not modified.
        x: an input of the network, or the entries of a batch; only the shapes matter.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        apply(shapes, {name: value.to("meta") for name, value in as_batch(x).items()})
    return int(counter.get_total_flops())
