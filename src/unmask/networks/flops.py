"""How many operations a network takes."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_flops(network: nn.Module, x: Tensor) -> int:
    """Floating-point operations of one forward pass in eval mode: twice the multiply-adds.

    Convolutions, matrix products and attention are counted, as `FlopCounterMode` does; what works place by place
    (norms, activations) is not. Nothing is computed: a copy without values is run.

    Args:
        network: it is left as it is.
        x: an input; only its shape matters.
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        shapes(x.to("meta"))
    return int(counter.get_total_flops())
