"""Meso4 and MesoInception4: small frame detectors of face forgery.

"MesoNet: a Compact Facial Video Forgery Detection Network", Afchar et al. 2018, arXiv 1809.00888. The layers, their
order and their constants are those of the authors' Keras code (DariusAf/MesoNet). The only difference is the output:
these networks return the logit that a frame is fake, instead of the probability that it is real.
"""

import re
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from unmask.networks.weights import WeightsNotFound

SOURCE = "https://github.com/DariusAf/MesoNet, folder weights"
STRIDE = 32  # total stride of the four poolings, 2 * 2 * 2 * 4
CHANNELS = 16  # channels of the last stage
Layers = dict[str, list[dict[str, np.ndarray]]]


def _conv(inside: int, outside: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, kernel, padding="same", dilation=dilation), nn.ReLU())


def _stage(extract: nn.Module, channels: int, pool: int, momentum: float) -> nn.Sequential:
    # Normalisation follows the ReLU; eps is Keras's default. Because the image side is a multiple of 32, each pooling
    # divides its input evenly, so that Keras's "same" pooling gives the same result as PyTorch's pooling.
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)
    return nn.Sequential(extract, norm, nn.MaxPool2d(pool))


class Inception(nn.Module):
    """Four parallel branches: a 1x1 convolution, and three pairs of a 1x1 and a 3x3 convolution (dilation 1, 2 and 3).

    `a`, `b`, `c` and `d` are the branches' output channels. A ReLU follows every convolution. The branches have the
    same order as in the authors' code, because weights are matched by order.
    """

    def __init__(self, inside: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        sizes = enumerate((b, c, d), start=1)
        dilated = [nn.Sequential(_conv(inside, size, 1), _conv(size, size, 3, dilation)) for dilation, size in sizes]
        self.branches = nn.ModuleList([_conv(inside, a, 1), *dilated])

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated outputs [B, a + b + c + d, H, W] of all branches for x [B, C, H, W]."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class _Meso(nn.Module):
    """Base class of Meso4 and MesoInception4: the head, weight initialisation and loading of the authors' files."""

    def __init__(self, stages: list[nn.Sequential], image_size: int, dropout: float, weights: str | None) -> None:
        super().__init__()
        if image_size < STRIDE or image_size % STRIDE:
            near = max(STRIDE, round(image_size / STRIDE) * STRIDE)
            raise ValueError(
                f"image_size={image_size}: {type(self).__name__} expected a multiple of {STRIDE}, such as {near}"
            )
        self.image_size = image_size
        self.num_features = CHANNELS * (image_size // STRIDE) ** 2
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.num_features, 16),
            nn.LeakyReLU(0.1),
            nn.Dropout(dropout),
            nn.Linear(16, 1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        if weights is not None:
            _load_keras(self, Path(weights))

    @classmethod
    def from_keras(cls, path: str | Path, **options: Any) -> Self:
        """Build the network with the authors' weights.

        Args:
            path: the authors' `.h5` file for this architecture.
            options: further arguments of the constructor.

        Raises:
            FileNotFoundError: there is no file at `path`.
            ValueError: the file holds no weights of this architecture, or `image_size` is not 256.
        """
        return cls(weights=str(path), **options)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of RGB frames x [B, 3, H, W] in [0, 1], H = W = image_size."""
        if x.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"{type(self).__name__} expected frames [B, 3, {self.image_size}, {self.image_size}], "
                f"but got {list(x.shape)}: set image_size to the size of the data, and frames=null for single frames"
            )
        features: Tensor = self.stages(x)
        return features.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))


class Meso4(_Meso):
    """Classify a frame with four convolutions and two dense layers (arXiv 1809.00888, section 3.1).

    The network has 27,977 parameters at 256 px.

    Args:
        image_size: side of the square input in px, a multiple of 32; the authors use 256.
        dropout: dropout probability before each dense layer, 0 to 1.
        norm_momentum: weight of the newest batch in batch norm's running statistics; 0.01 corresponds to Keras's 0.99.
            Runs of fewer than about 300 steps need a higher value, or the statistics are out of date at validation.
        weights: path to the authors' `.h5` file; None for random weights.
    """

    def __init__(
        self, image_size: int = 256, dropout: float = 0.5, norm_momentum: float = 0.01, weights: str | None = None
    ) -> None:
        stages = [
            _stage(_conv(3, 8, 3), 8, 2, norm_momentum),
            _stage(_conv(8, 8, 5), 8, 2, norm_momentum),
            _stage(_conv(8, 16, 5), 16, 2, norm_momentum),
            _stage(_conv(16, CHANNELS, 5), CHANNELS, 4, norm_momentum),
        ]
        super().__init__(stages, image_size, dropout, weights)


class MesoInception4(_Meso):
    """Meso4 with inception modules as its first two stages (arXiv 1809.00888, section 3.2).

    The network has 28,615 parameters at 256 px. The arguments are those of `Meso4`.
    """

    def __init__(
        self, image_size: int = 256, dropout: float = 0.5, norm_momentum: float = 0.01, weights: str | None = None
    ) -> None:
        stages = [
            _stage(Inception(3, 1, 4, 4, 2), 11, 2, norm_momentum),
            _stage(Inception(11, 2, 4, 4, 2), 12, 2, norm_momentum),
            _stage(_conv(12, 16, 5), 16, 2, norm_momentum),
            _stage(_conv(16, CHANNELS, 5), CHANNELS, 4, norm_momentum),
        ]
        super().__init__(stages, image_size, dropout, weights)


def _read_keras(path: Path) -> Layers:
    """Return the layers of a Keras weights file by kind, in the order in which they were created."""
    if not path.is_file():
        raise WeightsNotFound(path, SOURCE, f"{path}, or pass another path as weights=PATH")
    import h5py  # imported here because only the authors' files need it

    layers: Layers = {"conv2d": [], "batch_normalization": [], "dense": []}
    try:
        with h5py.File(path) as file:
            # Keras numbers layers in order of creation, but the file lists them in another order.
            for name in sorted(file, key=lambda name: int(re.sub(r"\D", "", name.split("_")[-1]) or 0)):
                kind = re.sub(r"_\d+$", "", name)
                arrays: dict[str, np.ndarray] = {}
                file[name].visititems(
                    lambda key, value, arrays=arrays: (
                        arrays.update({key.split("/")[-1].split(":")[0]: value[()]})
                        if isinstance(value, h5py.Dataset)
                        else None
                    )
                )
                if kind in layers and arrays:
                    layers[kind].append(arrays)
    except OSError as error:
        raise ValueError(f"{path} is not a Keras .h5 weights file ({error}); get one from {SOURCE}") from error
    return layers


@torch.no_grad()
def _load_keras(network: _Meso, path: Path) -> None:
    """Load the authors' weights; the last layer is negated, because the authors' networks compute the logit of real."""
    layers = _read_keras(path)
    if network.image_size != 256:
        raise ValueError(f"{path}: the authors' weights need image_size=256, but got image_size={network.image_size}")
    kinds = {"conv2d": nn.Conv2d, "batch_normalization": nn.BatchNorm2d, "dense": nn.Linear}
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
    names |= {"moving_variance": "running_var", "bias": "bias"}
    for kind, ours in kinds.items():
        modules = [module for module in network.modules() if isinstance(module, ours)]
        fits = len(modules) == len(layers[kind])
        for module, arrays in zip(modules, layers[kind], strict=False):
            tensors = module.state_dict()  # shares memory with the module
            for name, array in arrays.items():
                target = tensors[names[name]]
                value = _to_torch(torch.from_numpy(array), network.image_size // STRIDE)
                fits = fits and value.shape == target.shape
                if fits:
                    target.copy_(value)
        if not fits:
            raise ValueError(f"{path} does not hold the weights of {type(network).__name__}: its {kind} layers differ")
    last = network.classifier[-1]
    assert isinstance(last, nn.Linear)
    last.weight.neg_()  # P(fake) = 1 - P(real) = 1 - sigmoid(z) = sigmoid(-z)
    last.bias.neg_()


def _to_torch(value: Tensor, side: int) -> Tensor:
    """Convert a Keras array to PyTorch's layout; Keras flattens the last feature map [side, side, 16] channels-last."""
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    if value.ndim == 2 and value.shape[0] == side * side * CHANNELS:
        value = value.reshape(side, side, CHANNELS, -1).permute(2, 0, 1, 3).flatten(0, 2)
    return value.T if value.ndim == 2 else value
