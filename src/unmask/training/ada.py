"""Adaptive discriminator augmentation (ADA, arXiv 2006.06676): as much augmentation as the discriminator needs.

With few images, a discriminator memorises them: its scores of real training images rise. ADA measures the mean sign of
these scores, and makes augmentations more or less probable, so that the mean sign stays near a target.
"""

import math
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from unmask.training.diffaug import square
from unmask.training.draws import OWN, Draws

# Random numbers for each image: whether an augmentation is applied, values from [0, 1), and normal values.
GEOMETRIC, COLOURS = 8, 5  # number of augmentations
UNIFORM, NORMAL = 8, 7


class ADA(nn.Module):
    """Augment images with a probability that follows how much the discriminator overfits.

    Each augmentation is applied to an image with the probability `p`: pixel blitting (mirroring, rotation by 90
    degrees, shift by whole pixels), geometry (scaling, rotation, stretching, shift) and colours (brightness, contrast,
    inverted luma, hue, saturation), with the strengths of the paper's appendix B. All geometric changes of an image are
    one bilinear interpolation; outside of the image, it is mirrored. (The paper filters with wavelets; a bilinear
    interpolation smoothes more.)

    Args:
        target: mean sign of the scores of real images to which `p` is adjusted; 0.6 in the paper.
        images: number of images after which `p` can rise from 0 to 1; 500,000 in the paper.
        every: number of batches from one adjustment of `p` to the next.
        geometry: whether to apply pixel blitting and geometry.
        colour: whether to change colours.
        cutout: side of a grey square, as a share of the side, which is added with the probability `p`; 0 for none.
    """

    p: Tensor  #: probability of each augmentation
    seen: Tensor  #: since the last adjustment: sum of the signs, number of images, number of batches
    sign: Tensor  #: mean sign at the last adjustment

    def __init__(
        self,
        target: float = 0.6,
        images: int = 500_000,
        every: int = 4,
        geometry: bool = True,
        colour: bool = True,
        cutout: float = 0.0,
    ) -> None:
        super().__init__()
        if not -1 < target < 1 or images < 1 or every < 1 or not 0 <= cutout < 1:
            raise ValueError(
                f"target={target}, images={images}, every={every}, cutout={cutout}: expected a target between -1 and "
                "1, images and every of 1 or more, and cutout from 0 to below 1"
            )
        self.target, self.images, self.every = target, images, every
        self.geometry, self.colour, self.cutout = geometry, colour, cutout
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("sign", torch.zeros(()))

    def forward(self, x: Tensor, draws: Draws = OWN) -> Tensor:
        """Augment images [B, 3, S, S] in [-1, 1] -> same shape, in float32; gradients flow through."""
        x = x.float()
        uniform = draws.uniform(x, GEOMETRIC + COLOURS + 1 + UNIFORM)
        normal = draws.normal(x, NORMAL)
        p = self.p
        both = 1 - (1 - p).sqrt()  # of each of the two rotations, so that one of them is applied with probability p
        limits = torch.stack([p, p, p, p, both, p, both, p] + [p] * (COLOURS + 1))
        applied, uniform = uniform[:, : len(limits)] < limits, uniform[:, len(limits) :]
        with torch.autocast(x.device.type, enabled=False):
            if self.geometry:
                x = _moved(x, inverse_geometry(applied[:, :GEOMETRIC], uniform, normal, x.shape[-1]))
            if self.colour:
                x = _recoloured(x, colours(applied[:, GEOMETRIC:-1], uniform[:, -2:], normal[:, -3:]))
            if size := round(self.cutout * x.shape[-1]):
                x = x * ~(square(x, size, draws) & applied[:, -1, None, None, None])
        return x

    def watch(self, sign: Tensor, count: int) -> None:
        """Adjust `p` after every few batches; see `training.diffaug.Augment`."""
        self.seen += torch.stack([sign * count, torch.full_like(sign, count), torch.ones_like(sign)])
        if int(self.seen[2]) < self.every:
            return
        total, images, _ = self.seen.unbind()
        self.sign.copy_(total / images)
        self.p.add_((self.sign - self.target).sign() * images / self.images).clamp_(0, 1)
        self.seen.zero_()

    def state(self) -> dict[str, Tensor]:
        """Return the probability of each augmentation, and the mean sign that it follows."""
        return {"ada_p": self.p, "ada_sign": self.sign}


def inverse_geometry(applied: Tensor, uniform: Tensor, normal: Tensor, side: int) -> Tensor:
    """Return matrices [B, 3, 3] from coordinates in the augmented image to those in the original, in [-1, 1].

    Args:
        applied: bool [B, 8]: mirroring, rotation by 90 degrees, shift by whole pixels, scaling, first rotation,
            stretching, second rotation, shift.
        uniform: values in [0, 1) [B, 6 or more].
        normal: standard normal values [B, 4 or more].
        side: side of the images, px.
    """

    def chosen(at: int, value: Tensor, otherwise: float = 0.0) -> Tensor:
        return torch.where(applied[:, at], value, torch.full_like(value, otherwise))

    pixels = (2 * uniform[:, 2:4] - 1) * 0.125 * side
    shift = [chosen(2, pixels[:, at].round() * 2 / side) for at in (0, 1)]
    drift = [chosen(7, normal[:, at] * 0.125 * 2) for at in (2, 3)]
    mirror = chosen(0, 1 - 2 * (2 * uniform[:, 0]).floor(), 1.0)
    larger = chosen(3, torch.exp2(-0.2 * normal[:, 0]), 1.0)
    wider = chosen(5, torch.exp2(-0.2 * normal[:, 1]), 1.0)
    steps = [
        _scaling(mirror, torch.ones_like(mirror)),
        _rotation(chosen(1, (4 * uniform[:, 1]).floor() * math.pi / 2)),
        _translation(*shift),
        _scaling(larger, larger),
        _rotation(chosen(4, (2 * uniform[:, 4] - 1) * math.pi)),
        _scaling(wider, 1 / wider),
        _rotation(chosen(6, (2 * uniform[:, 5] - 1) * math.pi)),
        _translation(*drift),
    ]
    return reduce(torch.matmul, steps)


def colours(applied: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Return matrices [B, 4, 4] that map colours (R, G, B, 1) in [-1, 1] to changed colours.

    Args:
        applied: bool [B, 5]: brightness, contrast, inverted luma, hue, saturation.
        uniform: values in [0, 1) [B, 2].
        normal: standard normal values [B, 3].
    """

    def chosen(at: int, value: Tensor, otherwise: float = 0.0) -> Tensor:
        return torch.where(applied[:, at], value, torch.full_like(value, otherwise))[:, None, None]

    whole = torch.eye(4, device=normal.device)
    axis = torch.tensor([1.0, 1.0, 1.0, 0.0], device=normal.device) / math.sqrt(3)  # of greys
    grey = torch.outer(axis, axis)
    rest = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0], device=normal.device)) - grey
    cross = torch.zeros(4, 4, device=normal.device)  # the matrix of the cross product with the axis
    cross[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=normal.device) / math.sqrt(3)
    last = whole - grey - rest  # the coordinate that is 1
    offset = torch.outer(axis * math.sqrt(3), whole[3])
    brightness = whole + chosen(0, 0.2 * normal[:, 0]) * offset
    contrast = last + chosen(1, torch.exp2(0.5 * normal[:, 1]), 1.0) * (grey + rest)
    luma = whole - chosen(2, 2 * (2 * uniform[:, 0]).floor()) * grey
    angle = chosen(3, (2 * uniform[:, 1] - 1) * math.pi)
    hue = last + grey + angle.cos() * rest + angle.sin() * cross
    saturation = last + grey + chosen(4, torch.exp2(normal[:, 2]), 1.0) * rest
    return reduce(torch.matmul, [saturation, hue, luma, contrast, brightness])


def _moved(x: Tensor, matrices: Tensor) -> Tensor:
    grid = affine_grid(matrices[:, :2], list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _recoloured(x: Tensor, matrices: Tensor) -> Tensor:
    flat = matrices[:, :3, :3] @ x.flatten(2) + matrices[:, :3, 3:]
    return flat.view_as(x)


def _scaling(across: Tensor, down: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([across, down, torch.ones_like(down)], dim=1))


def _rotation(angle: Tensor) -> Tensor:
    zero, one, c, s = torch.zeros_like(angle), torch.ones_like(angle), angle.cos(), angle.sin()
    return torch.stack([c, s, zero, -s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)


def _translation(across: Tensor, down: Tensor) -> Tensor:
    zero, one = torch.zeros_like(across), torch.ones_like(across)
    return torch.stack([one, zero, -across, zero, one, -down, zero, zero, one], dim=1).view(-1, 3, 3)
