"""Meso3d: Meso4 adapted to clips. The first stages also convolve over time.

The four small stages and the head come from "MesoNet", Afchar et al. 2018, arXiv 1809.00888. The 3-D convolutions can
be factorised as in "A Closer Look at Spatiotemporal Convolutions", Tran et al. 2018, arXiv 1711.11248. Two things are
new here: the combination of the two papers, and the stride of 2 in the first stage. Without this stride, the first
stage would cost more than all other stages.
"""

import torch
from torch import Tensor, nn

from unmask.networks.cnn_lstm import change

STRIDE = 32  # total stride of the first convolution and the three poolings, 2 * 2 * 2 * 4
STAGES = ((5, 2, 1), (3, 1, 2), (5, 1, 2), (5, 1, 4))  # spatial kernel, stride and pooling of each stage
SPAN = 3  # frames covered by a 3-D kernel


class Meso3d(nn.Module):
    """Classify a clip with convolutions over space and time in early stages, and over space only in later stages.

    Meso4's head classifies the mean of the features over time. At 256 px, the network has about 40,000 parameters.

    Args:
        frames: length T of a clip, at least 2; the network itself accepts any length of at least 2.
        image_size: side of the square input in px, a multiple of 32.
        width: channels of every stage.
        volumes: number of early stages that also convolve over time, 1 to 4.
        factorised: whether the early stages convolve first over space and then over time, (2+1)D, instead of over both
            at once.
        differences: whether the first stage gets 6 channels: the frame and its difference from the previous frame.
        dropout: dropout probability before each dense layer, 0 to 1.
        norm_momentum: weight of the newest batch in the running statistics (see `Meso4`).

    Raises:
        ValueError: an argument is invalid; the message says what is valid.
    """

    def __init__(
        self,
        frames: int | None,
        image_size: int = 256,
        width: int = 16,
        volumes: int = 2,
        factorised: bool = True,
        differences: bool = False,
        dropout: float = 0.5,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        if frames is None or frames < 2:
            raise ValueError(f"frames={frames}: Meso3d expects clips; set frames, for example frames=8")
        if image_size < STRIDE or image_size % STRIDE:
            near = max(STRIDE, round(image_size / STRIDE) * STRIDE)
            raise ValueError(f"image_size={image_size}: Meso3d expected a multiple of {STRIDE}, such as {near}")
        if not 1 <= volumes <= len(STAGES):
            raise ValueError(f"volumes={volumes}: expected a number of stages from 1 to {len(STAGES)}")
        self.image_size, self.differences = image_size, differences
        inside = [6 if differences else 3, width, width, width]
        self.stages = nn.Sequential(
            *(
                stage(channels, width, SPAN if number < volumes else 1, factorised, norm_momentum, sizes)
                for number, (channels, sizes) in enumerate(zip(inside, STAGES, strict=True))
            )
        )
        self.frames = EachFrame()
        self.num_features = width * (image_size // STRIDE) ** 2
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.num_features, 16),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(16, 1),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of RGB clips x [B, T, 3, H, W] in [0, 1], H = W = image_size."""
        if x.ndim != 5 or x.shape[1] < 2 or x.shape[2:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"Meso3d expected clips [B, T, 3, {self.image_size}, {self.image_size}] of 2 frames or more, but "
                f"got {list(x.shape)}; set image_size to that of the data, and frames, for example frames=8"
            )
        if self.differences:
            x = torch.cat([x, change(x)], dim=2)  # [B, T, 6, H, W]
        # On a CPU, the channels-last layout more than halves the time of the first stages.
        volume = (2 * x - 1).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        maps: Tensor = self.frames(self.stages(volume))  # [B * T, C, h, w]
        return maps.flatten(1).view(*x.shape[:2], -1).mean(1)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB clips x [B, T, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))


class EachFrame(nn.Module):
    """Reshape a volume [B, C, T, h, w] into feature maps of frames [B * T, C, h, w], from which heat maps are drawn."""

    def forward(self, volume: Tensor) -> Tensor:
        """Return the feature maps [B * T, C, h, w] of a volume [B, C, T, h, w]."""
        return volume.transpose(1, 2).flatten(0, 1)


def stage(
    inside: int, outside: int, span: int, factorised: bool, momentum: float, sizes: tuple[int, int, int]
) -> nn.Sequential:
    """Build a stage: convolution, pooling, batch norm, ReLU. Batch norm and ReLU cost less after pooling.

    Args:
        inside: channels of the input.
        outside: channels of the output.
        span: number of frames covered by the convolution.
        factorised: whether a convolution over several frames is split into one over space and one over time.
        momentum: momentum of the batch norm.
        sizes: spatial kernel, stride and pooling.
    """
    kernel, stride, pool = sizes
    convolution = convolve(inside, outside, span, kernel, stride, factorised and span > 1)
    pooling = [nn.MaxPool3d((1, pool, pool))] if pool > 1 else []
    return nn.Sequential(*convolution, *pooling, nn.BatchNorm3d(outside, momentum=momentum), nn.ReLU())


def convolve(
    inside: int, outside: int, span: int, kernel: int, stride: int = 1, factorised: bool = False
) -> list[nn.Module]:
    """Build a 3-D convolution over `span` frames and `kernel` px; if `factorised`, build two convolutions instead.

    The first of the two convolves over space, the second over time. Together, they have about as many parameters as the
    3-D convolution (arXiv 1711.11248, section 3.5).
    """
    across, halving, sides = (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2)
    if not factorised:
        return [nn.Conv3d(inside, outside, (span, *across[1:]), halving, (span // 2, *sides[1:]), bias=False)]
    area = kernel * kernel
    middle = span * area * inside * outside // (area * inside + span * outside)
    space = nn.Conv3d(inside, middle, across, halving, sides)
    return [space, nn.ReLU(), nn.Conv3d(middle, outside, (span, 1, 1), padding=(span // 2, 0, 0), bias=False)]
