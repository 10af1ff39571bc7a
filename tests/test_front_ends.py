"""Filters and crops in front of other networks, compared with direct computations."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from unmask.explain.gradcam import heat_maps
from unmask.networks.classifier import FrameClassifier
from unmask.networks.encoders import SmallEncoder
from unmask.networks.front_ends import ConstrainedConv, FrontEnd, HighPass, Srm
from unmask.networks.multi_crop import MultiCrop


class Mean(nn.Module):
    """The mean of a frame as its logit."""

    def forward(self, x):
        return x.mean((1, 2, 3))


def frames(side=24, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def ramp(side=16):
    """A linear ramp: every filter here must give the same grey inside it."""
    return torch.linspace(0.2, 0.8, side).expand(1, 3, side, side).contiguous()


@pytest.mark.parametrize("filters", [HighPass(), Srm(), ConstrainedConv()])
def test_content_is_suppressed(filters):
    flat = filters(torch.full((1, 3, 16, 16), 0.3))
    assert flat.shape == (1, 3, 16, 16) and torch.allclose(flat, torch.full_like(flat, 0.5), atol=1e-5)
    assert filters(frames()).std() > 0.1, "noise passes"


@pytest.mark.parametrize("filters", [HighPass(), Srm()])
def test_a_ramp_is_content(filters):
    inside = filters(ramp())[..., 5:-5, 5:-5]
    assert torch.allclose(inside, torch.full_like(inside, 0.5), atol=1e-4)


def test_high_pass_equals_scipy():
    x = 0.4 + 0.02 * frames()
    blurred = gaussian_filter(x.double().numpy(), (0, 0, 1.0, 1.0), mode="mirror", truncate=3.0)
    assert np.allclose(HighPass(sigma=1.0, gain=4.0)(x), 0.5 + 4 * (x.numpy() - blurred), atol=1e-5)


def test_srm_by_hand():
    x = torch.full((1, 3, 9, 9), 100 / 255)
    x[..., 4, 4] = 101 / 255  # one grey level brighter
    found = Srm(truncate=3.0)(x)[0, :, 4, 4]
    assert torch.allclose(found, 0.5 - 0.5 * torch.ones(3) / 3, atol=1e-4), "the centre weight of each filter is -1"
    beside = Srm(truncate=3.0)(x)[0, :, 4, 5]
    assert torch.allclose(beside, 0.5 + 0.5 * torch.tensor([1 / 2, 2 / 4, 8 / 12]) / 3, atol=1e-4)


def test_the_constraint_holds_after_a_step():
    filters = ConstrainedConv()
    optimizer = torch.optim.SGD(filters.parameters(), lr=0.1)
    filters(frames()).square().sum().backward()
    optimizer.step()
    weight = filters.constrained()
    assert torch.allclose(weight[..., 2, 2], torch.tensor(-1.0))
    assert torch.allclose(weight.sum((2, 3)), torch.zeros(3, 3), atol=1e-5)


def test_training_takes_random_crops():
    torch.manual_seed(0)
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean((1, 2, 3))

    x = frames(count=64)
    MultiCrop(Spy(), size=8).train()(x)
    assert seen[0].shape == (64, 3, 8, 8)
    places = {
        (top, left) for one, whole in zip(seen[0], x, strict=True) for top in range(17) for left in range(17)
        if torch.equal(one, whole[:, top : top + 8, left : left + 8])
    }  # fmt: skip
    assert len(places) > 40 and {0, 16} <= {top for top, _ in places}


def test_evaluation_averages_a_grid():
    x = frames(side=20)
    corners = [x[..., top : top + 8, left : left + 8] for top in (0, 6, 12) for left in (0, 6, 12)]
    each = torch.stack([part.mean((1, 2, 3)) for part in corners])  # [9, B]
    assert torch.allclose(MultiCrop(Mean(), size=8).eval()(x), each.mean(0))
    top = MultiCrop(Mean(), size=8, top=2).eval()(x)
    assert torch.allclose(top, each.sort(0, descending=True).values[:2].mean(0))
    assert torch.allclose(MultiCrop(Mean(), size=20, grid=1).eval()(x), x.mean((1, 2, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultiCrop(Mean(), size=0), "size=0"),
        (lambda: MultiCrop(Mean(), grid=2, top=5), "top=5: expected 1 to 4"),
        (lambda: MultiCrop(Mean(), size=32)(frames()), "frames of 24x24 px are smaller than crops of 32 px"),
        (lambda: FrontEnd(Srm(), Mean())(frames()[None]), "set frames=null"),
        (lambda: HighPass(sigma=0), "sigma=0"),
        (lambda: Srm(truncate=0), "truncate=0"),
        (lambda: ConstrainedConv(gain=0), "gain=0"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("wrap", [lambda net: MultiCrop(net, size=32, grid=2), lambda net: FrontEnd(Srm(), net)])
def test_heat_maps_cover_the_frame(wrap):
    torch.manual_seed(0)
    network = wrap(FrameClassifier(SmallEncoder)).eval()
    maps = heat_maps(network, frames(64))
    assert maps.shape == (2, 64, 64) and np.isfinite(maps).all() and maps.max() <= 1
