"""Adversarial losses for generator and discriminator: scores [B] -> scalar; larger scores mean real."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from unmask.training.draws import OWN, Draws

Score = Callable[[Tensor], Tensor]


class Adversarial(nn.Module):
    """Interface of adversarial losses; all scores have the shape [B]."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the discriminator's loss from the scores of real and of generated images."""
        raise NotImplementedError

    def generator(self, fake: Tensor) -> Tensor:
        """Compute the generator's loss from the scores of generated images."""
        raise NotImplementedError

    def penalty(self, score: Score, real: Tensor, fake: Tensor, draws: Draws = OWN) -> Tensor:
        """Compute a term that is added to the discriminator's loss; 0 for most losses."""
        return real.new_zeros(())


class CrossEntropy(Adversarial):
    """The original GAN loss, with the non-saturating loss for the generator (arXiv 1406.2661).

    Args:
        smoothing: one-sided label smoothing, in [0, 0.5): the target of real images is 1 - smoothing (arXiv
            1606.03498, section 3.4).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"smoothing={smoothing}: expected a fraction from 0 to below 0.5")
        self.smoothing = smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute -log D(x) - log(1 - D(G(z))), nats."""
        real, fake = real.float(), fake.float()
        right = (1 - self.smoothing) * softplus(-real) + self.smoothing * softplus(real)
        return right.mean() + softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Compute -log D(G(z)), nats."""
        return softplus(-fake.float()).mean()


class Hinge(Adversarial):
    """Hinge loss with margins at 1 and -1 (arXiv 1705.02894); use it with spectral normalisation."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute max(0, 1 - D(x)) + max(0, 1 + D(G(z)))."""
        return relu(1 - real.float()).mean() + relu(1 + fake.float()).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Compute -D(G(z))."""
        return -fake.float().mean()


class WassersteinGP(Adversarial):
    """Wasserstein loss with gradient penalty (arXiv 1704.00028); use 5 discriminator steps per generator step.

    Args:
        weight: weight of the penalty; 10 in the paper.
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute D(G(z)) - D(x)."""
        return fake.float().mean() - real.float().mean()

    def generator(self, fake: Tensor) -> Tensor:
        """Compute -D(G(z))."""
        return -fake.float().mean()

    def penalty(self, score: Score, real: Tensor, fake: Tensor, draws: Draws = OWN) -> Tensor:
        """Compute weight x (|gradient of the score| - 1)^2 at random points between real and fake images (float32)."""
        with torch.autocast(real.device.type, enabled=False), torch.enable_grad():
            share = draws.uniform(real, 1, 1, 1)
            between = (share * real.float() + (1 - share) * fake.detach().float()).requires_grad_(True)
            (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
            steepness: Tensor = gradient.flatten(1).norm(dim=1)
            return self.weight * (steepness - 1).square().mean()
