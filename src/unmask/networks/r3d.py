"""Torchvision's 3-D residual networks: R3D, MC3 and R(2+1)D with 18 layers.

"A Closer Look at Spatiotemporal Convolutions for Action Recognition", Tran et al. 2018, arXiv 1711.11248.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, video

from unmask.networks.weights import find, load_state, read_state_dict

MODELS: dict[str, tuple[Callable[..., nn.Module], WeightsEnum]] = {
    "r3d_18": (video.r3d_18, video.R3D_18_Weights.KINETICS400_V1),
    "mc3_18": (video.mc3_18, video.MC3_18_Weights.KINETICS400_V1),
    "r2plus1d_18": (video.r2plus1d_18, video.R2Plus1D_18_Weights.KINETICS400_V1),
}
# Channel statistics of Kinetics-400; torchvision's weights were trained on inputs normalised with these values.
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class VideoResNet(nn.Module):
    """Classify a clip with a 3-D residual network.

    Args:
        frames: length T of a clip; the network itself accepts any length. Three stages halve the length.
        name: `r3d_18` (3-D convolutions), `mc3_18` (3-D in the early stages only) or `r2plus1d_18` (factorised into
            space and time).
        pretrained: whether to load torchvision's weights, trained on Kinetics-400, from torch's cache or by download.
        weights: path to a file with weights for this network, instead of `pretrained`.
        dropout: dropout probability before the classifier, 0 to 1.

    Raises:
        ValueError: an argument is invalid; the message says what is valid.
        WeightsNotFound: the weights are missing and could not be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        frames: int | None,
        name: str = "r3d_18",
        pretrained: bool = False,
        weights: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if frames is None or frames < 2:
            raise ValueError(f"frames={frames}: {name} expects clips; set frames, for example frames=16")
        if name not in MODELS:
            raise ValueError(f"name={name}: expected one of {', '.join(MODELS)}")
        if pretrained and weights is not None:
            raise ValueError(f"pretrained=true and weights={weights}: set pretrained=false or weights=null")
        self.network = MODELS[name][0](weights=None)
        last = self.network.get_submodule("fc")
        assert isinstance(last, nn.Linear)
        self.network.fc = nn.Identity()
        if pretrained or weights is not None:
            state = read_state_dict(weights) if weights is not None else kinetics_state(name)
            load_state(self.network, state, weights or name)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last.in_features, 1))
        self.register_buffer("mean", torch.tensor(MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(-1, 1, 1), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, 512] of RGB clips x [B, T, 3, H, W] in [0, 1]."""
        if x.ndim != 5:
            raise ValueError(
                f"expected clips [B, T, 3, H, W], but got {list(x.shape)}; set frames, for example frames=16"
            )
        volume = ((x - self.mean) / self.std).transpose(1, 2)
        # No autocast on a CPU, where 3-D convolutions take a hundred times as long in bfloat16 as in float32.
        rough = torch.is_autocast_enabled(x.device.type) and not x.is_cpu
        with torch.autocast(x.device.type, enabled=rough):
            features: Tensor = self.network(volume)
        return features

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, 512]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB clips x [B, T, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))


def kinetics_state(name: str) -> dict[str, Tensor]:
    """Return torchvision's weights of a network in `MODELS`; the first call downloads them to torch's hub folder."""
    source: str = MODELS[name][1].url
    return read_state_dict(find([source], download=True), source)
