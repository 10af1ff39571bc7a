"""Hybrid: the early stages of ResNet-18 and of DenseNet-121 process one frame, and their feature maps are fused.

ResNet is arXiv 1512.03385, DenseNet is arXiv 1608.06993. Attention pooling follows "Attention-based Deep Multiple
Instance Learning", arXiv 1802.04712, but computes the score of each position with a single linear layer.
"""

import torch
from timm.models import FeatureListNet
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from unmask.networks.timm_models import timm_model

STAGES = 4  # of both networks


class Hybrid(nn.Module):
    """Two branches on one frame; their feature maps are concatenated, mixed by a 1x1 convolution and attention-pooled.

    With the default numbers of stages, it has 3.3 M parameters and needs 5.2 GFLOPs at 224 px; DenseNet-121 alone has
    7.0 M parameters and needs 5.7 GFLOPs.

    Args:
        pretrained: load timm's weights for both networks, from its cache or by download.
        resnet_weights: path to a file with ResNet-18's weights under timm's names, instead of `pretrained`.
        densenet_weights: path to a file with DenseNet-121's weights under timm's names, instead of `pretrained`.
        resnet_stages: number of residual stages to keep, 1 to 4.
        densenet_stages: number of dense blocks to keep, 1 to 4.
        width: channels of the fused map.
        dropout: dropout probability before the classifier, 0 to 1.
    """

    def __init__(
        self,
        pretrained: bool = False,
        resnet_weights: str | None = None,
        densenet_weights: str | None = None,
        resnet_stages: int = 3,
        densenet_stages: int = 1,
        width: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pretrained and (resnet_weights or densenet_weights):
            raise ValueError("pretrained=true and weights from a file: set pretrained=false, or the weights to null")
        self.resnet = _Stages("resnet18", resnet_stages, pretrained, resnet_weights)
        self.densenet = _Stages("densenet121", densenet_stages, pretrained, densenet_weights)
        self.num_features = width
        both = self.resnet.channels + self.densenet.channels
        self.fuse = nn.Sequential(nn.Conv2d(both, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.attention = nn.Conv2d(width, 1, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))

    def encode(self, x: Tensor) -> Tensor:
        """x: RGB frames [B, 3, H, W] in [0, 1] -> features [B, width]."""
        if x.ndim != 4:
            raise ValueError(f"this network reads frames [B, 3, H, W], not {list(x.shape)}: set frames=null")
        maps = [self.resnet(x), self.densenet(x)]
        # Both maps get the size of the smaller one, by average pooling, which loses no position of the larger one.
        size = (min(part.shape[2] for part in maps), min(part.shape[3] for part in maps))
        fused: Tensor = self.fuse(torch.cat([adaptive_avg_pool2d(part, size) for part in maps], dim=1))  # [B, C, h, w]
        weight: Tensor = self.attention(fused).flatten(2).softmax(2)  # [B, 1, h*w]
        return (weight * fused.flatten(2)).sum(2)

    def head(self, features: Tensor) -> Tensor:
        """Features [B, width] -> logit [B], positive = fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """x: RGB frames [B, 3, H, W] in [0, 1] -> logit [B]."""
        return self.head(self.encode(x))


class _Stages(nn.Module):
    """The first stages of a timm network; input is normalised with the network's training statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, stages: int, pretrained: bool, weights: str | None) -> None:
        super().__init__()
        if not 1 <= stages <= STAGES:
            raise ValueError(f"{name} has {STAGES} stages: expected 1 to {STAGES}, but got {stages}")
        model = timm_model(name, 3, None, pretrained, weights)
        if not pretrained and weights is None:
            for layer in model.modules():
                # timm initialises residual branches to zero: most weights would get no gradient in the first step.
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.ones_(layer.weight)
        for key in ("mean", "std"):
            value = torch.tensor(model.pretrained_cfg[key])  # type: ignore[index]
            self.register_buffer(key, value.view(-1, 1, 1), persistent=False)
        # This does what timm's `features_only=True` does, but to a model that already has weights. Index 0 is the stem.
        self.network = FeatureListNet(model, out_indices=(stages,), flatten_sequential=name.startswith("densenet"))
        self.channels = int(self.network.feature_info.channels()[-1])

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, 3, H, W] in [0, 1] -> feature map of the last stage kept [B, channels, h, w]."""
        feature: Tensor = self.network((x - self.mean) / self.std)[-1]
        return feature
