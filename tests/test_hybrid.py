"""The hybrid network: both branches count, it is smaller than DenseNet-121; and how cost is counted."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import densenet121, resnet18

from unmask.networks.cnn_lstm import CnnLstm
from unmask.networks.encoders import SmallEncoder
from unmask.networks.flops import count_flops
from unmask.networks.hybrid import Hybrid


@pytest.fixture(scope="module")
def net() -> Hybrid:
    torch.manual_seed(0)
    return Hybrid().eval()


@torch.no_grad()
def test_each_branch_moves_the_logit(net):
    x = torch.rand(2, 3, 64, 64)
    plain = net(x)
    for branch in (net.resnet, net.densenet):
        first = next(branch.parameters())
        kept = first.clone()
        first.mul_(1.5)
        moved = net(x)
        first.copy_(kept)
        assert (moved - plain).abs().min() > 1e-4, "a branch that is not used"
    assert torch.equal(net(x), plain)


def test_it_is_smaller_and_faster_than_densenet121(net):
    densenet = timm.create_model("densenet121", num_classes=0)
    x = torch.zeros(1, 3, 224, 224, device="meta")
    counts = []
    for network in (net, densenet):
        with FlopCounterMode(display=False) as counter:
            Hybrid().to("meta").eval()(x) if network is net else densenet.to("meta").eval()(x)
        counts.append((sum(p.numel() for p in network.parameters()), counter.get_total_flops()))
    ours, theirs = counts
    assert theirs[0] == 6_953_856 and ours == (3_259_458, 5_173_447_168)
    assert ours[0] < theirs[0] and ours[1] < theirs[1]
    assert count_flops(net, torch.zeros(1, 3, 224, 224)) == ours[1]


@torch.no_grad()
def test_the_maps_are_those_of_the_whole_networks(tmp_path):
    """Weights from files; each branch gives what timm's own network has at that depth, of normalised input."""
    torch.manual_seed(0)
    whole = {name: timm.create_model(name, num_classes=7).eval() for name in ("resnet18", "densenet121")}
    for name, model in whole.items():
        save_file(model.state_dict(), tmp_path / f"{name}.safetensors")
    resnet, densenet = (str(tmp_path / f"{name}.safetensors") for name in whole)
    net = Hybrid(resnet_weights=resnet, densenet_weights=densenet).eval()
    x = torch.rand(2, 3, 64, 64)
    normal = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    r = whole["resnet18"]
    expected = r.layer3(r.layer2(r.layer1(r.maxpool(r.act1(r.bn1(r.conv1(normal)))))))
    torch.testing.assert_close(net.resnet(x), expected)
    d = whole["densenet121"].features
    torch.testing.assert_close(net.densenet(x), d.denseblock1(d.pool0(d.norm0(d.conv0(normal)))))
    assert net.resnet(x).shape == (2, 256, 4, 4) and net.densenet(x).shape == (2, 256, 16, 16)


@torch.no_grad()
def test_without_fusing_the_features_are_means_of_torchvisions_children(tmp_path):
    """A study's depths: the first six children of ResNet-18, the first eight layers of DenseNet-121's features."""
    torch.manual_seed(0)
    resnet, densenet = resnet18(weights=None).eval(), densenet121(weights=None).eval()
    files = {"resnet_weights": str(tmp_path / "resnet.pt"), "densenet_weights": str(tmp_path / "densenet.pt")}
    for model, file in zip((resnet, densenet), files.values(), strict=True):
        torch.save(model.state_dict(), file)
    net = Hybrid(
        **files, resnet_stages=2, densenet_stages=2, densenet_transition=True, width=None, dropout=0.5, head_width=256
    ).eval()
    branches = nn.Sequential(*list(resnet.children())[:6]), densenet.features[:8]
    assert list(dict(branches[1].named_children()))[-1] == "transition2"
    x = torch.rand(2, 3, 64, 64)
    normal = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    maps = [branch(normal) for branch in branches]
    assert [tuple(one.shape[1:]) for one in maps] == [(128, 8, 8), (256, 4, 4)]
    torch.testing.assert_close(net.encode(x), torch.cat([one.mean((2, 3)) for one in maps], dim=1))
    assert net.num_features == 384 and [str(layer) for layer in net.classifier] == [
        "Linear(in_features=384, out_features=256, bias=True)",
        "ReLU()",
        "Dropout(p=0.5, inplace=False)",
        "Linear(in_features=256, out_features=1, bias=True)",
    ]


@torch.no_grad()
def test_pooling_weighs_places_by_attention(net):
    """By hand from the fused map; a place whose score is far above all others is all that is left."""
    seen = []
    handle = net.fuse.register_forward_hook(lambda _, __, output: seen.append(output))
    features = net.encode(torch.rand(1, 3, 64, 64))
    handle.remove()
    fused = seen[0][0].flatten(1)  # [C, 16]
    score = net.attention.weight[0, :, 0, 0] @ fused + net.attention.bias
    weight = score.exp() / score.exp().sum()
    torch.testing.assert_close(features[0], fused @ weight, rtol=1e-4, atol=1e-5)


def test_what_it_takes():
    with pytest.raises(ValueError, match="resnet18 has 4 stages"):
        Hybrid(resnet_stages=5)
    with pytest.raises(ValueError, match="densenet_transition=false"):
        Hybrid(densenet_stages=4, densenet_transition=True)
    with pytest.raises(ValueError, match=r"set one of them to null|set pretrained=false"):
        Hybrid(pretrained=True, resnet_weights="x.pt")
    with pytest.raises(ValueError, match="frames=null"):
        Hybrid()(torch.rand(1, 2, 3, 64, 64))


def test_flops_by_hand():
    """Twice the multiply-adds: 16 x 16 places x 5 filters of 3 x 3 x 3, and 5 x 16 x 16 inputs x 2 outputs."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(1280, 2)).train()
    assert count_flops(network, torch.zeros(1, 3, 16, 16)) == 2 * (256 * 5 * 27 + 1280 * 2)
    assert network.training and network[1].num_batches_tracked == 0, "the network itself was not run"


def test_flops_of_clips_hold_the_recurrent_part():
    torch.manual_seed(0)
    net = CnnLstm(SmallEncoder, 4, hidden=8, layers=1)
    x = torch.zeros(1, 4, 3, 64, 64)
    encoder = count_flops(net.encoder, x[0])
    lstm = 4 * 2 * (net.encoder.num_features + 8) * 4 * 8
    assert count_flops(net, x) == encoder + lstm + 2 * 8
