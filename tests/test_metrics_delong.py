"""DeLong's variance and test against sums over all pairs and simulations; corrected p-values against hand counts."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics as sk

from unmask.metrics import bootstrap, delong
from unmask.metrics.multiple import holm


def binormal(rng, items=60, shift=1.0, noise=0.5):
    """Two correlated scores of `items` reals and as many fakes."""
    label = np.repeat([0, 1], items)
    shared = rng.normal(shift * label, 1)
    return label, shared, shared + rng.normal(0, noise, 2 * items)


def kernel(score, label):
    """The O(mn) matrix of comparisons, fakes by reals: 1 if the fake is higher, 1/2 for a tie, else 0."""
    fake, real = np.asarray(score, float)[np.asarray(label) == 1], np.asarray(score, float)[np.asarray(label) == 0]
    return np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in real] for a in fake])


def covariance(first, second, label):
    """The 2 x 2 covariance matrix of two AUCs, by equation: S10 / m + S01 / n over the structural components."""
    both = [kernel(score, label) for score in (first, second)]
    rows = np.cov([matrix.mean(axis=1) for matrix in both])
    columns = np.cov([matrix.mean(axis=0) for matrix in both])
    return rows / both[0].shape[0] + columns / both[0].shape[1]


@pytest.mark.parametrize("digits", [1, 9])
def test_variance_equals_the_sum_over_all_pairs(digits):
    label, first, _ = binormal(np.random.default_rng(0))
    first = np.round(first, digits)  # one digit: with ties
    matrix, area = kernel(first, label), delong.auroc(first, label)
    parts = delong.components(first, label)
    assert parts.fake == pytest.approx(matrix.mean(axis=1), abs=1e-12)
    assert parts.real == pytest.approx(matrix.mean(axis=0), abs=1e-12)
    assert area.value == pytest.approx(sk.roc_auc_score(label, first), abs=1e-12)
    assert area.variance == pytest.approx(covariance(first, first, label)[0, 0], rel=1e-9)


def test_variance_and_interval_by_hand():
    # fakes 4, 2 against reals 3, 1: 4 beats both, 2 beats one; of the fakes, 1 lies above the 3 and 2 above the 1
    parts = delong.components([4, 2, 3, 1], [1, 1, 0, 0])
    assert parts.fake.tolist() == [1, 0.5] and parts.real.tolist() == [0.5, 1]
    area = delong.auroc([4, 2, 3, 1], [1, 1, 0, 0])
    assert area.value == 0.75 and area.variance == pytest.approx(0.125 / 2 + 0.125 / 2)
    reach = 1.959964 * np.sqrt(0.125) / (0.75 * 0.25)
    assert np.log(area.low / (1 - area.low)) == pytest.approx(np.log(3) - reach, abs=1e-5)
    assert np.log(area.high / (1 - area.high)) == pytest.approx(np.log(3) + reach, abs=1e-5)
    assert delong.auroc([4, 2, 3, 1], [1, 1, 0, 0], confidence=0.5).low > area.low


@pytest.mark.parametrize("digits", [1, 9])
def test_paired_test_equals_the_sum_over_all_pairs(digits):
    label, first, second = (np.round(values, digits) for values in binormal(np.random.default_rng(1)))
    together = covariance(first, second, label)
    error = np.sqrt(together[0, 0] + together[1, 1] - 2 * together[0, 1])
    difference = sk.roc_auc_score(label, first) - sk.roc_auc_score(label, second)
    found = delong.paired(first, second, label)
    assert found.value == pytest.approx(difference, abs=1e-12)
    assert found.p == pytest.approx(2 * scipy.stats.norm.sf(abs(difference) / error), rel=1e-9)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error, rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_only_ranks_count_and_swapping_the_detectors_changes_the_sign():
    label, first, second = binormal(np.random.default_rng(2))
    one, other = delong.paired(first, second, label), delong.paired(second, np.exp(first) * 7, label)
    assert one.value == pytest.approx(-other.value) and one.p == pytest.approx(other.p)
    assert one.low == pytest.approx(-other.high)
    assert delong.paired(first, 3 * first - 2, label) == (0, 0, 0, 1)


def test_false_alarms_are_as_frequent_as_the_level_says():
    """Two equally good detectors: of 600 tests at 5 %, 30 are expected to be significant, give or take 5 (sd)."""
    rng, found = np.random.default_rng(3), []
    for _ in range(600):
        label = np.repeat([0, 1], 50)
        shared = rng.normal(label, 1)
        scores = (shared + rng.normal(0, 0.7, 100) for _ in range(2))
        found.append(delong.paired(*scores, label).p)
    assert 15 <= np.sum(np.array(found) < 0.05) <= 48
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-3


def test_what_is_undefined_is_nan():
    assert delong.auroc([3, 2, 1], [1, 1, 0])[:1] == (1,) and np.isnan(delong.auroc([3, 2, 1], [1, 1, 0])[1:]).all()
    value, variance, low, high = delong.auroc([4, 3, 2, 1], [1, 1, 0, 0])  # perfect: no spread to estimate a width from
    assert (value, variance) == (1, 0) and np.isnan([low, high]).all()
    assert np.isnan(delong.auroc([1, 2], [1, 1])).all() and np.isnan(delong.auroc([], [])).all()
    assert np.isnan(delong.paired([1, 2, 3], [3, 2, 1], [0, 1, 1])[1:]).all()
    opposite = delong.paired([4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 0, 0])
    assert opposite.value == 1 and np.isnan(opposite[1:]).all()
    with pytest.raises(ValueError, match="drop items that could not be scored"):
        delong.auroc([1, np.nan], [0, 1])


def test_holm_by_hand():
    # sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 = 0.04, raised to the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.4]) == pytest.approx([0.8, 0.8]) and holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([0.04]).tolist() == [0.04] and holm([]).tolist() == []
    assert holm([0.01, np.nan, 0.02]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)  # two tests, not three
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.2])


def test_holm_rejects_what_the_step_down_procedure_rejects():
    """Holm's own description: compare the k-th smallest with level / (T - k + 1), and stop if it is above."""
    rng = np.random.default_rng(4)
    for _ in range(100):
        p, rejected = rng.beta(0.3, 2, 6), set()
        for rank, at in enumerate(np.argsort(p)):
            if p[at] > 0.05 / (6 - rank):
                break
            rejected.add(int(at))
        assert set(np.flatnonzero(holm(p) <= 0.05).tolist()) == rejected


def items(score, label, first=0):
    names = [f"v{first + number:03d}" for number in range(len(score))]
    return pd.DataFrame({"item": names, "label": label, "score": score})


def test_every_pair_of_detectors_is_compared():
    label, first, second = binormal(np.random.default_rng(5), noise=2.0)
    third = np.random.default_rng(6).normal(size=len(label))
    scores = {"a": first, "b": second, "c": third}
    pairs = bootstrap.pairwise({name: items(score, label) for name, score in scores.items()}, resamples=300)
    assert [(pair.a, pair.b) for pair in pairs] == list(itertools.combinations("abc", 2))
    raw = []
    for pair in pairs:
        expected = sk.roc_auc_score(label, scores[pair.a]) - sk.roc_auc_score(label, scores[pair.b])
        assert pair.found.difference == pytest.approx(expected, abs=1e-12)
        assert pair.found.low < expected < pair.found.high
        raw.append((pair.found.p, pair.found.p_delong))
        together = covariance(scores[pair.a], scores[pair.b], label)
        z = expected / np.sqrt(together[0, 0] + together[1, 1] - 2 * together[0, 1])
        assert pair.found.p_delong == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-9)
    for corrected, single in zip(zip(*[pair[-2:] for pair in pairs], strict=True), zip(*raw, strict=True), strict=True):
        least, middle, most = np.argsort(single)
        assert corrected[least] == pytest.approx(min(1, 3 * single[least]))
        assert corrected[middle] == pytest.approx(min(1, max(3 * single[least], 2 * single[middle])))
        assert corrected[most] >= single[most]


def test_a_pair_without_common_items_does_not_count_as_a_test():
    label, first, second = binormal(np.random.default_rng(7), noise=2.0)
    tables = {"a": items(first, label), "b": items(second, label), "c": items(first, label, first=500)}
    ab, ac, bc = bootstrap.pairwise(tables, resamples=200)
    assert ac.found is None and bc.found is None and np.isnan([*ac[-2:], *bc[-2:]]).all()
    assert (ab.p, ab.p_delong) == (ab.found.p, ab.found.p_delong)
    assert bootstrap.pairwise({"a": tables["a"]}) == []
