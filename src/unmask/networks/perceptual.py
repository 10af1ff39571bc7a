"""LPIPS: how different two pictures look, by the features of a network that knows objects (arXiv 1801.03924)."""

import re
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

from unmask.networks.frozen import Frozen, find, is_published
from unmask.networks.weights import load_state, read_state_dict

URLS: dict[str, str] = {
    "alex": AlexNet_Weights.IMAGENET1K_V1.url,
    "vgg": VGG16_Weights.IMAGENET1K_V1.url,
    "squeeze": SqueezeNet1_1_Weights.IMAGENET1K_V1.url,
}
SMALLEST = 32  # px; below it a stage of a backbone has nothing left


class LPIPS(nn.Module):
    """Distance of two pictures' normalised features, weighted as people judged (torchmetrics' port, version 0.1).

    The weights of the distance come with torchmetrics; those of the backbone are torchvision's of ImageNet, in a file.
    Gradients reach the pictures, so that it is a loss as well as a figure; nothing of it is trained or saved.

    Args:
        net: `alex`, which figures are commonly told in; `vgg`, which is commonly the loss; `squeeze`, the smallest.
        weights: path to torchvision's file of that backbone; null looks in `$TORCH_HOME/hub/checkpoints`.
        download: fetch it where it is not there.
    """

    def __init__(self, net: str = "alex", weights: str | None = None, download: bool = False) -> None:
        super().__init__()
        if net not in URLS:
            raise ValueError(f"net={net}: expected one of {', '.join(URLS)}")
        self.net, self.weights, self.download = net, weights, download
        self._network = Frozen(lambda: build_lpips(net, read_state_dict(self._path, URLS[net]), str(self._path)))

    @cached_property
    def _path(self) -> Path:
        return find([URLS[self.net]], self.weights, self.download)

    @cached_property
    def name(self) -> str:
        """`lpips_NET`; of a backbone that is not the published one, by its file's digest, `perceptual_NET`."""
        return f"{'lpips' if is_published(self._path, URLS[self.net]) else 'perceptual'}_{self.net}"

    def forward(self, made: Tensor, original: Tensor) -> Tensor:
        """Both [N, 3, H, W] in [0, 1], 32 px or more -> [N]; 0 where they are the same."""
        if min(made.shape[-2:]) < SMALLEST:
            raise ValueError(f"{made.shape[-2]}x{made.shape[-1]} px is too small for LPIPS: it takes {SMALLEST} px")
        network = self._network.on(made.device)
        found: Tensor = network(made.float(), original.float(), normalize=True)
        return found.flatten()


def build_lpips(net: str, state: dict[str, Tensor], origin: str) -> nn.Module:
    """The network of torchmetrics with the published heads and a backbone of torchvision's.

    Raises:
        ValueError: the weights are of another backbone.
    """
    network = _LPIPS(pretrained=True, net=net, pnet_rand=True)  # type: ignore[arg-type]
    backbone = network.net
    # Its stages keep torchvision's numbers: `slice2.3.weight` and `slices.1.3.weight` are `features.3.weight`.
    named = {name: re.sub(r"^slices?\.?\d+\.", "features.", name) for name in backbone.state_dict()}
    load_state(backbone, {name: state[theirs] for name, theirs in named.items() if theirs in state}, origin)
    return network
