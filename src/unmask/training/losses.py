"""Losses for detectors and localisers: (logit, label) -> scalar. They apply the sigmoid to the logits."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Compute cross-entropy per element, in float32 because bfloat16's three digits are too few for batch sums."""
    if logit.shape != target.shape:
        raise ValueError(f"logit {list(logit.shape)} and label {list(target.shape)} must have the same shape")
    return binary_cross_entropy_with_logits(logit.float(), target.float(), reduction="none")


class BCE(nn.Module):
    """Binary cross-entropy with label smoothing and a class weight.

    Args:
        smoothing: label smoothing, in [0, 1): with 0.1, label 1 becomes 0.95 and 0 becomes 0.05 (arXiv 1512.00567,
            section 7).
        fake_weight: weight of fake samples in the loss; (number of real) / (number of fake) balances the classes.
    """

    def __init__(self, smoothing: float = 0.0, fake_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing={smoothing}: expected a fraction from 0 to below 1")
        if fake_weight <= 0:
            raise ValueError(f"fake_weight={fake_weight}: expected a factor above 0")
        self.smoothing, self.fake_weight = smoothing, fake_weight

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of logits [B] and labels [B] (0 real, 1 fake) -> scalar, nats."""
        soft = label * (1 - self.smoothing) + self.smoothing / 2
        # The weight depends on the true label: with the smoothed label, real samples would get part of the weight.
        weight = 1 + (self.fake_weight - 1) * label
        return (weight * _cross_entropy(logit, soft)).mean()


class Focal(nn.Module):
    """Focal loss: cross-entropy that down-weights well-classified samples (arXiv 1708.02002, equation 5).

    Args:
        gamma: focusing parameter, >= 0. With 0, the loss is cross-entropy; 2 is the best value in the paper.
        alpha: weight of the fake class, in [0, 1]; the weight of the real class is 1 - alpha. If None, both weights
            are 1. The paper uses 0.25 if gamma is 2.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma={gamma}: expected 0 or more")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha}: expected a weight from 0 to 1, or null")
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of logits [B] and labels [B] (0 real, 1 fake) -> scalar, nats."""
        loss = _cross_entropy(logit, label)
        # (1 - p_t)^gamma is computed from its logarithm, since for gamma < 1 the power has no finite gradient at 0.
        fade = torch.exp(self.gamma * logsigmoid(logit.float() * (1 - 2 * label)))
        if self.alpha is not None:
            loss = loss * (self.alpha * label + (1 - self.alpha) * (1 - label))
        return (fade * loss).mean()


class Outputs(NamedTuple):
    """The outputs of a detector for a batch.

    Attributes:
        logit: logits [B].
        features: the features [B, F] or [B, T, F] from which the logits were computed; None unless the loss uses them.
    """

    logit: Tensor
    features: Tensor | None = None


class SampleLoss(nn.Module):
    """A loss that also depends on the samples themselves, such as the distance to the outputs of another network.

    A detector is trained with `of_batch`. Validation and test log the value of `forward`, which depends on logits and
    labels only, so that the losses of runs with different training losses can be compared.

    Attributes:
        uses_features: whether the loss depends on the features of the detector.
    """

    uses_features = False

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of logits [B] and labels [B] for validation -> scalar."""
        raise NotImplementedError

    def of_batch(self, outputs: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Compute the training loss of a batch with `x` [B, (T,) 3, H, W] in [0, 1] and `y` [B] -> scalar."""
        raise NotImplementedError


class BatchLoss(nn.Module):
    """A loss that is not a mean over samples, but a function of means over the samples of a batch.

    Several processes that divide a batch average these means before they compute the loss, so that the loss is that of
    the whole batch.
    """

    def terms(self, logit: Tensor, target: Tensor) -> Tensor:
        """Compute the terms of each sample -> [B, K]."""
        raise NotImplementedError

    def of(self, mean: Tensor, count: int) -> Tensor:
        """Compute the loss from the mean [K] of the terms of `count` samples."""
        raise NotImplementedError

    def forward(self, logit: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of a batch -> scalar."""
        return self.of(self.terms(logit, target).mean(0), len(logit))


class BCEDice(BatchLoss):
    """Pixel-wise cross-entropy plus a soft Dice term, in which a manipulated region counts equally at any size.

    The Dice coefficient is that of V-Net (arXiv 1606.04797, section 3). It is computed over all pixels of the batch,
    because it is undefined for a single pristine image. Numerator and denominator are increased by 1, so that a batch
    of pristine images trains the network to predict empty masks.

    Args:
        dice: weight of the term 1 - Dice, >= 0; the weight of cross-entropy is 1.
    """

    def __init__(self, dice: float = 1.0) -> None:
        super().__init__()
        if dice < 0:
            raise ValueError(f"dice={dice}: expected 0 or more")
        self.dice = dice

    def terms(self, logit: Tensor, target: Tensor) -> Tensor:
        """Compute cross-entropy, intersection and squares of logits and masks, both [B, 1, H, W] -> [B, 3]."""
        prob, truth = logit.float().sigmoid(), target.float()
        entropy, squares = _cross_entropy(logit, target), prob.square() + truth.square()
        sums = [part.flatten(1).sum(1) for part in (prob * truth, squares)]
        return torch.stack([entropy.flatten(1).mean(1), *sums], dim=1)

    def of(self, mean: Tensor, count: int) -> Tensor:
        """Compute the loss from the mean terms [3] of `count` images."""
        entropy, shared, squares = mean
        loss: Tensor = entropy + self.dice * (1 - (2 * count * shared + 1) / (count * squares + 1))
        return loss
