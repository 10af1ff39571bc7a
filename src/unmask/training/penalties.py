"""Penalties on gradients that are computed only at every few updates (lazy regularisation, arXiv 1912.04958, 3.1).

A penalty is multiplied by the number of updates from one to the next, so that its mean over the updates does not depend
on how often it is computed. It is added to the loss of the update; the paper makes an update of its own.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmask.training.adversarial import Score
from unmask.training.draws import OWN, Draws


class R1(nn.Module):
    """Penalise the discriminator's gradient at real images (arXiv 1801.04406).

    Args:
        weight: gamma; the penalty is gamma / 2 x the squared norm of the gradient. Larger images and smaller batches
            need larger values.
        every: number of the discriminator's updates from one penalty to the next; 16 in the paper of StyleGAN2.
    """

    def __init__(self, weight: float = 1.0, every: int = 16) -> None:
        super().__init__()
        _check("penalty_d", weight, every)
        self.weight, self.every = weight, every

    def forward(self, score: Score, real: Tensor) -> Tensor:
        """Compute the penalty in float32, times `every`.

        Args:
            score: images -> scores [B].
            real: real images [B, 3, S, S], as the discriminator sees them. With augmentation, these are augmented
                images, because PyTorch cannot differentiate the sampling of an image twice.
        """
        with torch.autocast(real.device.type, enabled=False), torch.enable_grad():
            x = real.detach().float().requires_grad_(True)
            (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
            return self.every * self.weight / 2 * gradient.square().flatten(1).sum(1).mean()


class PathLength(nn.Module):
    """Penalise changes in how far an image moves when its styles move (arXiv 1912.04958, section 3.2).

    Args:
        weight: weight of the squared deviation from the running mean of the lengths.
        every: number of the generator's updates from one penalty to the next; 4 in the paper of ADA.
        decay: decay of the running mean.
    """

    mean: Tensor  #: running mean of the lengths

    def __init__(self, weight: float = 2.0, every: int = 4, decay: float = 0.99) -> None:
        super().__init__()
        _check("penalty_g", weight, every)
        if not 0 <= decay < 1:
            raise ValueError(f"module.penalty_g.decay={decay}: expected a number from 0 to below 1, such as 0.99")
        self.weight, self.every, self.decay = weight, every, decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(
        self,
        render: Callable[[Tensor], Tensor],
        codes: Tensor,
        draws: Draws = OWN,
        across: Callable[[Tensor], Tensor] = lambda mean: mean,
    ) -> Tensor:
        """Compute the penalty in float32, times `every`, and update the running mean.

        Args:
            render: codes -> images [B, 3, S, S].
            codes: styles of each layer [B, layers, L], with the graph of the mapping network.
            draws: the random numbers of the step.
            across: mean over this process's images -> mean over the images of all processes.
        """
        with torch.autocast(codes.device.type, enabled=False), torch.enable_grad():
            images = render(codes)
            noise = draws.normal(images, *images.shape[1:]) / (images.shape[2] * images.shape[3]) ** 0.5
            (gradient,) = torch.autograd.grad((images * noise).sum(), codes, create_graph=True)
            lengths = gradient.square().sum(-1).mean(1).sqrt()  # [B]
            self.mean.lerp_(across(lengths.detach().mean()), 1 - self.decay)
            return self.every * self.weight * (lengths - self.mean.clone()).square().mean()


def _check(key: str, weight: float, every: int) -> None:
    if weight < 0 or every < 1:
        raise ValueError(
            f"module.{key}.weight={weight}, module.{key}.every={every}: expected a weight of 0 or more, and every of "
            "at least 1 update"
        )
