"""Pruning: exact shares of zeros, channels that are really removed, and runs that open without their origin."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY, stand_in_run, unmask
from test_resume import KillAt, same_weights, train_in
from unmask.networks.classifier import FrameClassifier
from unmask.networks.cnn import ResidualCnn
from unmask.networks.encoders import TimmEncoder
from unmask.networks.flops import count_flops
from unmask.networks.meso import Meso4
from unmask.networks.pruning import fit_channels, prune_channels
from unmask.networks.sparsity import cubic, magnitude_masks, prunable, sparsity
from unmask.runs.checkpoints import load_weights
from unmask.runs.encoder import TrainedEncoder
from unmask.runs.run import Run
from unmask.runs.trained import trained


def timm(name: str) -> FrameClassifier:
    return FrameClassifier(lambda channels: TimmEncoder(name, channels=channels))


# ---- unstructured


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.77, 1.0])
def test_exactly_the_requested_share_is_masked(amount):
    network = ResidualCnn(4)
    weights = prunable(network)
    masks = magnitude_masks(weights, amount)
    total = sum(weight.numel() for weight in weights.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(amount * total)
    zeroed = np.concatenate([weights[name].detach()[~mask].abs().numpy() for name, mask in masks.items()])
    kept = np.concatenate([weights[name].detach()[mask].abs().numpy() for name, mask in masks.items()])
    assert not len(zeroed) or not len(kept) or zeroed.max() <= kept.min()


def test_equal_weights_are_masked_in_order():
    masks = magnitude_masks({"a": torch.ones(3), "b": -torch.ones(3)}, 0.5)
    assert masks["a"].tolist() == [False] * 3 and masks["b"].tolist() == [True] * 3


def test_norms_biases_and_frozen_weights_are_not_pruned():
    network = ResidualCnn(4)
    assert set(prunable(network)) == {f"stages.{at}.weight" for at in (0, 4, 8, 12)} | {"classifier.1.weight"}
    network.stages[0].weight.requires_grad_(False)
    assert "stages.0.weight" not in prunable(network)


def test_the_cubic_schedule_by_hand():
    assert [cubic(at, 0.2, 0.6, 0.8) for at in (0.0, 0.1, 0.6, 1.0)] == [0, 0, 0.8, 0.8]
    assert cubic(0.4, 0.2, 0.6, 0.8) == pytest.approx(0.8 * (1 - 0.5**3))
    assert cubic(0.0, 0.0, 0.0, 0.5) == 0.5
    shares = [cubic(at / 100, 0.0, 1.0, 0.9) for at in range(101)]
    assert shares == sorted(shares)


ARGUMENTS = (
    "experiment=demo_celebdf/meso4", *TINY, "trainer=cpu", "data.batch_size=8", "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1", "handling=false", "callbacks=pruned", "callbacks.pruning.every=3",
)  # fmt: skip


@pytest.mark.slow
def test_gradual_pruning_reaches_its_share_and_resumes_bit_for_bit(workplace, demo_root, monkeypatch):
    overrides = [*ARGUMENTS, f"data.root={demo_root}", "callbacks.pruning.amount=0.7"]
    whole = train_in(workplace, "out/pruned-whole", overrides, None, monkeypatch)
    cut = train_in(workplace, "out/pruned-cut", overrides, KillAt(1, 2), monkeypatch)
    train_in(workplace, "out/pruned-cut", overrides, None, monkeypatch)
    same_weights(whole, cut)
    network = Run(whole).network()
    weights = [weight.detach().flatten() for weight in prunable(network).values()]
    flat = torch.cat(weights)
    assert int((flat == 0).sum()) == round(0.7 * len(flat))
    assert sparsity(network) == pytest.approx(0.7, abs=1e-3) and Run(whole).metrics["sparsity"] == sparsity(network)


@pytest.mark.slow
def test_pruning_at_once_without_training(workplace, demo_root, monkeypatch):
    overrides = [*ARGUMENTS, f"data.root={demo_root}", "trainer.max_epochs=0", "callbacks.pruning.end=0"]
    folder = train_in(workplace, "out/pruned-at-once", overrides, None, monkeypatch)
    assert sparsity(Run(folder).network()) == pytest.approx(0.8, abs=1e-3)


# ---- structured


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (lambda: ResidualCnn(16), 32),
        (lambda: Meso4(image_size=64), 64),
        (lambda: timm("resnet18"), 64),
        (lambda: timm("tf_efficientnet_lite0"), 64),
        (lambda: timm("densenet121"), 64),
    ],
    ids=["cnn", "meso4", "resnet18", "lite0", "densenet121"],
)
def test_channels_are_removed_and_the_network_is_rebuilt_from_its_tensors(network, size):
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    dense, other = network(), network()
    for layer in dense.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
    pruned = copy.deepcopy(dense)
    prune_channels(pruned, x[:1], 0.5)
    assert count_flops(pruned, x) < 0.6 * count_flops(dense, x)
    assert pruned.training == dense.training
    state = pruned.state_dict()
    fit_channels(other, {name: value.shape for name, value in state.items()})
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other.eval()(x), pruned.eval()(x))
    for mine, theirs in zip(other.modules(), pruned.modules(), strict=True):
        sizes = ("in_channels", "out_channels", "groups", "in_features", "out_features", "num_features")
        known = [
            name for name in sizes if name in vars(mine) and isinstance(mine, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        ]
        assert [vars(mine)[name] for name in known] == [vars(theirs)[name] for name in known]


def test_the_channels_with_the_smallest_weights_are_removed():
    """One convolution whose channels are known to be large or small, and its consumer."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, 0.01, 2.0, 0.02])[:, None, None, None].expand(4, 3, 1, 1))
        network[2].weight.fill_(1.0)
    x = torch.rand(1, 3, 5, 5)
    expected = network[2].weight.detach()[:1, [0, 2]]
    prune_channels(network, x, 0.5)
    assert network[0].weight.flatten().tolist() == [1.0] * 3 + [2.0] * 3
    assert torch.equal(network[2].weight[:1], expected)


def test_the_numbers_of_channels_are_multiples():
    network = timm("resnet18")
    prune_channels(network, torch.rand(1, 3, 64, 64), 0.3, round_to=8)
    assert {layer.out_channels % 8 for layer in network.modules() if isinstance(layer, nn.Conv2d)} == {0}


def test_only_fewer_channels_are_fitted():
    network = ResidualCnn(4)
    shapes = {name: value.shape for name, value in ResidualCnn(8).state_dict().items()}
    fit_channels(network, shapes)
    assert network.stages[0].weight.shape[0] == 4
    fit_channels(network, {"stages.0.weight": torch.Size([2, 2])})
    assert network.stages[0].weight.shape[0] == 4


def test_what_cannot_be_pruned_is_refused():
    frozen = FrameClassifier(lambda channels: TimmEncoder("resnet18", channels=channels), tuned=[])
    with pytest.raises(ValueError, match=r"parameters are frozen, such as encoder\.network"):
        prune_channels(frozen, torch.rand(1, 3, 64, 64), 0.5)
    with pytest.raises(ValueError, match="amount=1: expected a share of channels"):
        prune_channels(ResidualCnn(4), torch.rand(1, 3, 32, 32), 1)


def test_a_run_is_continued_with_its_weights():
    run = stand_in_run()
    network = trained(ResidualCnn(), 64, run=run)
    torch.testing.assert_close(network.state_dict(), Run(Path(run)).network().state_dict())
    half = trained(ResidualCnn(), 64, run=run, remove=0.5, round_to=1)
    assert half.stages[0].out_channels == 8
    again = trained(ResidualCnn(), 64)  # as when the new run is opened
    again.load_state_dict(half.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.eval()(x), half.eval()(x))
    with pytest.raises(ValueError, match=r"module\.network\.remove=-0\.5: amount=-0\.5: expected"):
        trained(ResidualCnn(), 64, run=run, remove=-0.5)


def test_a_pruned_network_is_refused_as_an_encoder(monkeypatch):
    half = trained(ResidualCnn(), 64, run=stand_in_run(), remove=0.5)
    monkeypatch.setattr("unmask.runs.encoder.open_run", lambda run: SimpleNamespace(network=lambda: half))
    with pytest.raises(ValueError, match=r"module\.network\.encoder\.run=half: channels of this network were removed"):
        TrainedEncoder(ResidualCnn(), "half")


@pytest.mark.slow
def test_a_pruned_run_is_trained_evaluated_and_pruned_again(workplace, demo_root):
    base = (
        "trainer=cpu",
        "data.batch_size=8",
        "trainer.max_epochs=1",
        "handling=false",
        *TINY,
        f"data.root={demo_root}",
    )
    unmask("train", "experiment=demo_celebdf/meso4", *base, "name=dense", cwd=workplace)
    (dense,) = (workplace / "outputs" / "dense").iterdir()
    given = ("experiment=demo_celebdf/pruned", *base, "module.network.round_to=1")
    unmask("train", *given, f"module.network.run={dense}", "name=half", cwd=workplace)
    (half,) = (workplace / "outputs" / "half").iterdir()
    hidden = dense.rename(dense.with_name("hidden"))
    before = Run(half).predictions("test")
    unmask("evaluate", f"run={half}", "trainer=cpu", cwd=workplace)
    np.testing.assert_allclose(Run(half).predictions("test")["logit"], before["logit"], atol=1e-4)
    assert Run(half).metrics["parameters"] < 0.6 * Run(hidden).metrics["parameters"]
    unmask("train", *given, f"module.network.run={half}", "name=quarter", cwd=workplace)
    (quarter,) = (workplace / "outputs" / "quarter").iterdir()
    states = [load_weights(Run(run).checkpoint) for run in (hidden, half, quarter)]
    first = [next(value for value in state.values() if value.ndim == 4) for state in states]
    assert [len(weight) for weight in first] == [8, 4, 2]
    hidden.rename(dense)
