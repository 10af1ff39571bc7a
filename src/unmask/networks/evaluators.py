"""Feature networks that generated pictures are evaluated with: pictures [N, 3, H, W] in [0, 1] -> features [N, F].

Each has a `name`, by which figures in its features are called, and says by `published` whether these features are the
ones that FID, KID and the Inception Score were defined with: nothing else is called so.
"""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from torchvision.models.inception import inception_v3

from unmask.networks.frozen import Frozen, find, is_published
from unmask.networks.weights import load_state, read_state_dict

SIDE = 64  # px at which the stand-in looks at pictures
INCEPTION_SIDE = 299  # px, of the published network
CLASSES = 1008  # of the published network: ImageNet's 1000 and some that are not used
# Two ports of inception-2015-12-05.tgz of TensorFlow; both files are the same bytes, with torchvision's names.
INCEPTION_URLS = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
AVERAGED = ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")  # blocks whose average leaves the padding out


class RandomFeatures(nn.Module):
    """A fixed random convolutional network: a stand-in where no trained one is at hand, the same on every machine.

    Random convolutions with a nonlinearity tell textures and layouts apart without having learned (Ulyanov et al.,
    arXiv 1711.10925, of untrained networks as priors; Naeem et al., arXiv 2002.09797, section 3.3, of random embeddings
    for evaluating samples). A distance in its features says whether training gets nearer to the data; it is no FID and
    is compared with nothing but itself.

    Args:
        width: channels of the first stage; features are the mean and the deviation of each stage's channels.
    """

    name = "random"  #: what figures in these features are called by
    published = False  #: so none of them is called FID

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = [3, width, 2 * width, 2 * width]
        for at, (inside, outside) in enumerate(pairwise(widths)):
            # Behind a ReLU the mean square of what comes out is about that of what went in (arXiv 1502.01852).
            weight = torch.randn(outside, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight{at}", weight, persistent=False)
        self.stages = len(widths) - 1
        self.num_features = 2 * sum(widths[1:])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] in [0, 1] -> [N, F]."""
        if x.shape[-2:] != (SIDE, SIDE):
            x = interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        x = 4 * x.float() - 2
        found = []
        for at in range(self.stages):
            x = nn.functional.conv2d(x, self.get_buffer(f"weight{at}"), stride=2, padding=1).relu()
            found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat(found, dim=1)


class Inception(nn.Module):
    """The Inception network of FID (arXiv 1706.08500): 2048 features, the mean of its last maps.

    It is the graph of December 2015, which is not torchvision's: averages leave the padding out, the last block takes
    a maximum, and there are 1008 classes. As in that graph, pictures are of 8 bits, are resized to 299 px by a bilinear
    filter without antialiasing whose corners lie on the pixels' corners, and become (x - 128) / 128. Half precision is
    not used, so that a figure does not depend on how the Trainer counts.

    The file is one of state dicts with torchvision's names, as torch-fidelity and pytorch-fid publish it (the same
    95 MB). A TorchScript archive or a pickled network is refused: it would have to run code.

    Args:
        weights: its path; null looks in `$TORCH_HOME/hub/checkpoints`. Other weights of the same network may be given:
            their figures are not called FID.
        download: fetch it where it is not there.
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
        """Whether the weights are the published ones, by their file's digest."""
        return is_published(self._path, INCEPTION_URLS[0])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x: [N, 3, H, W] in [0, 1] -> [N, 2048]."""
        with torch.autocast(x.device.type, enabled=False):
            x = (255 * x.float()).clamp(0, 255).round()
            x = (resize_corners(x, INCEPTION_SIDE) - 128) / 128
            features: Tensor = self._network.on(x.device)(x)
        return features

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Features [N, 2048] -> classes [N, 1008], without bias: so the Inception Score was published."""
        classes = self._network.on(features.device).get_submodule("classes")
        assert isinstance(classes, nn.Linear)
        return features @ classes.weight.T


def build_inception(state: dict[str, Tensor], origin: str) -> nn.Module:
    """The graph of December 2015, pictures [N, 3, 299, 299] in [-1, 1] -> [N, 2048]; `classes` is its last layer.

    Raises:
        ValueError: the weights are of another network.
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
    """Let the last branch of a block of torchvision's look through another pool."""
    branches: Callable[[Tensor], list[Tensor]] = vars(type(block))["_forward"].__get__(block)
    last = block.get_submodule("branch_pool")

    def forward(x: Tensor) -> Tensor:
        # The block's own pool is a small part of its work.
        return torch.cat([*branches(x)[:-1], last(pool(x))], dim=1)

    block.forward = forward


def resize_corners(x: Tensor, side: int) -> Tensor:
    """Bilinear, without antialiasing, pixel i of the result at i x (old side / side), as TensorFlow 1 did it.

    Args:
        x: [N, C, H, W] -> [N, C, side, side].
        side: px.
    """
    down, across = (_corner_weights(size, side).to(x) for size in x.shape[-2:])
    return down @ x @ across.T


def _corner_weights(size: int, side: int) -> Tensor:
    """What each old pixel gives to each new one [side, size]."""
    row, at = torch.arange(side), torch.arange(side, dtype=torch.float64) * size / side
    low = at.long()
    weights = torch.zeros(side, size, dtype=torch.float64)
    weights[row, low] = 1 - (at - low)
    weights[row, (low + 1).clamp(max=size - 1)] += at - low
    return weights
