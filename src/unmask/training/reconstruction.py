"""Reconstruction losses: (reconstructed images, original images), both [B, 3, H, W] in [0, 1] -> scalar."""

from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torchmetrics.functional.image import structural_similarity_index_measure

from unmask.metrics.generation import require_window


class Reconstruction(nn.Module):
    """Weighted sum of squared error, absolute error, 1 - SSIM (each averaged over pixels) and a perceptual distance.

    Args:
        mse: weight of the squared error.
        l1: weight of the absolute error.
        ssim: weight of 1 - SSIM (doi 10.1109/TIP.2003.819861), which preserves edges that the other errors would blur.
        perceptual: module that maps (reconstructed, original) to the distance of each pair [B], such as LPIPS (arXiv
            1801.03924).
        perceptual_weight: weight of the mean of these distances over the batch.
    """

    def __init__(
        self,
        mse: float = 1.0,
        l1: float = 0.0,
        ssim: float = 0.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.0,
    ) -> None:
        super().__init__()
        weights = {"mse": mse, "l1": l1, "ssim": ssim, "perceptual_weight": perceptual_weight}
        if min(weights.values()) < 0 or not any(weights.values()):
            told = ", ".join(f"{name}={value}" for name, value in weights.items())
            raise ValueError(f"{told}: expected weights of 0 or more, at least one of them above 0")
        if (perceptual is None) != (perceptual_weight == 0):
            raise ValueError(
                f"perceptual_weight={perceptual_weight}: expected a weight above 0 if perceptual is set, and 0 "
                "if perceptual is null"
            )
        self.mse, self.l1, self.ssim = mse, l1, ssim
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight

    def forward(self, made: Tensor, original: Tensor) -> Tensor:
        """Compute the loss of reconstructed and original images, both [B, 3, H, W] in [0, 1] -> scalar."""
        made, original = made.float(), original.float()
        loss = self.mse * mse_loss(made, original) + self.l1 * l1_loss(made, original)
        if self.ssim:
            require_window(made)
            found = structural_similarity_index_measure(made, original, data_range=1.0)
            assert isinstance(found, Tensor)
            loss = loss + self.ssim * (1 - found)
        if self.perceptual is not None:
            loss = loss + self.perceptual_weight * self.perceptual(made, original).mean()
        return loss
