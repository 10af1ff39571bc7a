"""EfficientNet-Lite0 as an evaluator of generated images; its weights are installed as a Python package."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.networks.frozen import Frozen
from unmask.networks.packaged import packaged_state

NAME, CLASSES = "tf_efficientnet_lite0", 1000
SIDE = 224  # px, input of the network


class Classifier(Protocol):
    """The parts of a timm classifier that are used here."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the feature maps of normalised images."""

    def forward_head(self, x: Tensor, pre_logits: bool) -> Tensor:
        """Return the logits or, if `pre_logits` is true, the features from which they are computed."""

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""


class Lite0Features(nn.Module):
    """Compute features and ImageNet class logits with EfficientNet-Lite0, whose weights need no download.

    These features describe an image's content better than random ones. FID, KID and the Inception Score are defined on
    other features, so metrics on these features have other names and can be compared only with each other.
    """

    name = "lite0"  #: appears in the names of metrics on these features
    published = False  #: FID is defined on other features
    score = "class_score_lite0"  #: name of the score computed from the class logits
    num_features = 1280

    def __init__(self) -> None:
        super().__init__()
        self._network = Frozen(build_lite0)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, 1280] of images x [N, 3, H, W] in [0, 1]."""
        with torch.autocast(x.device.type, enabled=False):
            network = self._network.on(x.device)
            known = vars(network)["pretrained_cfg"]
            mean, std = (torch.tensor(known[name], device=x.device).view(3, 1, 1) for name in ("mean", "std"))
            x = interpolate(x.float(), (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
            timm = cast(Classifier, network)
            return timm.forward_head(timm.forward_features((x - mean) / std), pre_logits=True)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """Return class logits [N, 1000] of features [N, 1280]."""
        found: Tensor = cast(Classifier, self._network.on(features.device)).get_classifier()(features)
        return found


def build_lite0() -> nn.Module:
    """Build EfficientNet-Lite0 with its classifier and its weights for ImageNet.

    Raises:
        WeightsNotFound: the Python package with the weights is not installed.
    """
    import timm  # takes longer to import than PyTorch

    network: nn.Module = timm.create_model(NAME, pretrained=False, num_classes=CLASSES)
    network.load_state_dict(packaged_state(NAME, "imagenet", network.state_dict()))
    return network
