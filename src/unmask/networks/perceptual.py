"""LPIPS: perceptual distance of two images, computed from an ImageNet classifier's features (arXiv 1801.03924)."""

import re
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

from unmask.networks.frozen import Frozen, is_published
from unmask.networks.weights import find, load_state, read_state_dict

URLS: dict[str, str] = {
    "alex": AlexNet_Weights.IMAGENET1K_V1.url,
    "vgg": VGG16_Weights.IMAGENET1K_V1.url,
    "squeeze": SqueezeNet1_1_Weights.IMAGENET1K_V1.url,
}
SMALLEST = 32  # px; for smaller images, a feature map of some backbone would be empty


class LPIPS(nn.Module):
    """A distance of two images' features, weighted to match human judgement (torchmetrics' port of version 0.1).

    The weights of the distance come with torchmetrics. The backbone's weights are torchvision's, trained on ImageNet,
    and are read from a file. LPIPS can be used as a metric and as a loss, because gradients flow to the images. The
    network's weights are never trained or saved.

    Args:
        net: `alex`, the usual choice as a metric; `vgg`, the usual choice as a loss; `squeeze`, the smallest.
        weights: path to torchvision's weights file for the backbone `net`; if null, the file is looked up in
            `$TORCH_HOME/hub/checkpoints`.
        download: download the file if it is missing.
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
        """Name of the metric: `lpips_NET`, or `perceptual_NET` if the weights file is not the published one."""
        return f"{'lpips' if is_published(self._path, URLS[self.net]) else 'perceptual'}_{self.net}"

    def forward(self, made: Tensor, original: Tensor) -> Tensor:
        """Return the distances [N] between images [N, 3, H, W] in [0, 1] and their originals; H and W are >= 32."""
        if min(made.shape[-2:]) < SMALLEST:
            raise ValueError(f"{made.shape[-2]}x{made.shape[-1]} px is too small for LPIPS: use {SMALLEST} px or more")
        network = self._network.on(made.device)
        found: Tensor = network(made.float(), original.float(), normalize=True)
        return found.flatten()


def build_lpips(net: str, state: dict[str, Tensor], origin: str) -> nn.Module:
    """Build torchmetrics' LPIPS network with the published head weights and torchvision's backbone weights `state`.

    Raises:
        ValueError: the weights belong to another backbone.
    """
    network = _LPIPS(pretrained=True, net=net, pnet_rand=True)  # type: ignore[arg-type]
    backbone = network.net
    # The network's stages keep torchvision's layer numbers: `slice2.3.weight` or `slices.1.3.weight` is
    # `features.3.weight`.
    named = {name: re.sub(r"^slices?\.?\d+\.", "features.", name) for name in backbone.state_dict()}
    load_state(backbone, {name: state[theirs] for name, theirs in named.items() if theirs in state}, origin)
    return network
