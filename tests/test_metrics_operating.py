"""Rates at a limit and the partial AUC against hand counts, scikit-learn and torchmetrics."""

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torchmetrics.functional.classification import binary_sensitivity_at_specificity

from unmask.metrics import detection, operating, ranking


@pytest.fixture(params=["distinct", "tied"])
def case(request):
    rng = np.random.default_rng(7)
    label = rng.integers(0, 2, 600)
    score = rng.normal(1.5 * label, 1)
    return np.round(score, 1) if request.param == "tied" else score, label


def test_rates_at_a_limit_by_hand():
    # from the top: fake, fake, real, fake | tie of a real and a fake | real, real
    score, label = [9, 8, 7, 6, 5, 5, 4, 3], [1, 1, 0, 1, 0, 1, 0, 0]
    assert operating.tpr_at_fpr(score, label, 0.24) == 2 / 4  # no false alarm is allowed: one of four reals is 0.25
    assert operating.tpr_at_fpr(score, label, 0.25) == 3 / 4
    assert operating.tpr_at_fpr(score, label, 0.49) == 3 / 4  # not interpolated, and half of a tie is not attained
    assert operating.tpr_at_fpr(score, label, 0.5) == 1
    assert operating.fpr_at_tpr(score, label, 0.5) == 0
    assert operating.fpr_at_tpr(score, label, 0.75) == 1 / 4
    assert operating.fpr_at_tpr(score, label, 0.76) == 2 / 4


def test_a_real_at_the_top_leaves_no_threshold_within_the_limit():
    assert operating.tpr_at_fpr([3, 2, 1], [0, 1, 1], 0.05) == 0
    assert operating.tpr_at_fpr([3, 3, 1], [0, 1, 1], 0.05) == 0  # nor does a tie with it
    assert operating.fpr_at_tpr([3, 2, 1], [0, 1, 1], 0.95) == 1
    assert (
        operating.tpr_at_fpr([1, 2, 3], [0, 1, 1], 0.05) == 1 and operating.fpr_at_tpr([1, 2, 3], [0, 1, 1], 0.95) == 0
    )


@pytest.mark.parametrize("reals", [20, 60, 100, 140, 180, 220, 700])
def test_a_limit_that_is_a_whole_number_of_items_is_attained_despite_rounding(reals):
    allowed = reals // 20  # 5 %; 0.05 * 140 is above 7 in floating point, and 0.05 * 60 is 3
    score = np.arange(reals + 1.0)
    label = np.zeros(reals + 1)
    label[reals - allowed] = 1  # exactly `allowed` reals are above the only fake
    assert operating.tpr_at_fpr(score, label, allowed / reals) == 1
    assert operating.tpr_at_fpr(score, label, 0.05) == 1
    assert operating.tpr_at_fpr(score, label, (allowed - 0.5) / reals) == 0
    mirrored = operating.fpr_at_tpr(-score, 1 - label, 0.95)  # 95 % of the fakes are above the only real
    assert mirrored == 0


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.2, 1.0])
def test_rates_equal_scikit_learns_curve_and_torchmetrics(case, limit):
    score, label = case
    fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
    ours = operating.tpr_at_fpr(score, label, limit)
    assert ours == pytest.approx(tpr[fpr <= limit].max(), abs=1e-12)
    assert operating.fpr_at_tpr(score, label, limit) == pytest.approx(fpr[tpr >= limit].min(), abs=1e-12)
    probs = torch.tensor(1 / (1 + np.exp(-score)))  # torchmetrics applies a sigmoid to scores outside [0, 1]
    theirs, _ = binary_sensitivity_at_specificity(probs, torch.tensor(label), min_specificity=1 - limit)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limit", [0.01, 0.1, 0.5, 1.0])
def test_partial_auc_equals_scikit_learn(case, limit, weighted):
    score, label = case
    weight = np.random.default_rng(1).integers(0, 4, len(score)) if weighted else None
    expected = sk.roc_auc_score(label, score, sample_weight=weight, max_fpr=limit)
    assert operating.pauc(score, label, limit, weight) == pytest.approx(expected, abs=1e-9)
    if limit == 1:
        assert operating.pauc(score, label, limit, weight) == pytest.approx(
            ranking.auroc(score, label, weight), abs=1e-9
        )


def test_partial_auc_by_hand():
    assert operating.pauc([4, 3, 2, 1], [1, 1, 0, 0]) == pytest.approx(1, abs=1e-12)
    assert operating.pauc([1, 1, 1, 1], [1, 1, 0, 0]) == pytest.approx(0.5, abs=1e-12)  # one tie: the diagonal
    assert operating.pauc([1, 2, 3, 4], [1, 1, 0, 0]) == pytest.approx((1 - 0.05 / 0.95) / 2)  # no area: the minimum
    # ROC: up to (0, 1/2), then a tie to (1, 1): the area up to 0.1 is 0.1 * (0.5 + 0.55) / 2 = 0.0525
    expected = (1 + (0.0525 - 0.005) / (0.1 - 0.005)) / 2
    assert operating.pauc([2, 1, 1], [1, 1, 0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["tpr_at_1", "tpr_at_5", "fpr_at_95", "pauc"])
def test_resamples_are_computed_like_repeated_items(case, name):
    score, label = case
    weights = np.random.default_rng(2).integers(0, 3, (2, 3, len(score)))
    together = detection.evaluate(score, label, weights)[name]
    assert together.shape == (2, 3)
    for at in np.ndindex(2, 3):
        y, s = np.repeat(label, weights[at]), np.repeat(score, weights[at])
        fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
        expected = {
            "tpr_at_1": tpr[fpr <= 0.01].max(),
            "tpr_at_5": tpr[fpr <= 0.05].max(),
            "fpr_at_95": fpr[tpr >= 0.95].min(),
            "pauc": sk.roc_auc_score(y, s, max_fpr=0.1),
        }[name]
        assert together[at] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("label", [[0, 0], [1, 1], []])
def test_without_a_class_the_metrics_are_undefined(label):
    score = [0.1, 0.2][: len(label)]
    found = [
        operating.tpr_at_fpr(score, label, 0.05),
        operating.fpr_at_tpr(score, label, 0.95),
        operating.pauc(score, label),
    ]
    assert np.isnan(found).all()


def test_a_resample_without_a_class_is_undefined_and_the_others_are_not():
    weight = [[1, 1, 1], [1, 1, 0]]
    for found in (
        operating.tpr_at_fpr([1, 2, 3], [0, 0, 1], 0.05, weight),
        operating.pauc([1, 2, 3], [0, 0, 1], 0.1, weight),
    ):
        assert found[0] == 1 and np.isnan(found[1])
