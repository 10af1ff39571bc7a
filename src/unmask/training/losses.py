"""Losses of a detector or localiser: (logit, label) -> scalar. They take logits; the one sigmoid is inside."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Element by element, in float32 also under autocast: bfloat16 has three digits, too few to sum over a batch."""
    if logit.shape != target.shape:
        raise ValueError(f"logit {list(logit.shape)} and label {list(target.shape)} must have one shape")
    return binary_cross_entropy_with_logits(logit.float(), target.float(), reduction="none")


class BCE(nn.Module):
    """Binary cross-entropy with label smoothing and a class weight.

    Args:
        smoothing: share of the label that is spread over both classes, in [0, 1): 0.1 makes 1 into 0.95, 0 into 0.05
            (arXiv 1512.00567, section 7).
        fake_weight: factor on the loss of fake samples; number of real over number of fake balances them.
    """

    def __init__(self, smoothing: float = 0.0, fake_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing={smoothing}: expected a share from 0 to below 1")
        if fake_weight <= 0:
            raise ValueError(f"fake_weight={fake_weight}: expected a factor above 0")
        self.smoothing, self.fake_weight = smoothing, fake_weight

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Logit and label [B], label 0 real, 1 fake -> scalar, nats."""
        soft = label * (1 - self.smoothing) + self.smoothing / 2
        # The weight goes by the true label: by the smoothed one, real samples would carry some of it too.
        weight = 1 + (self.fake_weight - 1) * label
        return (weight * _cross_entropy(logit, soft)).mean()


class Focal(nn.Module):
    """Focal loss: cross-entropy that fades for samples already classified well (arXiv 1708.02002, equation 5).

    Args:
        gamma: how fast it fades, >= 0; 0 is cross-entropy, 2 the paper's best.
        alpha: weight of the fake class, in [0, 1], where the real class has 1 - alpha; none weighs both by 1. The
            paper's 0.25 belongs to gamma 2.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma={gamma}: expected 0 or more")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha}: expected a weight from 0 to 1, or null")
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Logit and label [B], label 0 real, 1 fake -> scalar, nats."""
        loss = _cross_entropy(logit, label)
        # (1 - p_t)^gamma by its logarithm: as a power it has no finite gradient at 0 for gamma below 1.
        fade = torch.exp(self.gamma * logsigmoid(logit.float() * (1 - 2 * label)))
        if self.alpha is not None:
            loss = loss * (self.alpha * label + (1 - self.alpha) * (1 - label))
        return (fade * loss).mean()


class BCEDice(nn.Module):
    """Of pixels: cross-entropy, and soft Dice, which weighs a manipulated region whatever its share of the picture.

    Dice is that of V-Net (arXiv 1606.04797, section 3), over all pixels of the batch: by itself, an untouched picture
    has none. A pixel is added to both of its sums, so that a batch of such pictures still trains towards empty maps.

    Args:
        dice: weight of one minus Dice, >= 0, beside cross-entropy's 1.
    """

    def __init__(self, dice: float = 1.0) -> None:
        super().__init__()
        if dice < 0:
            raise ValueError(f"dice={dice}: expected 0 or more")
        self.dice = dice

    def forward(self, logit: Tensor, mask: Tensor) -> Tensor:
        """Logit and mask [B, 1, H, W], the mask in [0, 1] -> scalar."""
        entropy = _cross_entropy(logit, mask).mean()
        prob, truth = logit.float().sigmoid(), mask.float()
        overlap = (2 * (prob * truth).sum() + 1) / (prob.square().sum() + truth.square().sum() + 1)
        return entropy + self.dice * (1 - overlap)
