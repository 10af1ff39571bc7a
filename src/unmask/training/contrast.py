"""Contrastive losses (InfoNCE, arXiv:1807.03748), and the training loss of `unmask.networks.av_sync.AvSync`."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unmask.training.losses import Outputs, SampleLoss


class SyncContrast(SampleLoss):
    """Train embeddings of mouth and sound to find each other in real clips, and the logits to find the fakes.

    The contrastive term (InfoNCE, arXiv:1807.03748) takes the embeddings of a mouth and of all sounds in the batch: the
    sound at the same frame of the same clip must be the nearest; and the same for a sound and all mouths. It uses real
    clips only, because mouth and sound of a fake may not match. The frames next to the right one are left out, because
    they hardly differ. The second term is a cross-entropy of the logits.

    Args:
        loss: (logit [B], label [B]) -> scalar; also the loss that validation reports.
        temperature: similarities are divided by this number.
        weight: weight of the contrastive term; the weight of `loss` is 1.
    """

    uses_features = True

    def __init__(self, loss: nn.Module, temperature: float = 0.1, weight: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0 or weight < 0:
            raise ValueError(f"temperature={temperature}, weight={weight}: expected above 0, and at least 0")
        self.loss, self.temperature, self.weight = loss, temperature, weight

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of logits [B] and labels [B] for validation -> scalar."""
        value: Tensor = self.loss(logit, label)
        return value

    def of_batch(self, outputs: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Compute the loss of a batch whose features are embeddings [B, T, 2 width] -> scalar."""
        if outputs.features is None or outputs.features.ndim != 3:
            raise ValueError("the loss sync_contrast needs module/network=av_sync, whose features are embeddings")
        label = batch["y"].float()
        real = outputs.features[batch["y"] == 0]
        found: Tensor = self.loss(outputs.logit, label)
        return found + self.weight * contrast(real, self.temperature) if len(real) else found


def contrast(features: Tensor, temperature: float) -> Tensor:
    """Compute the InfoNCE loss of embeddings [B, T, 2 width], whose halves are those of mouth and sound -> scalar."""
    clips, frames = features.shape[:2]
    mouth, sound = features.flatten(0, 1).float().chunk(2, dim=1)  # [B * T, width]
    with torch.autocast(features.device.type, enabled=False):  # bfloat16 is too coarse for cosines near 1
        similarity = mouth @ sound.T / temperature
    number = torch.arange(clips * frames, device=features.device)
    same = number[:, None] // frames == number // frames
    near = (number[:, None] - number).abs() == 1
    return info_nce(similarity.masked_fill(same & near, -torch.inf))


def info_nce(similarity: Tensor) -> Tensor:
    """Compute the symmetric InfoNCE loss of similarities [N, N], whose diagonal belongs to matching pairs -> scalar.

    It is the mean of the cross-entropies of rows and of columns (CLIP, arXiv 2103.00020, figure 3).
    """
    own = torch.arange(len(similarity), device=similarity.device)
    return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2
