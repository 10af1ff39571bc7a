import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from unmask.training.losses import BCE, Focal


def test_bce_by_hand():
    # -log sigmoid(0) = log 2; -log(1 - sigmoid(log 3)) = -log(1/4) = log 4
    loss = BCE()(torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-6)


def test_bce_smoothing_by_hand():
    # Label 1 becomes 0.9: at p = 3/4 the loss is -0.9 log(3/4) - 0.1 log(1/4).
    loss = BCE(smoothing=0.2)(torch.tensor([math.log(3)]), torch.tensor([1.0]))
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25), abs=1e-6)
    mirrored = BCE(smoothing=0.2)(torch.tensor([-math.log(3)]), torch.tensor([0.0]))
    assert mirrored.item() == pytest.approx(loss.item(), abs=1e-6)


def test_smoothed_bce_is_least_at_the_smoothed_label():
    grid = torch.linspace(-6, 6, 2401)
    losses = torch.stack([BCE(smoothing=0.1)(logit[None], torch.ones(1)) for logit in grid])
    assert grid[losses.argmin()].sigmoid().item() == pytest.approx(0.95, abs=1e-3)


def test_fake_weight_by_hand():
    # Both samples cost log 2; the fake one counts three times; the mean is over two samples.
    loss = BCE(fake_weight=3.0)(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((3 + 1) * math.log(2) / 2, abs=1e-6)


def test_fake_weight_agrees_with_torch():
    logit, label = torch.randn(64, generator=torch.Generator().manual_seed(0)) * 3, torch.arange(64) % 2
    expected = binary_cross_entropy_with_logits(logit, label.float(), pos_weight=torch.tensor(2.5))
    torch.testing.assert_close(BCE(fake_weight=2.5)(logit, label), expected)


def test_fake_weight_leaves_smoothed_real_samples_alone():
    logit, label = torch.tensor([1.5]), torch.zeros(1)
    assert BCE(smoothing=0.2, fake_weight=9.0)(logit, label) == BCE(smoothing=0.2)(logit, label)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("alpha", [0.25, 0.6, None])
def test_focal_agrees_with_torchvision(gamma, alpha):
    logit = torch.randn(64, generator=torch.Generator().manual_seed(1)) * 4
    label = (torch.arange(64) % 3 == 0).float()
    expected = sigmoid_focal_loss(logit, label, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Focal(gamma=gamma, alpha=alpha)(logit, label), expected, rtol=1e-4, atol=1e-6)


def test_focal_by_hand():
    # p_t = 3/4 for a fake sample: 0.25 * (1/4)^2 * -log(3/4)
    loss = Focal()(torch.tensor([math.log(3)]), torch.tensor([1.0]))
    assert loss.item() == pytest.approx(0.25 * 0.0625 * -math.log(0.75), abs=1e-7)
    real = Focal()(torch.tensor([-math.log(3)]), torch.tensor([0.0]))
    assert real.item() == pytest.approx(3 * loss.item(), abs=1e-7)


@pytest.mark.parametrize("loss", [BCE(), Focal(gamma=0.0, alpha=None)])
def test_one_sigmoid_only(loss):
    """A second sigmoid would squeeze probabilities into [0.5, 0.73], so the loss of a sure answer could not vanish."""
    label = torch.tensor([1.0, 0.0])
    assert loss(torch.tensor([20.0, -20.0]), label).item() < 1e-6
    assert loss(torch.tensor([-20.0, 20.0]), label).item() == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize("loss", [BCE(smoothing=0.1, fake_weight=2.0), Focal(), Focal(gamma=0.5)])
def test_finite_with_gradients_at_extreme_logits(loss):
    logit = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    value = loss(logit, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    value.backward()
    assert value.isfinite() and logit.grad.isfinite().all()


@pytest.mark.parametrize("loss", [BCE(), Focal()])
def test_half_precision_logits_are_summed_in_float32(loss):
    logit = torch.linspace(-3, 3, 1001).bfloat16()
    label = (torch.arange(1001) % 2).float()
    torch.testing.assert_close(loss(logit, label), loss(logit.float(), label))


@pytest.mark.parametrize("loss", [BCE(), Focal()])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"the same shape"):
        loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize(
    "build",
    [
        lambda: BCE(smoothing=1.0),
        lambda: BCE(smoothing=-0.1),
        lambda: BCE(fake_weight=0.0),
        lambda: Focal(gamma=-1.0),
        lambda: Focal(alpha=1.5),
    ],
)
def test_senseless_arguments_are_refused(build):
    with pytest.raises(ValueError, match=r"^\w+=\S+: expected "):
        build()
