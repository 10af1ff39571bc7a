"""Metrics of generated images: PSNR, SSIM, identity and flicker of pairs; Frechet and other distances between sets.

A Frechet distance is called FID only if its features come from the Inception network with which FID was defined (arXiv
1706.08500). Otherwise, its name contains the name of the features. Distances on different features cannot be compared.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

BORDER = 5  # px: half the width of SSIM's window, without the pixel at its centre
WINDOW = 2 * BORDER + 1  # px: the minimum side of an image for SSIM
PEAK = 60.0  # dB: limit of the PSNR, which is infinite for identical images; as in libvmaf: 6 x bits + 12 = 60
BLOCK = 1024  # number of rows that are compared at once with a whole set; larger blocks would need gigabytes


def decibel(error: Tensor) -> Tensor:
    """Convert mean squared errors of values in [0, 1] to PSNR in dB, at most `PEAK`.

    The bound keeps a mean over images finite even if some images equal their originals. Rounding to 8 bits alone gives
    a PSNR of 58.9 dB, so higher values have no meaning for 8-bit images.
    """
    return (-10 * error.log10()).clamp(max=PEAK)


def psnr(made: Tensor, original: Tensor) -> Tensor:
    """Compute the PSNR of each image: `made` and `original` [N, 3, H, W] in [0, 1] -> [N], dB, at most `PEAK`."""
    return decibel((made.float() - original.float()).square().mean((1, 2, 3)))


def ssim(made: Tensor, original: Tensor) -> Tensor:
    """Compute the SSIM of each image (doi 10.1109/TIP.2003.819861): two batches [N, 3, H, W] in [0, 1] -> [N].

    As in the paper, the window is a Gaussian of 11 px with standard deviation 1.5. Pixels whose
    window would cross the border of the image are excluded.

    Raises:
        ValueError: If the images are smaller than the window.
    """
    require_window(made)
    found = structural_similarity_index_measure(made.float(), original.float(), data_range=1.0, return_full_image=True)
    each: Tensor = found[1][..., BORDER:-BORDER, BORDER:-BORDER]
    return each.mean((1, 2, 3))


def require_window(pictures: Tensor) -> None:
    """Raise an error for images [..., H, W] that are smaller than the window of SSIM.

    Raises:
        ValueError: If a side is shorter than `WINDOW`.
    """
    height, width = pictures.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {WINDOW} px on each side, got {width}x{height} px; use larger pictures "
            "(image_size)"
        )


def frechet(real: Tensor, made: Tensor) -> float:
    """Compute the Frechet distance of two sets of features, modelled as Gaussians (arXiv 1706.08500, equation 6).

    Args:
        real: features [N, F]; if N is below F, the covariance is rank-deficient and the distance depends strongly on N.
        made: features [M, F]; the same holds for M.

    Returns:
        The distance; NaN if a set has fewer than two rows, for which there is no covariance.
    """
    if min(len(real), len(made)) < 2:
        return float("nan")
    real, made = real.double(), made.double()
    distance = (real.mean(0) - made.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (real, made))  # covariances are a'a and b'b
    # The trace of (a'a b'b)^1/2 is the sum of the singular values of ab', which are also those of Ra Rb' (a = Qa Ra).
    triangles = [torch.linalg.qr(x, mode="r").R for x in (a, b)]
    cross = torch.linalg.svdvals(triangles[0] @ triangles[1].T).sum()
    return float(distance + a.square().sum() + b.square().sum() - 2 * cross)


def kernel(real: Tensor, made: Tensor) -> float:
    """Compute the unbiased kernel distance of features [N, F] and [M, F] (arXiv 1801.01401, equation 4).

    The kernel is (x . y / F + 1)^3. All pairs of rows are used. Many implementations of KID average over
    subsets of 1000 rows instead; both results have the same expected value. The result is NaN if a set has fewer than
    two rows.
    """
    if min(len(real), len(made)) < 2:
        return float("nan")
    real, made = real.double(), made.double()
    within = sum((_kernel(x, x) - _kernel_diagonal(x)) / (len(x) * (len(x) - 1)) for x in (real, made))
    return float(within - 2 * _kernel(real, made) / (len(real) * len(made)))


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Sum the kernel over all pairs of a row of `a` and a row of `b`."""
    return torch.stack([(part @ b.T / b.shape[1] + 1).pow(3).sum() for part in _blocks(a)]).sum()


def _kernel_diagonal(a: Tensor) -> Tensor:
    return (a.square().sum(1) / a.shape[1] + 1).pow(3).sum()


def inception_score(logits: Tensor, parts: int = 10) -> float:
    """Compute the Inception Score: exp of the mean KL(p(y|x) || p(y)) (arXiv 1606.03498, section 4).

    Args:
        logits: class logits [N, C]; the result is an Inception Score only for logits of the published network.
        parts: number of parts into which the set is divided. The result is the mean score of the parts. The paper uses
            10 parts. Each part has at least two images, because the score of a single image is always 1.

    Returns:
        The score; NaN for fewer than two images.
    """
    if len(logits) < 2:
        return float("nan")
    found = []
    for part in logits.double().log_softmax(1).tensor_split(min(parts, len(logits) // 2)):
        marginal = part.logsumexp(0) - math.log(len(part))
        found.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    return float(torch.stack(found).mean())


def nearest(rows: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the `count` nearest neighbours of each row [N, F] in `among` [M, F].

    Returns:
        Euclidean distances [N, count] and indices [N, count].
    """
    among = among.double()
    found = [torch.cdist(part, among).topk(count, largest=False) for part in _blocks(rows.double())]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def precision_recall(real: Tensor, made: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Compute precision and recall (arXiv 1904.06991).

    Precision is the share of generated images on the manifold of the real images; recall is the share of real images on
    the manifold of the generated images. The manifold of a set is the union of balls, one around each image. The radius
    of a ball is the distance from the image to its k-th neighbour in the set.

    Args:
        real: features [N, F].
        made: features [M, F]. Both metrics depend on N and M; the paper uses 50,000 images in each set.
        neighbours: k; the paper uses 3.

    Returns:
        Precision and recall; NaN if a set has k rows or fewer.
    """
    if min(len(real), len(made)) <= neighbours:
        return float("nan"), float("nan")
    return _covered(made, real, neighbours), _covered(real, made, neighbours)


def _covered(rows: Tensor, among: Tensor, neighbours: int) -> float:
    """Return the share of `rows` that lie on the manifold of `among`."""
    radius = nearest(among, among, neighbours + 1)[0][:, -1]  # the nearest one is the image itself
    among = among.double()
    inside = [(torch.cdist(part, among) <= radius).any(1) for part in _blocks(rows.double())]
    return float(torch.cat(inside).double().mean())


def identity(made: Tensor, original: Tensor) -> Tensor:
    """Compute the cosine similarity [N] of N pairs of face-recognition embeddings; each argument is [N, F]."""
    return cosine_similarity(made.float(), original.float(), dim=1)


def flicker(made: Tensor, original: Tensor) -> Tensor:
    """Compute how much more a generated video changes from frame to frame than its original.

    The change of a video is the mean of |x[t + 1] - x[t]| over time, channels and pixels. The result is the change of
    the generated video minus that of the original: positive if the generated video flickers, negative if it is
    smoother. Only amounts of change are compared, so a result of 0 does not mean that the videos look alike.

    Args:
        made: generated videos [..., T, 3, H, W] in [0, 1], with at least two frames.
        original: original videos of the same shape, with frames at the same times.

    Returns:
        One difference per video [...], in [-1, 1].
    """
    if made.shape != original.shape or made.shape[-4] < 2:
        raise ValueError(
            f"flicker needs two videos of the same shape with at least 2 frames, but got {list(made.shape)} and "
            f"{list(original.shape)}"
        )
    dims = (-4, -3, -2, -1)
    return made.float().diff(dim=-4).abs().mean(dims) - original.float().diff(dim=-4).abs().mean(dims)
