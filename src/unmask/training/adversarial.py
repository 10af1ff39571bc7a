"""Losses of a generator against a discriminator: scores, larger means real -> scalars, each side's own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

Score = Callable[[Tensor], Tensor]


class Adversarial(nn.Module):
    """What each loss gives; scores are [B]."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scores of real and of generated pictures -> the discriminator's loss."""
        raise NotImplementedError

    def generator(self, fake: Tensor) -> Tensor:
        """Scores of generated pictures -> the generator's loss."""
        raise NotImplementedError

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator pays besides; nothing, for most."""
        return real.new_zeros(())


class CrossEntropy(Adversarial):
    """The first one, with the generator's loss that does not saturate (arXiv 1406.2661).

    Args:
        smoothing: real pictures are to score this much less than certain, in [0, 0.5) (arXiv 1606.03498, section 3.4).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 0.5:
            raise ValueError(f"smoothing={smoothing}: expected a share from 0 to below 0.5")
        self.smoothing = smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))), nats."""
        real, fake = real.float(), fake.float()
        right = (1 - self.smoothing) * softplus(-real) + self.smoothing * softplus(real)
        return right.mean() + softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(G(z)), nats."""
        return softplus(-fake.float()).mean()


class Hinge(Adversarial):
    """Scores are pushed beyond 1 and -1 and no further (arXiv 1705.02894); goes with spectral normalisation."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """max(0, 1 - D(x)) + max(0, 1 + D(G(z)))."""
        return relu(1 - real.float()).mean() + relu(1 + fake.float()).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-D(G(z))."""
        return -fake.float().mean()


class WassersteinGP(Adversarial):
    """Wasserstein distance with a gradient penalty (arXiv 1704.00028); five discriminator steps a generator's.

    Args:
        weight: of the penalty; the paper's is 10.
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """D(G(z)) - D(x)."""
        return fake.float().mean() - real.float().mean()

    def generator(self, fake: Tensor) -> Tensor:
        """-D(G(z))."""
        return -fake.float().mean()

    def penalty(self, score: Score, real: Tensor, fake: Tensor) -> Tensor:
        """(|gradient of the score at a random point between a real and a fake| - 1)^2 times the weight, in float32."""
        with torch.autocast(real.device.type, enabled=False), torch.enable_grad():
            share = torch.rand(len(real), 1, 1, 1, device=real.device)
            between = (share * real.float() + (1 - share) * fake.detach().float()).requires_grad_(True)
            (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
            steepness: Tensor = gradient.flatten(1).norm(dim=1)
            return self.weight * (steepness - 1).square().mean()
