"""Differentiable augmentation: what each part does is seen on pictures that are known, and gradients go through."""

import pytest
import torch

from unmask.training.diffaug import DiffAugment

X = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_shift_moves_all_channels_alike_and_brings_in_grey():
    picture = torch.zeros(200, 3, 16, 16)
    picture[:, :, 8, 8] = 1.0
    moved = DiffAugment(colour=False, shift=0.25, cutout=0)(picture)
    found = moved.nonzero()
    assert len(found) == 600 and set(moved.unique().tolist()) == {0.0, 1.0}
    places = {(int(row), int(column)) for _, _, row, column in found}
    assert {row for row, _ in places} == {column for _, column in places} == set(range(4, 13)), "by up to 4 px each way"
    same = moved.amax((2, 3)).eq(1).all()
    assert same and (moved == moved[:, :1]).all()


def test_what_is_cut_out_is_a_square_whose_centre_lies_anywhere():
    cut = DiffAugment(colour=False, shift=0, cutout=0.5)(torch.ones(500, 3, 16, 16)) == 0
    assert (cut == cut[:, :1]).all()
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert ((rows * columns) == cut[:, 0].sum((1, 2))).all(), "a rectangle"
    assert int(rows.max()) == int(columns.max()) == 8 and int(rows.min()) == 4, "at the border half of it is outside"
    hit = cut[:, 0].float().mean(0)
    assert float(hit[8, 8]) == pytest.approx(64 / 17**2, abs=0.06), "8 x 8 of the 17 x 17 centres reach a pixel inside"
    assert float(hit[0, 0]) == pytest.approx(25 / 17**2, abs=0.05), "5 x 5 of them reach a corner"


def test_colours_by_their_formulas():
    made = DiffAugment(shift=0, cutout=0)(X)
    # Brightness moves the mean by up to a half; saturation and contrast leave it.
    moved = made.mean((1, 2, 3)) - X.mean((1, 2, 3))
    assert float(moved.abs().max()) <= 0.5 and float(moved.min()) < -0.3 and float(moved.max()) > 0.3
    # Grey contrast, the deviation of the mean over channels: by 0.5 to 1.5.
    ratio = made.mean(1).flatten(1).std(1) / X.mean(1).flatten(1).std(1)
    assert 0.5 <= float(ratio.min()) < 0.7 and 1.3 < float(ratio.max()) <= 1.5
    # Differences between channels: by saturation (0 to 2) times contrast.
    coloured = (made - made.mean(1, keepdim=True)).flatten(1).std(1) / (X - X.mean(1, keepdim=True)).flatten(1).std(1)
    saturation = coloured / ratio
    assert 0 <= float(saturation.min()) < 0.2 and 1.8 < float(saturation.max()) <= 2


def test_draws_are_each_pictures_own_and_of_the_default_generator():
    torch.manual_seed(3)
    one = DiffAugment()(X[:1].expand(8, -1, -1, -1))
    assert not torch.equal(one[0], one[1])
    torch.manual_seed(3)
    assert torch.equal(one, DiffAugment()(X[:1].expand(8, -1, -1, -1)))


def test_gradients_go_through_what_is_seen_and_not_through_what_is_cut_out():
    x = X.clone().requires_grad_(True)
    DiffAugment(colour=False, shift=0, cutout=0.5)(x).sum().backward()
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    x = X.clone().requires_grad_(True)
    DiffAugment()(x).square().sum().backward()
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("wrong", [{"shift": 1.0}, {"cutout": -0.1}])
def test_shares_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        DiffAugment(**wrong)
