"""A hybrid network, which fuses the feature maps of the early stages of ResNet-18 and DenseNet-121.

ResNet: arXiv 1512.03385. DenseNet: arXiv 1608.06993. Attention pooling follows "Attention-based Deep Multiple
Instance Learning", arXiv 1802.04712, but computes the score of each position with a single linear layer.
"""

import torch
from timm.models import FeatureListNet
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from unmask.networks.layout import classifier, expect_frames
from unmask.networks.timm_models import timm_model

STAGES = 4  # number of stages of each of the two networks


class Hybrid(nn.Module):
    """Classify a frame with two branches, whose feature maps are fused by a 1x1 convolution and pooled by attention.

    With the default numbers of stages, the network has 3.3 M parameters and needs 5.2 GFLOPs at 224 px. For comparison,
    the complete DenseNet-121 has 7.0 M parameters and needs 5.7 GFLOPs.

    Args:
        pretrained: whether to load timm's weights for both networks, from the hub's cache or by download.
        resnet_weights: path to a file with ResNet-18's weights under timm's names, instead of `pretrained`.
        densenet_weights: path to a file with DenseNet-121's weights under timm's names, instead of `pretrained`.
        resnet_stages: number of residual stages to keep, 1 to 4.
        densenet_stages: number of dense blocks to keep, 1 to 4.
        densenet_transition: whether to keep the transition after the last dense block. It halves the number of channels
            and the sides of the map.
        width: channels of the fused map. With None, the maps are not fused: their spatial means, concatenated, are the
            features.
        dropout: dropout probability before the last linear layer, 0 to 1.
        head_width: width of a hidden layer of the classifier; None for a linear classifier.
    """

    def __init__(
        self,
        pretrained: bool = False,
        resnet_weights: str | None = None,
        densenet_weights: str | None = None,
        resnet_stages: int = 3,
        densenet_stages: int = 1,
        densenet_transition: bool = False,
        width: int | None = 256,
        dropout: float = 0.0,
        head_width: int | None = None,
    ) -> None:
        super().__init__()
        if pretrained and (resnet_weights or densenet_weights):
            raise ValueError("pretrained=true and a weights file are set: set pretrained=false, or the weights to null")
        self.resnet = _Stages("resnet18", resnet_stages, pretrained, resnet_weights)
        self.densenet = _Stages("densenet121", densenet_stages, pretrained, densenet_weights, densenet_transition)
        both = self.resnet.channels + self.densenet.channels
        # Without `width`, an identity, so that heat maps can use its output: the feature maps of both branches.
        self.fuse: nn.Module = nn.Identity()
        self.attention: nn.Module | None = None
        if width is not None:
            self.fuse = nn.Sequential(nn.Conv2d(both, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            self.attention = nn.Conv2d(width, 1, 1)
        self.num_features = both if width is None else width
        self.classifier = classifier(self.num_features, dropout, head_width)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of RGB frames x [B, 3, H, W] in [0, 1]."""
        expect_frames(x)
        maps = [self.resnet(x), self.densenet(x)]
        # Average pooling reduces the larger map to the size of the smaller map and uses all of the larger map.
        size = (min(part.shape[2] for part in maps), min(part.shape[3] for part in maps))
        fused: Tensor = self.fuse(torch.cat([adaptive_avg_pool2d(part, size) for part in maps], dim=1))  # [B, C, h, w]
        if self.attention is None:
            return fused.mean((2, 3))
        weight: Tensor = self.attention(fused).flatten(2).softmax(2)  # [B, 1, h*w]
        return (weight * fused.flatten(2)).sum(2)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))


class _Stages(nn.Module):
    """The first stages of a timm network; the input is normalised as in the training of timm's weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, stages: int, pretrained: bool, weights: str | None, transition: bool = False) -> None:
        super().__init__()
        if not 1 <= stages <= STAGES:
            raise ValueError(f"{name} has {STAGES} stages: expected 1 to {STAGES}, but got {stages}")
        if transition and stages == STAGES:
            raise ValueError(
                f"densenet_stages={STAGES}: there is no transition after the last block; set densenet_transition=false"
            )
        model = timm_model(name, 3, None, pretrained, weights)
        if not pretrained and weights is None:
            for layer in model.modules():
                # timm initialises residual branches to zero; most weights would then get no gradient in the first step.
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.ones_(layer.weight)
        for key in ("mean", "std"):
            value = torch.tensor(model.pretrained_cfg[key])  # type: ignore[index]
            self.register_buffer(key, value.view(-1, 1, 1), persistent=False)
        # This does what timm's `features_only=True` does, but to a model that already has weights. Index 0 is the stem.
        self.network = FeatureListNet(model, out_indices=(stages,), flatten_sequential=name.startswith("densenet"))
        self.channels = int(self.network.feature_info.channels()[-1])
        self.transition: nn.Module = nn.Identity()
        if transition:
            self.transition = model.get_submodule(f"features.transition{stages}")
            self.channels //= 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the last stage's feature map [B, channels, h, w] of frames x [B, 3, H, W] in [0, 1]."""
        feature: Tensor = self.transition(self.network((x - self.mean) / self.std)[-1])
        return feature
