"""Networks that map images [N, 3, H, W] in [0, 1] to features [N, F], for evaluating generated images.

Each evaluator has a `name` and a flag `published`. If the flag is true, the features are those that define FID, KID and
the Inception Score. If it is false, metrics have other names: the Frechet distance is called `frechet_NAME`, with the
evaluator's name, instead of `fid`. `score` is the name of the metric that the Inception Score's formula gives on the
evaluator's class logits; it is None for an evaluator without classes.
"""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from torchvision.models.inception import inception_v3

from unmask.networks.frozen import Frozen, is_published
from unmask.networks.weights import find, load_state, read_state_dict

SIDE = 64  # px, input of RandomFeatures
INCEPTION_SIDE = 299  # px, input of the published network
CLASSES = 1008  # classes of the published network: the 1000 of ImageNet and 8 unused ones
# Two ports of TensorFlow's inception-2015-12-05.tgz; the files are identical and use torchvision's parameter names.
INCEPTION_URLS = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
AVERAGED = ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")  # blocks whose average pooling excludes the padding


class Evaluator(Protocol):
    """A network that computes features of images; if its `score` is not None, it also has `logits(features)`."""

    @property
    def name(self) -> str:
        """Short name of the network, used in the names of metrics on its features, such as `frechet_lite0`."""

    @property
    def published(self) -> bool:
        """Whether the features are those that define FID, KID and the Inception Score."""

    @property
    def score(self) -> str | None:
        """Name of the Inception Score of this network's class logits; None if it has no classes."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features [N, F] of images x [N, 3, H, W] in [0, 1]."""

    def to(self, device: torch.device) -> Self:
        """Move the network to a device."""


class RandomFeatures(nn.Module):
    """Compute features with random convolutions, which are the same on all machines and need no weights file.

    Random convolutions with a nonlinearity distinguish textures and layouts without training (Ulyanov et al., arXiv
    1711.10925, on untrained networks as priors; Naeem et al., arXiv 2002.09797, section 3.3, on random embeddings for
    evaluating samples). A distance between these features shows whether samples get closer to the data during training.
    This distance is not FID. It can be compared only with distances from the same network.

    Args:
        width: channels of the first stage. The features are the spatial mean and standard deviation of every channel
            of every stage.
    """

    name = "random"  #: appears in the names of metrics on these features
    published = False  #: FID is defined on other features
    score: str | None = None  #: this network has no classes

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = [3, width, 2 * width, 2 * width]
        for at, (inside, outside) in enumerate(pairwise(widths)):
            # He initialisation keeps the mean square about the same after each ReLU (arXiv 1502.01852).
            weight = torch.randn(outside, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight{at}", weight, persistent=False)
        self.stages = len(widths) - 1
        self.num_features = 2 * sum(widths[1:])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, F] of images x [N, 3, H, W] in [0, 1]."""
        if x.shape[-2:] != (SIDE, SIDE):
            x = interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        x = 4 * x.float() - 2
        found = []
        for at in range(self.stages):
            x = nn.functional.conv2d(x, self.get_buffer(f"weight{at}"), stride=2, padding=1).relu()
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, dim=1)


class Inception(nn.Module):
    """Compute FID's Inception features (arXiv 1706.08500): the spatial mean of the last 2048 feature maps.

    The network is TensorFlow's graph of December 2015. Unlike in torchvision's network, average pooling excludes the
    padding, the last block uses max pooling, and there are 1008 classes. As in TensorFlow, images are rounded to 8
    bits, resized to 299 px (bilinear, no antialiasing, source coordinate = target coordinate x scale) and scaled to
    (x - 128) / 128. The network always runs in float32, so that metrics do not depend on the Trainer's precision.

    The weights file is a state dict with torchvision's parameter names. torch-fidelity and pytorch-fid publish the same
    file (95 MB). TorchScript archives and pickled networks are refused, because loading them would run code.

    Args:
        weights: path to the file; if null, the file is looked up in `$TORCH_HOME/hub/checkpoints`. With any weights but
            the published ones, the metrics are not called FID.
        download: download the file if it is missing.
    """

    name = "inception"
    num_features = 2048

    def __init__(self, weights: str | None = None, download: bool = False) -> None:
        super().__init__()
        self.weights, self.download = weights, download
        self._network = Frozen(lambda: build_inception(read_state_dict(self._path, INCEPTION_URLS[0]), str(self._path)))

    @cached_property
    def _path(self) -> Path:
        return find(INCEPTION_URLS, self.weights, self.download)

    @cached_property
    def published(self) -> bool:
        """Whether the weights file is the published one, according to its SHA-256."""
        return is_published(self._path, INCEPTION_URLS[0])

    @property
    def score(self) -> str:
        """Name of the score computed from the class logits; `inception_score` only with the published weights."""
        return "inception_score" if self.published else "class_score_inception"

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, 2048] of images x [N, 3, H, W] in [0, 1]."""
        with torch.autocast(x.device.type, enabled=False):
            x = (255 * x.float()).clamp(0, 255).round()
            x = (resize_corners(x, INCEPTION_SIDE) - 128) / 128
            features: Tensor = self._network.on(x.device)(x)
        return features

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return class logits [N, 1008] of features [N, 2048], without bias, as in the published Inception Score."""
        classes = self._network.on(features.device).get_submodule("classes")
        assert isinstance(classes, nn.Linear)
        return features @ classes.weight.T


def build_inception(state: dict[str, Tensor], origin: str) -> nn.Module:
    """Build the network of `Inception`, which maps images [N, 3, 299, 299] in [-1, 1] to features [N, 2048].

    The network's attribute `classes` is the linear layer that maps these features to class logits.

    Raises:
        ValueError: the weights belong to another network.
    """
    network: nn.Module = inception_v3(weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False)
    load_state(network, state, origin)
    average = partial(avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    for name in AVERAGED:
        _repool(network.get_submodule(f"Mixed_{name}"), average)
    _repool(network.get_submodule("Mixed_7c"), partial(max_pool2d, kernel_size=3, stride=1, padding=1))
    network.classes, network.fc = network.get_submodule("fc"), nn.Identity()
    return network


def _repool(block: nn.Module, pool: Callable[[Tensor], Tensor]) -> None:
    """Replace the pooling in the last branch of one of torchvision's Inception blocks."""
    branches: Callable[[Tensor], list[Tensor]] = vars(type(block))["_forward"].__get__(block)
    last = block.get_submodule("branch_pool")

    def forward(x: Tensor) -> Tensor:
        # The original block still computes its own pooling branch, but this costs little.
        return torch.cat([*branches(x)[:-1], last(pool(x))], dim=1)

    block.forward = forward


def resize_corners(x: Tensor, side: int) -> Tensor:
    """Resize images as in TensorFlow 1: bilinear, no antialiasing, source coordinate = target coordinate x scale.

    Args:
        x: images [N, C, H, W]; the result is [N, C, side, side].
        side: new height and width, px.
    """
    down, across = (_corner_weights(size, side).to(x) for size in x.shape[-2:])
    return down @ x @ across.T


def _corner_weights(size: int, side: int) -> Tensor:
    """Return, for one dimension, the weights [side, size] of the input pixels in each output pixel."""
    row, at = torch.arange(side), torch.arange(side, dtype=torch.float64) * size / side
    low = at.long()
    weights = torch.zeros(side, size, dtype=torch.float64)
    weights[row, low] = 1 - (at - low)
    weights[row, (low + 1).clamp(max=size - 1)] += at - low
    return weights
