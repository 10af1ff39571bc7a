"""How good generated pictures are: against originals (PSNR, SSIM, identity, flicker), and set against set.

A Frechet distance is called FID only in the features of the Inception network that it was defined with
(arXiv 1706.08500); in others it bears the name of these, and figures of different features are not compared.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

BORDER = 5  # px: half of SSIM's window
WINDOW = 2 * BORDER + 1  # px: the least side of a picture that has an SSIM
PEAK = 60.0  # dB: of pictures of 8 bit, as libvmaf has it (6 x bits + 12); equal ones would be infinitely alike
BLOCK = 1024  # rows that are held against all others at once: whole sets would take gigabytes


def decibel(error: Tensor) -> Tensor:
    """Mean squared errors of values in [0, 1] -> PSNR, dB, at most `PEAK`.

    A mean over pictures stays finite where some equal their originals. The bound is about the error of rounding to
    8 bit, 58.9 dB: what lies above it is told apart by no picture of 8 bit.
    """
    return (-10 * error.log10()).clamp(max=PEAK)


def psnr(made: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture: both [N, 3, H, W] in [0, 1] -> [N], dB, at most `PEAK`."""
    return decibel((made.float() - original.float()).square().mean((1, 2, 3)))


def ssim(made: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of each picture (doi 10.1109/TIP.2003.819861): both [N, 3, H, W] in [0, 1] -> [N].

    A Gaussian window of 11 px and deviation 1.5, as in the paper; where it would hang over the border nothing counts.

    Raises:
        ValueError: If the window is larger than the pictures.
    """
    require_window(made)
    found = structural_similarity_index_measure(made.float(), original.float(), data_range=1.0, return_full_image=True)
    each: Tensor = found[1][..., BORDER:-BORDER, BORDER:-BORDER]
    return each.mean((1, 2, 3))


def require_window(pictures: Tensor) -> None:
    """Refuse pictures [..., H, W] that the window of SSIM does not fit into.

    Raises:
        ValueError: A side is shorter than `WINDOW`.
    """
    height, width = pictures.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"SSIM of pictures of {width}x{height} px: its window needs at least {WINDOW} px on each side; use larger "
            "pictures (image_size)"
        )


def frechet(real: Tensor, made: Tensor) -> float:
    """Frechet distance of two sets of features, each taken for Gaussian (arXiv 1706.08500, equation 6).

    Args:
        real: [N, F]; fewer than F rows give a covariance without full rank, and a figure that depends on N.
        made: [M, F].

    Returns:
        The distance; NaN where a set has fewer than two rows, and so no covariance.
    """
    if min(len(real), len(made)) < 2:
        return float("nan")
    real, made = real.double(), made.double()
    distance = (real.mean(0) - made.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (real, made))  # covariances are a'a and b'b
    # The trace of (a'a b'b)^1/2 is the sum of the singular values of ab', which are those of the triangles' product.
    triangles = [torch.linalg.qr(x, mode="r").R for x in (a, b)]
    cross = torch.linalg.svdvals(triangles[0] @ triangles[1].T).sum()
    return float(distance + a.square().sum() + b.square().sum() - 2 * cross)


def kernel(real: Tensor, made: Tensor) -> float:
    """Kernel distance of two sets of features [N, F] and [M, F] (arXiv 1801.01401, equation 4); without bias.

    The kernel is (x . y / F + 1)^3. All pairs are taken, where KID is often the mean over draws of 1000: the
    expectation is the same. NaN where a set has fewer than two rows, and so no pairs.
    """
    if min(len(real), len(made)) < 2:
        return float("nan")
    real, made = real.double(), made.double()
    within = sum((_kernel(x, x) - _kernel_diagonal(x)) / (len(x) * (len(x) - 1)) for x in (real, made))
    return float(within - 2 * _kernel(real, made) / (len(real) * len(made)))


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Sum over all pairs."""
    return torch.stack([(part @ b.T / b.shape[1] + 1).pow(3).sum() for part in _blocks(a)]).sum()


def _kernel_diagonal(a: Tensor) -> Tensor:
    return (a.square().sum(1) / a.shape[1] + 1).pow(3).sum()


def inception_score(logits: Tensor, parts: int = 10) -> float:
    """The exponential of the mean divergence of a picture's classes from all pictures' (arXiv 1606.03498, section 4).

    Args:
        logits: of the classes [N, C]; the score is called so for those of the published network alone.
        parts: the score is the mean over so many parts of the set, 10 as published; fewer where N is less than two
            pictures a part, since a picture alone has a score of 1 whatever it shows.

    Returns:
        The score; NaN of fewer than two pictures.
    """
    if len(logits) < 2:
        return float("nan")
    found = []
    for part in logits.double().log_softmax(1).tensor_split(min(parts, len(logits) // 2)):
        marginal = part.logsumexp(0) - math.log(len(part))
        found.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    return float(torch.stack(found).mean())


def nearest(rows: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each row [N, F] its nearest among others [M, F]: Euclidean distances [N, count] and indices [N, count]."""
    among = among.double()
    found = [torch.cdist(part, among).topk(count, largest=False) for part in _blocks(rows.double())]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def precision_recall(real: Tensor, made: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Share of made pictures that lie among real ones, and of real ones among made ones (arXiv 1904.06991).

    A picture lies among others where one of these has it within the distance of its own k-th neighbour.

    Args:
        real: features [N, F].
        made: features [M, F]; both figures depend on N and M, which the paper has at 50,000.
        neighbours: k, 3 as in the paper.

    Returns:
        Precision and recall; NaN where a set has no more than k rows.
    """
    if min(len(real), len(made)) <= neighbours:
        return float("nan"), float("nan")
    return _covered(made, real, neighbours), _covered(real, made, neighbours)


def _covered(rows: Tensor, among: Tensor, neighbours: int) -> float:
    """Share of rows that lie among others."""
    radius = nearest(among, among, neighbours + 1)[0][:, -1]  # the nearest one is the picture itself
    among = among.double()
    inside = [(torch.cdist(part, among) <= radius).any(1) for part in _blocks(rows.double())]
    return float(torch.cat(inside).double().mean())


def identity(made: Tensor, original: Tensor) -> Tensor:
    """Cosine similarity of each two faces, by embeddings of a network that knows people: both [N, F] -> [N]."""
    return cosine_similarity(made.float(), original.float(), dim=1)


def flicker(made: Tensor, original: Tensor) -> Tensor:
    """How much more a made video changes from frame to frame than its original, frame by frame of the same moments.

    The mean of |made[t + 1] - made[t]| over times, channels and pixels, less that of the original: 0 where both change
    as much; above, the made one flickers; below, it is stiller than the original, as a smoothed one is. Since only the
    amounts are compared, a face that moves as its original does but looks otherwise is not punished.

    Args:
        made: [..., T, 3, H, W] in [0, 1], two frames or more.
        original: the same shape.

    Returns:
        [...], in [-1, 1].
    """
    if made.shape != original.shape or made.shape[-4] < 2:
        raise ValueError(f"flicker compares videos of the same two or more frames, not {made.shape} {original.shape}")
    dims = (-4, -3, -2, -1)
    return made.float().diff(dim=-4).abs().mean(dims) - original.float().diff(dim=-4).abs().mean(dims)
