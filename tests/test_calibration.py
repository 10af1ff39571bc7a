"""Fitted calibration against scikit-learn, SciPy and hand counts."""

import json

import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics as sk
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from unmask.metrics import calibration
from unmask.metrics.calibrate import COLDEST, HOTTEST, Isotonic, Platt, Temperature

KINDS = (Temperature, Platt, Isotonic)


def overconfident(items=2000, seed=0, tied=False):
    """Scores three times as large as the true log odds, and shifted by 1."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, items)
    label = (rng.uniform(size=items) < 1 / (1 + np.exp(-true))).astype(int)
    score = 3 * true + 1
    return np.round(score) if tied else score, label


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_temperature_is_where_scipy_finds_the_least_log_loss(seed):
    score, label = overconfident(seed=seed)

    def loss(log):
        return sk.log_loss(label, 1 / (1 + np.exp(-score / np.exp(log))))

    best = scipy.optimize.minimize_scalar(loss, bounds=(-3, 4), method="bounded", options={"xatol": 1e-9}).x
    assert Temperature.fit(score, label).temperature == pytest.approx(np.exp(best), rel=1e-5)


def test_temperature_by_hand():
    # scores +1 and -1, and three of four are right: the best probability is 3/4, so 1 / T = log 3
    fitted = Temperature.fit([1, 1, 1, 1, -1, -1, -1, -1], [1, 1, 1, 0, 0, 0, 0, 1])
    assert fitted.temperature == pytest.approx(1 / np.log(3), rel=1e-9)
    assert fitted([1, -1, 0]) == pytest.approx([0.75, 0.25, 0.5])


def test_temperature_has_limits():
    assert Temperature.fit([2, 1, -1, -2], [1, 1, 0, 0]).temperature == pytest.approx(COLDEST)  # separated at 0
    assert Temperature.fit([2, 1, -1, -2], [0, 0, 1, 1]).temperature == pytest.approx(HOTTEST)  # reversed
    assert Temperature.fit([5, 5], [1, 0]).temperature == pytest.approx(HOTTEST)  # 0.5 is best


@pytest.mark.parametrize("tied", [False, True])
def test_platt_without_smoothing_is_scikit_learns_logistic_regression(tied):
    score, label = overconfident(tied=tied)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(score[:, None], label)
    fitted = Platt.fit(score, label, smooth=False)
    assert (fitted.slope, fitted.offset) == pytest.approx((model.coef_.item(), model.intercept_.item()), abs=1e-6)
    assert fitted(score) == pytest.approx(model.predict_proba(score[:, None])[:, 1], abs=1e-6)


def test_platt_with_smoothing_is_a_regression_on_his_targets():
    score, label = overconfident(items=60)
    fakes, reals = label.sum(), (1 - label).sum()
    target = np.where(label == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    # a target t is a fake of weight t and a real of weight 1 - t
    twice, weight = np.r_[score, score][:, None], np.r_[target, 1 - target]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(twice, np.repeat([1, 0], len(score)), sample_weight=weight)
    fitted = Platt.fit(score, label)
    assert (fitted.slope, fitted.offset) == pytest.approx((model.coef_.item(), model.intercept_.item()), abs=1e-5)
    assert fitted.slope < Platt.fit(score, label, smooth=False).slope


def test_platt_of_separated_scores_by_hand():
    # two points: the sigmoid passes through the targets (2 + 1) / (2 + 2) and 1 / (2 + 2), whose log odds are +-log 3
    fitted = Platt.fit([3, 3, 1, 1], [1, 1, 0, 0])
    assert (fitted.slope, fitted.offset) == pytest.approx((np.log(3), -2 * np.log(3)), abs=1e-8)


@pytest.mark.parametrize("score", [[2, 1, -1, -2], [5, 5, 5, 5]])
def test_platt_refuses_to_reverse_the_ranking(score):
    with pytest.raises(ValueError, match="expected a slope above 0"):
        Platt.fit(score, [0, 0, 1, 1])


@pytest.mark.parametrize("tied", [False, True])
def test_isotonic_equals_scikit_learn(tied):
    score, label = overconfident(items=500, tied=tied)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    fitted = Isotonic.fit(score, label)
    new = np.linspace(score.min() - 5, score.max() + 5, 2001)
    assert fitted(score) == pytest.approx(model.predict(score), abs=1e-6)
    assert fitted(new) == pytest.approx(model.predict(new), abs=1e-6)
    assert tied or len(fitted.score) < len(score) / 2, "constant parts are kept as two points"


def test_isotonic_by_hand():
    # the scores 2 and 3 violate the order and are pooled to 1/2; the two items at 1 are averaged to 0
    fitted = Isotonic.fit([1, 1, 2, 3, 4], [0, 0, 1, 0, 1])
    assert fitted.score == (1, 2, 3, 4) and fitted.prob == pytest.approx((0, 0.5, 0.5, 1))
    assert fitted([0, 1.5, 2.5, 3.5, 9]) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_lowers_the_error_on_new_data_and_keeps_the_ranking(kind):
    fitted = kind.fit(*overconfident(seed=1))
    score, label = overconfident(seed=2)
    before, after = 1 / (1 + np.exp(-score)), fitted(score)
    assert calibration.ece(after, label) < 0.6 * calibration.ece(before, label)
    assert sk.log_loss(label, np.clip(after, 1e-6, 1 - 1e-6)) < sk.log_loss(label, before)
    assert (np.diff(fitted(np.sort(score))) >= 0).all() and after.min() >= 0 and after.max() <= 1
    if kind is not Isotonic:
        assert sk.roc_auc_score(label, after) == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_survive_json_and_restore_the_map(kind):
    score, label = overconfident(items=100)
    fitted = kind.fit(score, label)
    restored = kind.from_settings(json.loads(json.dumps(fitted.to_settings(), allow_nan=False)))
    assert restored == fitted and hash(restored) == hash(fitted)
    np.testing.assert_array_equal(restored(score), fitted(score))


@pytest.mark.parametrize("kind", KINDS)
def test_huge_scores_neither_overflow_nor_break_the_fit(kind):
    huge = np.finfo(float).max
    fitted = kind.fit([huge, 2, -1, 1, -2, -huge], [1, 1, 1, 0, 0, 0])
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        low, high = fitted([-huge, huge])
    assert 0 <= low < 0.5 < high <= 1 and np.isnan(fitted([np.nan])).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("score", "label", "message"),
    [
        ([1, np.nan], [0, 1], "expected finite scores"),
        ([1, 2], [0, 2], "label 2: expected 0 for real or 1 for fake"),
        ([1, 2], [1, 1], "0 reals and 2 fakes: expected scored items of both classes"),
        ([1, 2, 3], [0, 1], "expected two lists of the same length"),
        ([], [], "both classes"),
    ],
)
def test_what_cannot_be_fitted_is_refused(kind, score, label, message):
    with pytest.raises(ValueError, match=message):
        kind.fit(score, label)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Temperature, {}, "temperature None: expected a number"),
        (Temperature, {"temperature": 0.0}, "expected a number above 0"),
        (Temperature, {"temperature": float("nan")}, "expected a number above 0"),
        (Temperature, {"temperature": True}, "expected a number"),
        (Platt, {"slope": -1.0, "offset": 0.0}, "a slope above 0"),
        (Platt, {"slope": "1"}, "slope '1': expected a number"),
        (Isotonic, {"score": [1.0, 2.0], "prob": [0.5]}, "2 scores and 1 probabilities"),
        (Isotonic, {"score": [], "prob": []}, "0 scores"),
        (Isotonic, {"score": [2.0, 1.0], "prob": [0.1, 0.2]}, "increasing scores"),
        (Isotonic, {"score": [1.0, 2.0], "prob": [0.3, 0.2]}, "non-decreasing"),
        (Isotonic, {"score": [1.0], "prob": [1.2]}, "non-decreasing"),
        (Isotonic, {"score": 1.0, "prob": [0.5]}, "expected a list of numbers"),
    ],
)
def test_damaged_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind.from_settings(settings)
