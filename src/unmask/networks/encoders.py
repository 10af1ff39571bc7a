"""Per-frame encoders, which map images [N, C, H, W] in [0, 1] to features [N, num_features].

Each encoder normalises its own input. Its attribute `channels` is the number of input channels C: 3 for RGB. If there
are more than 3, the values of the further channels must be centred at 0.5.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from facenet_pytorch import InceptionResnetV1
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from unmask.networks.timm_models import timm_model
from unmask.networks.weights import facenet_state, load_state, read_state_dict, widen

TIMM_POOLINGS = ("last", "stages", "grid")
FACENET_SMALLEST = 75  # px; for smaller images, a feature map of InceptionResnetV1 would be empty


class SmallEncoder(nn.Module):
    """Encode images with four convolutions; small enough to be trained from scratch on a CPU.

    At width 16, it has about 80,000 parameters. The first convolution has stride 2, because with stride 1 it would cost
    more than all other layers. Its 5x5 kernels still detect the finest texture. The features are the spatial mean of
    the last stage, which shows traces all over the face, and the spatial maximum, which shows local traces. With the
    mean alone, the encoder would need longer training to detect the seams of a pasted face.

    Args:
        channels: number of input channels.
        width: channels of the first stage; the other stages have 2, 4 and 6 times as many.
    """

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.channels, self.num_features = channels, 2 * 6 * width

        def stage(inside: int, outside: int, kernel: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
            return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

        self.stages = nn.Sequential(
            *stage(channels, width, 5, 2),
            nn.MaxPool2d(2),
            *stage(width, 2 * width, 3, 1),
            nn.MaxPool2d(2),
            *stage(2 * width, 4 * width, 3, 1),
            nn.MaxPool2d(2),
            *stage(4 * width, 6 * width, 3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, num_features] of images x [N, channels, H, W] in [0, 1]."""
        features: Tensor = self.stages((2 * x - 1).contiguous(memory_format=torch.channels_last))
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)


class FacenetEncoder(nn.Module):
    """InceptionResnetV1 of facenet-pytorch, trained for face recognition at 160 px: 512 features of unit length.

    Args:
        pretrained: the weights to load, `vggface2` or `casia-webface`; None for random weights.
        weights: path to a file with weights for this network, instead of `pretrained`.
        channels: number of input channels. Loaded weights are for RGB; the weights of other channels start at zero.
    """

    def __init__(self, pretrained: str | None = None, weights: str | None = None, channels: int = 3) -> None:
        super().__init__()
        if pretrained is not None and weights is not None:
            raise ValueError(f"pretrained={pretrained} and weights={weights}: set one of them to null")
        self.channels, self.num_features = channels, 512
        self.network = InceptionResnetV1(pretrained=None)
        first = self.network.conv2d_1a.conv
        if channels != 3:
            self.network.conv2d_1a.conv = nn.Conv2d(channels, first.out_channels, 3, stride=2, bias=False)
        if pretrained is not None or weights is not None:
            state = read_state_dict(weights) if weights is not None else facenet_state(str(pretrained))
            name = "conv2d_1a.conv.weight"
            if name in state:
                state |= widen({name: state[name]}, self.network.state_dict())
            load_state(self.network, state, weights or str(pretrained))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, 512] of faces x [N, channels, H, W] in [0, 1]; H and W must be at least 75."""
        if min(x.shape[-2:]) < FACENET_SMALLEST:
            raise ValueError(
                f"{x.shape[-2]}x{x.shape[-1]} px is too small for facenet: set image_size=160, its native size"
            )
        features: Tensor = self.network((x * 255 - 127.5) / 128)
        return features


@runtime_checkable
class Stages(Protocol):
    """Interface of a timm model that returns the feature maps of its stages."""

    feature_info: Sequence[Mapping[str, int]]

    def forward_intermediates(self, x: Tensor, indices: list[int] | None, intermediates_only: bool) -> list[Tensor]:
        """Return the feature maps of the stages `indices`, or of all stages if `indices` is None."""

    def prune_intermediate_layers(self, indices: list[int], prune_norm: bool, prune_head: bool) -> list[int]:
        """Remove all layers after the last stage in `indices`."""


class TimmEncoder(nn.Module):
    """Encode images with a timm model without its classifier; inputs are normalised as in the model's training.

    Args:
        name: a name from `timm.list_models()`, with or without the tag that selects weights.
        pretrained: true loads timm's weights, from the hub's cache or by download; `imagenet` loads ImageNet weights
            from an installed Python package (networks/packaged.py).
        weights: path to a file with weights for this model, instead of `pretrained`.
        channels: number of input channels. Loaded weights are for RGB; the weights of other channels start at zero.
        image_size: side of the input in px; used only by architectures with a fixed input size.
        pooling: `last` uses the model's own pooled features. `stages` uses the spatial mean, standard deviation and
            maximum of every stage of a CNN, so that the features include traces from early stages. `grid` averages
            the feature maps of one stage in each cell of a grid, so that features depend on the position in an aligned
            face; later stages are removed.
        stage: index of the stage for `grid`; negative indices count from the last stage.
        grid: number of cells per side for `grid`.

    Raises:
        ValueError: an argument is out of range, or the model has no stages.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool | str | None = False,
        weights: str | None = None,
        channels: int = 3,
        image_size: int | None = None,
        pooling: str = "last",
        stage: int = -2,
        grid: int = 4,
    ) -> None:
        super().__init__()
        if pooling not in TIMM_POOLINGS:
            raise ValueError(f"pooling={pooling}: expected one of {', '.join(TIMM_POOLINGS)}")
        if pretrained and weights is not None:
            raise ValueError(
                f"pretrained={str(pretrained).lower()} and weights={weights}: set pretrained=false or weights=null"
            )
        self.network = timm_model(name, channels, image_size, pretrained or False, weights)
        self.channels, self.pooling, self.grid = channels, pooling, grid
        self.stages: list[int] | None = None  # indices of the stages that are used; None uses all
        known = vars(self.network)
        # The last layer of some models is wider than their last stage; timm calls this width head_hidden_size.
        self.num_features = int(known.get("head_hidden_size") or known["num_features"])
        if pooling != "last":
            if not isinstance(self.network, Stages):
                raise ValueError(f"pooling={pooling}: {name} has no forward_intermediates; choose another model")
            widths = [one["num_chs"] for one in self.network.feature_info]
            self.num_features = 3 * sum(widths)
        if pooling == "grid":
            self._keep_stage(stage, widths)
        mean, std = list(known["pretrained_cfg"]["mean"]), list(known["pretrained_cfg"]["std"])
        rest = channels - len(mean)
        # Channels after RGB are centred at 0.5; their std is the mean of the stds of R, G and B.
        self.register_buffer("mean", torch.tensor(mean + rest * [0.5]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std + rest * [sum(std) / len(std)]).view(-1, 1, 1), persistent=False)

    def _keep_stage(self, stage: int, widths: Sequence[int]) -> None:
        """Use only this stage, pooled in a grid, and remove later stages; `widths` are the channels of all stages."""
        if not -len(widths) <= stage < len(widths) or self.grid < 1:
            raise ValueError(
                f"stage={stage}, grid={self.grid}: expected a stage from {-len(widths)} to {len(widths) - 1}, and at "
                "least 1 cell per side"
            )
        self.stages, self.num_features = [stage % len(widths)], widths[stage] * self.grid**2
        cast(Stages, self.network).prune_intermediate_layers(self.stages, prune_norm=True, prune_head=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, num_features] of images x [N, channels, H, W] in [0, 1]."""
        x = (x - self.mean) / self.std
        if self.pooling == "last":
            features: Tensor = self.network(x)
            return features
        stages = cast(Stages, self.network)
        maps = stages.forward_intermediates(x, indices=self.stages, intermediates_only=True)  # [N, C, h, w] each
        if self.pooling == "grid":
            return adaptive_avg_pool2d(maps[0], self.grid).flatten(1)  # [N, C * grid * grid]
        return torch.cat([pooled for one in maps for pooled in _pooled(one)], dim=1)


def _pooled(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the spatial mean, standard deviation and maximum of feature maps [N, C, h, w], each [N, C]."""
    variance = x.float().var((2, 3), correction=0)
    return x.mean((2, 3)), (variance + 1e-8).sqrt().to(x.dtype), x.amax((2, 3))
