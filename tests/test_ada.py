"""Adaptive augmentation: each part on pictures that are known, and the probability that follows the signs."""

import math

import pytest
import torch

from unmask.training.ada import ADA, COLOURS, GEOMETRIC, _moved, _recoloured, colours, inverse_geometry
from unmask.training.draws import Draws

X = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
MIRROR, TURN, SHIFT, SCALE, FIRST, STRETCH, SECOND, DRIFT = range(GEOMETRIC)
BRIGHTNESS, CONTRAST, LUMA, HUE, SATURATION = range(COLOURS)


def moved(which, uniform=None, normal=None, x=X):
    """Apply one geometric augmentation with given random values."""
    applied = torch.zeros(len(x), GEOMETRIC, dtype=torch.bool)
    applied[:, which] = True
    values, normals = torch.full((len(x), 8), 0.5), torch.zeros(len(x), 7)
    for target, given in ((values, uniform), (normals, normal)):
        for at, value in (given or {}).items():
            target[:, at] = value
    return _moved(x, inverse_geometry(applied, values, normals, x.shape[-1]))


def coloured(which, uniform=0.0, normal=0.0, x=X):
    applied = torch.zeros(len(x), COLOURS, dtype=torch.bool)
    applied[:, which] = True
    return _recoloured(x, colours(applied, torch.full((len(x), 2), uniform), torch.full((len(x), 3), normal)))


def test_mirroring_turns_and_shifts_are_exact():
    torch.testing.assert_close(moved(MIRROR, {0: 0.7}), X.flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved(MIRROR, {0: 0.3}), X, rtol=0, atol=1e-5)
    for value, turns in ((0.3, 1), (0.6, 2), (0.9, 3)):
        found = moved(TURN, {1: value})
        assert any(torch.allclose(found, torch.rot90(X, k, (2, 3)), atol=1e-5) for k in (turns, 4 - turns))
    right = moved(SHIFT, {2: 1.0, 3: 0.5})  # by 0.125 x 16 px
    torch.testing.assert_close(right[..., 2:], X[..., :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(right[..., :2], X[..., :2].flip(-1), rtol=0, atol=1e-5, msg="mirrored at the border")
    down = moved(SHIFT, {2: 0.5, 3: 0.0})
    torch.testing.assert_close(down[..., :-2, :], X[..., 2:, :], rtol=0, atol=1e-5)


def test_scaling_stretching_rotation_and_drift_move_a_known_pattern():
    at = (torch.arange(64) + 0.5) / 32 - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    ramp = torch.stack([x, y, torch.zeros_like(x)])[None]
    middle = (..., slice(24, 40), slice(24, 40))
    larger = moved(SCALE, normal={0: 5.0}, x=ramp)  # 2^(0.2 x 5) = 2
    torch.testing.assert_close(larger[middle], ramp[middle] / 2, rtol=0, atol=1e-4)
    wider = moved(STRETCH, normal={1: 5.0}, x=ramp)
    torch.testing.assert_close(wider[:, 0][middle], x[None][middle] / 2, rtol=0, atol=1e-4)
    torch.testing.assert_close(wider[:, 1][middle], y[None][middle] * 2, rtol=0, atol=1e-4)
    for which, place in ((FIRST, 4), (SECOND, 5)):
        turned = moved(which, {place: 0.5 + 1 / 12}, x=ramp)  # by 30 degrees
        radius = turned[:, :2].square().sum(1)
        torch.testing.assert_close(radius[middle], (x**2 + y**2)[None][middle], rtol=0, atol=1e-4)
        cosine = (turned[0, 0] * x + turned[0, 1] * y) / (x**2 + y**2)
        assert float(cosine[26:38, 26:38].mean()) == pytest.approx(math.cos(math.pi / 6), abs=1e-3)
    drifted = moved(DRIFT, normal={2: 0.5}, x=ramp)
    torch.testing.assert_close(drifted[:, 0][middle], x[None][middle] - 0.125, rtol=0, atol=1e-4)


def test_colours_by_their_formulas():
    torch.testing.assert_close(coloured(BRIGHTNESS, normal=1.5), X + 0.3)
    torch.testing.assert_close(coloured(CONTRAST, normal=2.0), X * 2)
    grey = X.mean(1, keepdim=True)
    torch.testing.assert_close(coloured(SATURATION, normal=1.0), grey + (X - grey) * 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(coloured(LUMA, uniform=0.9), X - 2 * grey, rtol=0, atol=1e-5)
    torch.testing.assert_close(coloured(LUMA, uniform=0.1), X, rtol=0, atol=1e-6)
    turned = coloured(HUE, uniform=0.5 + 1 / 3)  # by 120 degrees: the channels change places
    assert any(torch.allclose(turned, X.roll(k, 1), atol=1e-5) for k in (1, 2))
    turned = coloured(HUE, uniform=0.6)
    torch.testing.assert_close(turned.mean(1), X.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(turned.norm(dim=1), X.norm(dim=1), rtol=0, atol=1e-4)


def test_a_share_p_of_the_images_is_changed():
    augment = ADA(geometry=False)
    x = torch.rand(3000, 3, 4, 4)
    torch.testing.assert_close(augment(x, Draws(0)), x, rtol=0, atol=1e-5)
    augment.p.fill_(0.1)
    changed = (augment(x, Draws(0)) - x).abs().amax((1, 2, 3)) > 1e-4
    # Brightness, contrast, hue and saturation always change an image, inverted luma in half of the cases.
    assert float(changed.float().mean()) == pytest.approx(1 - 0.9**4 * 0.95, abs=0.03)
    augment = ADA(colour=False, geometry=False, cutout=0.5)
    augment.p.fill_(0.3)
    cut = (augment(x + 1, Draws(0)) == 0).flatten(1).any(1)
    assert float(cut.float().mean()) == pytest.approx(0.3, abs=0.03)


def test_gradients_go_through_and_draws_are_each_images_own():
    augment = ADA(cutout=0.5)
    augment.p.fill_(0.8)
    x = X.clone().requires_grad_(True)
    augment(x, Draws(3)).square().sum().backward()
    assert float(x.grad.abs().sum()) > 0
    same = X[:1].expand(6, -1, -1, -1)
    made = augment(same, Draws(3))
    assert torch.equal(made, augment(same, Draws(3))) and not torch.allclose(made[0], made[1])


def test_the_probability_follows_the_signs():
    augment = ADA(target=0.6, images=100, every=2)
    steps = [(0.8, 10), (0.9, 10), (1.0, 5), (0.9, 5), (0.0, 20), (0.2, 20)]
    found = []
    for sign, count in steps:
        augment.watch(torch.tensor(sign), count)
        found.append(round(float(augment.p), 4))
    assert found == [0, 0.2, 0.2, 0.3, 0.3, 0], (
        "after 20 images up by 0.2, after 10 by 0.1; 40 images down, to 0 at least"
    )
    assert float(augment.sign) == pytest.approx(0.1)
    for _ in range(10):
        augment.watch(torch.tensor(1.0), 50)
    assert float(augment.state()["ada_p"]) == 1, "1 at most"


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"images": 0}, {"every": 0}, {"cutout": 1.0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected a target between -1 and 1"):
        ADA(**wrong)
