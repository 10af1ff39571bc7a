"""Detection costs by hand and by brute force, and intervals over speakers."""

import numpy as np
import pandas as pd
import pytest

from unmask.metrics import bootstrap, ranking, speakers
from unmask.metrics.costs import ASVSPOOF5, Costs, actual_dcf, min_dcf


@pytest.fixture(params=["distinct", "tied"])
def case(request):
    rng = np.random.default_rng(7)
    label = rng.integers(0, 2, 400)
    score = rng.normal(1.5 * label, 1)
    return np.round(score, 1) if request.param == "tied" else score, label


def brute_force(score, label, price, threshold):
    """The normalised cost at a threshold, from counts: C_miss (1 - p) P_miss + C_fa p P_fa over the better default."""
    missed = sum(s > threshold for s, y in zip(score, label, strict=True) if y == 0) / sum(y == 0 for y in label)
    accepted = sum(s <= threshold for s, y in zip(score, label, strict=True) if y == 1) / sum(y == 1 for y in label)
    cost = price.miss * (1 - price.prior) * missed + price.false_alarm * price.prior * accepted
    return cost / min(price.miss * (1 - price.prior), price.false_alarm * price.prior)


def test_costs_by_hand():
    # from the top: fake, fake, real, fake, real, real
    score, label = [5.0, 4, 3, 2, 1, 0], [1, 1, 0, 1, 0, 0]
    # ASVspoof 5: 0.95 P_miss + 0.5 P_fa, over 0.5. Rejecting the two highest costs 1.9 * 0 + 1/3; the four: 1.9 / 3.
    assert float(min_dcf(score, label)) == pytest.approx(1 / 3)
    assert ASVSPOOF5.threshold == pytest.approx(np.log(1.9))
    # At log(1.9) = 0.64, all fakes are rejected, and two of three reals.
    assert float(actual_dcf(score, label)) == pytest.approx(1.9 * 2 / 3)
    cheap = Costs(miss=1, false_alarm=1, prior=0.5)  # the mean of both rates, times 2
    assert float(min_dcf(score, label, costs=cheap)) == pytest.approx(1 / 3)
    assert float(actual_dcf(score, label, costs=cheap)) == pytest.approx(2 / 3) and cheap.threshold == 0
    assert float(min_dcf([1, 1, 1, 1], [0, 1, 0, 1])) == 1, "a detector that tells nothing costs as much as none"
    assert float(min_dcf([0, 1], [1, 0])) == 1
    assert np.isnan(min_dcf([1, 2], [0, 0])) and np.isnan(actual_dcf([1, 2], [1, 1])) and np.isnan(min_dcf([], []))


@pytest.mark.parametrize("price", [ASVSPOOF5, Costs(1, 1, 0.5), Costs(10, 1, 0.01), Costs(1, 20, 0.3)])
def test_costs_equal_brute_force(case, price):
    score, label = case
    thresholds = [-np.inf, *np.unique(score), np.inf]
    every = [brute_force(score, label, price, threshold) for threshold in thresholds]
    assert float(min_dcf(score, label, costs=price)) == pytest.approx(min(every))
    bayes = np.log(price.miss * (1 - price.prior) / (price.false_alarm * price.prior))
    assert float(actual_dcf(score, label, costs=price)) == pytest.approx(brute_force(score, label, price, bayes))
    assert min_dcf(score, label, costs=price) <= actual_dcf(score, label, costs=price) + 1e-12


def test_calibrated_scores_cost_about_the_minimum():
    """The log-likelihood ratio of two Gaussians of variance 1, 2 apart, is 2 x - 2."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 40_000)
    ratio = 2 * rng.normal(2 * label, 1) - 2
    best, actual = float(min_dcf(ratio, label)), float(actual_dcf(ratio, label))
    assert actual - best < 0.01
    assert float(actual_dcf(ratio + 3, label)) > best + 0.2 and float(min_dcf(ratio + 3, label)) == pytest.approx(best)


def test_weights_count_as_repeated_rows(case):
    score, label = case
    times = np.random.default_rng(1).integers(0, 4, (3, len(score)))
    for function in (min_dcf, actual_dcf):
        whole = function(score, label, times)
        for row, value in zip(times, whole, strict=True):
            assert value == pytest.approx(float(function(np.repeat(score, row), np.repeat(label, row))))


def test_prices_that_cannot_be_are_refused():
    for price in (Costs(miss=0), Costs(false_alarm=-1), Costs(prior=1)):
        with pytest.raises(ValueError, match="expected costs above 0, and a prior between 0 and 1"):
            min_dcf([1, 2], [0, 1], costs=price)


def test_groups_are_drawn_with_replacement():
    times = bootstrap.resample_groups(8, 5000, 0)
    assert times.shape == (5000, 8) and (times.sum(1) == 8).all()
    np.testing.assert_allclose(times.mean(0), 1, atol=0.05)
    np.testing.assert_allclose(times.var(0), 7 / 8, atol=0.06)  # of a binomial with n = 8, p = 1 / 8
    assert np.array_equal(times, bootstrap.resample_groups(8, 5000, 0))


def predictions(count=20, each=6, spread=1.5, seed=0):
    """A table of two windows per recording; speakers differ in their mean score by `spread`."""
    rng, rows, of = np.random.default_rng(seed), [], {}
    for speaker in range(count):
        own = spread * rng.standard_normal()
        for number in range(each):
            label = number % 2
            item, method = f"voices/{speaker}-{number}", "real" if not label else ("tts", "vc")[number % 4 // 2]
            of[item] = f"speaker{speaker}"
            for window in range(2):
                logit = 1.5 * (2 * label - 1) + own + rng.standard_normal()
                rows.append((item, 0, window, 2.0 * window, label, method, "voices", "test", logit))
    names = ["item", "track", "frame", "time", "label", "method", "dataset", "split", "logit"]
    return pd.DataFrame(rows, columns=names), of


def test_the_summary_has_each_attack_at_both_levels():
    table, of = predictions()
    found = speakers.summary(table, of, resamples=200)
    assert set(found["level"]) == {"utterance", "file"} and set(found["metric"]) == set(speakers.FIGURES)
    assert list(found["method"].unique()) == ["all", "tts", "vc"] and len(found) == 2 * 3 * 4
    whole = found[(found["level"] == "utterance") & (found["method"] == "all")].set_index("metric")
    score, label = table["logit"].to_numpy(), table["label"].to_numpy()
    assert whole.loc["auroc", "value"] == pytest.approx(float(ranking.auroc(score, label)))
    assert whole.loc["eer", "value"] == pytest.approx(float(ranking.eer(score, label)))
    assert whole.loc["min_dcf", "value"] == pytest.approx(float(min_dcf(score, label)))
    assert whole.loc["act_dcf", "value"] == pytest.approx(float(actual_dcf(score, label)))
    assert (whole["speakers"] == 20).all() and (whole["real"] == 60).all() and (whole["fake"] == 60).all()
    tts = found[(found["method"] == "tts") & (found["level"] == "file")].iloc[0]
    assert tts["real"] == 60 and tts["fake"] == 40 and tts["coverage"] == 1
    assert ((found["low"] <= found["value"]) & (found["value"] <= found["high"])).mean() > 0.9


def test_intervals_over_speakers_by_repeating_their_rows():
    table, of = predictions(count=12)
    found = speakers.summary(table, of, resamples=50, seed=3)
    times = bootstrap.resample_groups(12, 50, 3)
    names = sorted(set(of.values()))
    mine = {name: table[table["item"].map(of) == name] for name in names}
    values = []
    for row in times:
        drawn = pd.concat([rows for name, n in zip(names, row, strict=True) for rows in [mine[name]] * int(n)])
        values.append(float(ranking.auroc(drawn["logit"], drawn["label"])))
    low, high = np.quantile(values, [0.025, 0.975])
    ours = found[(found["level"] == "utterance") & (found["method"] == "all") & (found["metric"] == "auroc")].iloc[0]
    assert (ours["low"], ours["high"]) == pytest.approx((low, high))


def test_intervals_over_speakers_are_wider_where_speakers_differ():
    table, of = predictions(count=15, each=12, spread=2.5)

    def width(groups):
        found = speakers.summary(table, groups, resamples=300)
        one = found[(found["level"] == "file") & (found["method"] == "all") & (found["metric"] == "act_dcf")].iloc[0]
        return one["high"] - one["low"]

    assert width(of) > 1.2 * width({})


def test_few_speakers_have_no_interval_and_lost_items_lower_the_coverage():
    table, of = predictions(count=9)
    lost = table.iloc[:1].assign(item="voices/lost", frame=-1, logit=np.nan)
    found = speakers.summary(pd.concat([table, lost]), of, resamples=20)
    assert found[["low", "high"]].isna().all().all() and found["value"].notna().all()
    row = found[found["method"] == "all"].iloc[0]
    assert row["coverage"] == pytest.approx(54 / 55) and row["speakers"] == 9
