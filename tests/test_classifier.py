"""FrameClassifier: what is tuned and what stays, over timm's image models."""

from functools import partial

import pytest
import torch
from torch import nn

from unmask.networks.classifier import FrameClassifier
from unmask.networks.encoders import TimmEncoder

RESNET = partial(TimmEncoder, "test_resnet")


def vit(name: str = "vit_tiny_patch16_224", image_size: int = 32):
    return partial(TimmEncoder, name, image_size=image_size)


def step(net: nn.Module, x: torch.Tensor) -> set[str]:
    """Names of the state that a training step of everything trainable changes."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    net.train()(x).square().sum().backward()
    optimizer.step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def test_nothing_tuned_is_a_frozen_encoder():
    torch.manual_seed(0)
    net = FrameClassifier(RESNET, tuned=[])
    x = torch.rand(4, 3, 32, 32)
    assert any(isinstance(part, nn.BatchNorm2d) for part in net.encoder.modules())
    moved = step(net, x)
    assert moved == {"classifier.1.weight", "classifier.1.bias"}, "batch norm's statistics stay too"
    assert not any(part.training for part in net.encoder.modules() if list(part.parameters()))
    assert not net.encode(x).requires_grad and net.frozen


def test_everything_tuned_is_trained():
    torch.manual_seed(0)
    net = FrameClassifier(RESNET)
    assert all(parameter.requires_grad for parameter in net.parameters()) and not net.frozen
    moved = step(net, torch.rand(4, 3, 32, 32))
    assert {"encoder.network.conv1.0.weight", "encoder.network.bn1.running_mean", "classifier.1.weight"} <= moved
    assert net.encode(torch.rand(2, 3, 32, 32)).requires_grad


def test_layer_norms_alone_are_tuned():
    torch.manual_seed(0)
    net = FrameClassifier(vit(), tuned=["*norm*"])
    norms = [part for part in net.encoder.modules() if isinstance(part, nn.LayerNorm)]
    assert len(norms) == 2 * 12 + 1  # two a block and the last
    ours = {id(p) for p in net.encoder.parameters() if p.requires_grad}
    assert ours == {id(p) for norm in norms for p in norm.parameters()}
    assert sum(p.numel() for p in net.encoder.parameters() if p.requires_grad) == 25 * 2 * 192
    moved = step(net, torch.rand(2, 3, 32, 32))
    assert moved and all("norm" in name or name.startswith("classifier.") for name in moved)
    assert sum(name.startswith("encoder.") for name in moved) == 50, "a gradient passes the frozen layers between them"


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"tuned=\*layernorm\*: matches no parameter of the encoder"):
        FrameClassifier(vit(), tuned=["*norm*", "*layernorm*"])
    with pytest.raises(ValueError, match="_partial_"):
        FrameClassifier(TimmEncoder("test_resnet"))
    with pytest.raises(ValueError, match="frames=null"):
        FrameClassifier(RESNET)(torch.rand(1, 2, 3, 32, 32))


def test_features_of_length_one():
    torch.manual_seed(0)
    plain, unit = (FrameClassifier(RESNET, unit_length=flag).eval() for flag in (False, True))
    unit.load_state_dict(plain.state_dict())
    features = plain.encode(torch.rand(3, 3, 32, 32)).detach()
    torch.testing.assert_close(
        unit.head(features), plain.head(features / features.square().sum(1, keepdim=True).sqrt())
    )
    torch.testing.assert_close(unit.head(features), unit.head(5 * features))
    assert not torch.allclose(plain.head(features), plain.head(5 * features))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("vit_base_patch32_clip_224", 768),
        ("vit_small_patch14_dinov2", 384),
        ("vit_large_patch14_clip_224", 1024),
        ("legacy_xception", 2048),
        ("efficientnet_b4", 1792),
        ("densenet121", 1024),
        ("resnet18", 512),
    ],
)
def test_well_known_encoders_build_without_values(name, width):
    """On the meta device: shapes only. Weights of CLIP and DINOv2 are had by these names."""
    with torch.device("meta"):
        net = FrameClassifier(partial(TimmEncoder, name, image_size=224), tuned=["*norm*" if "vit" in name else "*"])
        assert net.encode(torch.zeros(2, 3, 224, 224)).shape == (2, width) == (2, net.encoder.num_features)
        assert net(torch.zeros(2, 3, 224, 224)).shape == (2,)
