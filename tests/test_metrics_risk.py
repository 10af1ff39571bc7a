"""Risk-coverage curves against hand counts and a direct loop."""

import numpy as np
import pytest

from unmask.metrics import risk


def test_curve_and_area_by_hand():
    # distances from the threshold 1: 4 (right), 3 (wrong), 2 (right), 1 (wrong)
    score, label = [5, -2, 3, 2], [1, 1, 1, 0]
    coverage, risks = risk.risk_coverage(score, label, threshold=1)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risks == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert risk.aurc(score, label, threshold=1) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4, abs=1e-12)


def test_ties_are_accepted_together_in_any_order():
    # +2 (right) and -2 (wrong) tie, then 1 (right): risk 1/2 over two thirds of the items, then 1/3 over the last
    expected = (2 * 1 / 2 + 1 * 1 / 3) / 3
    assert risk.aurc([2, -2, 1], [1, 1, 1]) == pytest.approx(expected, abs=1e-12)
    assert risk.aurc([1, -2, 2], [1, 1, 1]) == pytest.approx(expected, abs=1e-12)
    coverage, risks = risk.risk_coverage([2, -2, 1], [1, 1, 1])
    assert coverage == pytest.approx([2 / 3, 1]) and risks == pytest.approx([1 / 2, 1 / 3])


def test_a_score_at_the_threshold_is_called_real():
    assert risk.aurc([0.5], [0], threshold=0.5) == 0 and risk.aurc([0.5], [1], threshold=0.5) == 1


def test_area_equals_a_loop_over_the_most_certain_items():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300)
    score = rng.normal(label - 0.3, 1)
    ranked = sorted(range(300), key=lambda at: -abs(score[at] - 0.2))
    errors, total = 0, 0.0
    for number, at in enumerate(ranked, start=1):
        errors += (score[at] > 0.2) != label[at]
        total += errors / number
    assert risk.aurc(score, label, threshold=0.2) == pytest.approx(total / 300, abs=1e-12)


def test_the_last_risk_is_the_error_rate_and_weights_are_repetitions():
    rng = np.random.default_rng(1)
    label, weights = rng.integers(0, 2, 100), rng.integers(0, 4, (5, 100))
    score = np.round(rng.normal(label, 1), 1)  # with ties
    areas = risk.aurc(score, label, weights, 0.5)
    for row, weight in enumerate(weights):
        s, y = np.repeat(score, weight), np.repeat(label, weight)
        assert areas[row] == pytest.approx(float(risk.aurc(s, y, threshold=0.5)), abs=1e-12)
        assert risk.risk_coverage(score, label, weight, 0.5)[1][-1] == pytest.approx(np.mean((s > 0.5) != y))


def test_nothing_decided_is_undefined():
    assert np.isnan(risk.aurc([], [])) and np.isnan(risk.aurc([1, 2], [0, 1], [0, 0]))
    coverage, risks = risk.risk_coverage([3, 1], [1, 1], [0, 1])
    assert coverage.tolist() == [0, 1] and np.isnan(risks[0]) and risks[1] == 0
