"""Feature networks that judge generated pictures: pictures [N, 3, H, W] in [0, 1] -> features [N, F]."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

SIDE = 64  # px at which pictures are looked at


class RandomFeatures(nn.Module):
    """A fixed random convolutional network: a stand-in where no trained one is at hand, the same on every machine.

    Random convolutions with a nonlinearity tell textures and layouts apart without having learned (Ulyanov et al.,
    arXiv 1711.10925, of untrained networks as priors; Naeem et al., arXiv 2002.09797, section 3.3, of random embeddings
    for judging samples). A distance in its features says whether training gets nearer to the data; it is no FID and is
    compared with nothing but itself.

    Args:
        width: channels of the first stage; features are the mean and the deviation of each stage's channels.
    """

    name = "random"  #: what figures in these features are called by

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = [3, width, 2 * width, 2 * width]
        for at, (inside, outside) in enumerate(pairwise(widths)):
            # Behind a ReLU the mean square of what comes out is about that of what went in (arXiv 1502.01852).
            weight = torch.randn(outside, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight{at}", weight, persistent=False)
        self.stages = len(widths) - 1
        self.num_features = 2 * sum(widths[1:])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] in [0, 1] -> [N, F]."""
        if x.shape[-2:] != (SIDE, SIDE):
            x = interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        x = 4 * x.float() - 2
        found = []
        for at in range(self.stages):
            weight: Tensor = getattr(self, f"weight{at}")
            x = nn.functional.conv2d(x, weight, stride=2, padding=1).relu()
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, dim=1)
