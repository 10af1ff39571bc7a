"""How good generated pictures are: against originals (PSNR, SSIM), and set against set (Frechet, kernel distance).

A Frechet distance is called FID only in the features of the Inception network that it was defined with
(arXiv 1706.08500); in others it bears the name of these, and figures of different features are not compared.
"""

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.kid import poly_mmd

BORDER = 5  # px: half of SSIM's window


def psnr(made: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture: both [N, 3, H, W] in [0, 1] -> [N], dB."""
    dims = (1, 2, 3)
    found: Tensor = peak_signal_noise_ratio(made.float(), original.float(), 1.0, reduction="none", dim=dims)
    return found


def ssim(made: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of each picture (doi 10.1109/TIP.2003.819861): both [N, 3, H, W] in [0, 1] -> [N].

    A Gaussian window of 11 px and deviation 1.5, as in the paper; where it would hang over the border nothing counts.
    """
    found = structural_similarity_index_measure(made.float(), original.float(), data_range=1.0, return_full_image=True)
    each: Tensor = found[1][..., BORDER:-BORDER, BORDER:-BORDER]
    return each.mean((1, 2, 3))


def frechet(real: Tensor, made: Tensor) -> float:
    """Frechet distance of two sets of features, each taken for Gaussian (arXiv 1706.08500, equation 6).

    Args:
        real: [N, F]; fewer than F rows give a covariance without full rank, and a figure that depends on N.
        made: [M, F].
    """
    real, made = real.double(), made.double()
    distance = (real.mean(0) - made.mean(0)).square().sum()
    a, b = torch.cov(real.T), torch.cov(made.T)
    # The trace of (ab)^1/2 is the sum of the roots of its eigenvalues, which are those of a^1/2 b a^1/2: not negative.
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return float(distance + a.trace() + b.trace() - 2 * cross)


def kernel(real: Tensor, made: Tensor) -> float:
    """Kernel distance of two sets of features [N, F] and [N, F], equally many (arXiv 1801.01401); without bias.

    The kernel is (x . y / F + 1)^3.
    """
    return float(poly_mmd(real.double(), made.double()))
