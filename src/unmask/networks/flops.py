"""Count the floating-point operations of a network."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_flops(network: nn.Module, x: Tensor) -> int:
    """Return the number of floating-point operations of a forward pass in eval mode; a multiply-add counts as two.

    Like `FlopCounterMode`, this counts convolutions, matrix products and attention, but no element-wise operations
    (norms, activations). The pass runs on a copy of the network on the meta device, which computes no values.

    Args:
        network: the network; not modified.
        x: an input of the network; only its shape matters.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        shapes(x.to("meta"))
    return int(counter.get_total_flops())
