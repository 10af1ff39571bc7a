"""Four hundred random prediction tables: every figure is what scikit-learn finds, to 1e-9.

The scores of videos that scikit-learn is given come from mpmath with 40 digits, and are handed over as ranks, so
nothing in the reference saturates.
"""

import itertools
import math
from collections import Counter
from typing import NamedTuple

import mpmath
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.metrics as sk

from test_metrics import sklearn_eer
from unmask.metrics import detection, ranking

pytestmark = pytest.mark.slow

TABLES, PARTS = 400, 4
SAFE = 1e-6  # p and 1 - p above which float64 contains both well enough for scikit-learn's log loss, which is given p


def logits(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Logits of rows: of any scale up to 1e4, some tied, some apart by one rounding, some huge."""
    values = rng.normal(rng.choice([0, 1.5]) * label - 0.5, 1.0) * rng.choice([1e-3, 1, 1, 20, 1e3])
    values = np.clip(values, -1e4, 1e4)
    if rng.random() < 0.4:
        values = np.round(values, int(rng.integers(0, 2)))
    if rng.random() < 0.3:
        some = rng.random(len(values)) < 0.3
        values[some] = rng.choice([-1e4, -745.2, -40.0, 40.0, 745.2, 1e4], some.sum())
    if rng.random() < 0.3 and len(values) > 1 and values[0]:
        values[1] = np.nextafter(values[0], np.inf)
    return values


def predictions(seed: int) -> pd.DataFrame:
    """A table of 4 to 24 items, each with up to 3 tracks of up to 4 rows; some items are rejected, some copied."""
    rng, rows = np.random.default_rng(seed), []
    pictures, one_class = rng.random() < 0.25, rng.random() < 0.05
    for number in range(int(rng.integers(4, 25))):
        label = 0 if one_class else int(number % 3 == 0 or rng.random() < 0.3) if number > 1 else number
        method = str(rng.choice(["a", "b"])) if label else "real"
        facts = {"item": f"t/{method}/{number}", "label": label, "method": method}
        if number > 1 and rng.random() < 0.08:
            rows.append(facts | {"track": 0, "frame": -1})
            continue
        tracks = 1 if pictures else int(rng.integers(1, 4))
        sizes = [1 if pictures else int(rng.integers(1, 5)) for _ in range(tracks)]
        rows += [facts | {"track": track, "frame": frame} for track, size in enumerate(sizes) for frame in range(size)]
    table = pd.DataFrame(rows).assign(dataset="t", split="test", logit=np.nan)
    table["time"] = table["frame"].where(table["frame"] >= 0) / 25
    scored = table["frame"] >= 0
    table.loc[scored, "logit"] = logits(rng, table.loc[scored, "label"].to_numpy())
    return _copied(table, rng).sample(frac=1, random_state=seed)


def _copied(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Add an item that has the logits of another in reverse, under the other label: a tie on paper."""
    items = table.loc[table["frame"] >= 0, "item"].unique()
    if rng.random() < 0.5 or table["label"].nunique() < 2:
        return table
    copy = table[table["item"] == rng.choice(items)]
    label = 1 - int(copy["label"].iloc[0])
    changed = {
        "item": "t/copy",
        "label": label,
        "method": "a" if label else "real",
        "logit": copy["logit"].to_numpy()[::-1],
    }
    return (
        pd.concat([table, copy.assign(**changed, track=0, frame=np.arange(len(copy)))])
        if copy["track"].nunique() == 1
        else table
    )


class Exact(NamedTuple):
    """Mean p and mean 1 - p of a track to 40 digits, and how often each distinct logit comes, in lowest terms."""

    fake: mpmath.mpf
    real: mpmath.mpf
    logits: tuple[tuple[float, int], ...]


def exact(predictions: pd.DataFrame) -> dict[str, Exact]:
    """Item -> the track with the highest odds."""
    found: dict[str, Exact] = {}
    for (item, _), values in predictions.dropna(subset=["logit"]).groupby(["item", "track"])["logit"]:
        small = [mpmath.exp(-mpmath.mpf(value)) for value in values]
        fake = mpmath.fsum(1 / (1 + value) for value in small) / len(small)
        real = mpmath.fsum(value / (1 + value) for value in small) / len(small)
        if item not in found or fake * found[item].real > found[item].fake * real:
            counts = Counter(value + 0.0 for value in values)  # -0.0 is 0.0
            divisor = math.gcd(*counts.values())
            found[item] = Exact(fake, real, tuple(sorted((value, count // divisor) for value, count in counts.items())))
    return found


def ranks(found: list[Exact]) -> np.ndarray | None:
    """Places by exact odds, tied where the logits are the same; None where float64 cannot hold the order.

    That is where means of different logits agree in 14 digits (40 and 1e4 against 40 and 745, say). Tracks of one logit
    each are never too close.
    """
    odds = [one.fake / one.real for one in found]
    order = sorted(range(len(odds)), key=odds.__getitem__)
    place = np.zeros(len(odds))
    for before, after in itertools.pairwise(order):
        first, second = found[before].logits, found[after].logits
        if first != second and odds[after] - odds[before] < 1e-14 * odds[after] and len(first) + len(second) > 2:
            return None
        place[after] = place[before] + (first != second)
    return place


def check(
    ours: dict, label: np.ndarray, rank: np.ndarray, prob: np.ndarray, log_loss: float, cut: np.ndarray, weight=None
) -> None:
    """Compare figures with scikit-learn's; `rank` stands for the scores, `cut` says what is called fake."""
    given = {"sample_weight": weight}
    expected = {
        "accuracy": sk.accuracy_score(label, cut, **given),
        "brier": np.average((prob - label) ** 2, weights=weight),
        "log_loss": log_loss,
    }
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        label, cut, average="binary", zero_division=np.nan, **given
    )
    expected |= {"precision": precision, "recall": recall, "f1": f1}
    if len(set(label)) == 2:
        expected["brier"] = sk.brier_score_loss(label, prob, **given)
        expected["balanced_accuracy"] = sk.balanced_accuracy_score(label, cut, **given)
        expected["auroc"] = sk.roc_auc_score(label, rank, **given)
        expected["ap"] = sk.average_precision_score(label, rank, **given)
        expected["eer"] = sklearn_eer(label, rank, weight)
    else:
        expected |= dict.fromkeys(("auroc", "ap", "eer", "balanced_accuracy"), math.nan)
    for name, value in expected.items():
        assert float(ours[name]) == pytest.approx(value, abs=1e-9, rel=1e-12, nan_ok=True), name


def mean_loss(probs: list[mpmath.mpf], label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Of exact pairs of p and 1 - p: scikit-learn's log loss where it does not clip p, else mpmath's."""
    if all(min(pair) > SAFE for pair in probs):
        return sk.log_loss(label, [float(fake) for fake, _ in probs], sample_weight=weight, labels=[0, 1])
    each = [-float(mpmath.log(pair[1 - of])) for pair, of in zip(probs, label, strict=True)]
    return float(np.average(each, weights=weight))


@pytest.mark.parametrize("part", range(PARTS))
def test_figures_of_random_tables_are_scikit_learns(part):
    done = 0
    with sklearn.config_context(skip_parameter_validation=True, assume_finite=True), mpmath.workdps(40):
        for seed in range(part, 2 * TABLES, PARTS):
            done += done < TABLES // PARTS and compare(predictions(seed), np.random.default_rng(seed))
    assert done == TABLES // PARTS


def compare(table: pd.DataFrame, rng: np.random.Generator) -> bool:
    """Hold both levels of a table against scikit-learn; False where float64 cannot hold its ranks."""
    odds = exact(table)
    tables = detection.levels(table)
    assert tables["video"]["item"].tolist() == sorted(odds)
    found = [odds[item] for item in tables["video"]["item"]]
    if (place := ranks(found)) is None:
        return False
    frames, videos = tables["frame"], tables["video"]
    score, label = frames["logit"].to_numpy(), frames["label"].to_numpy()
    rank = np.unique(score, return_inverse=True)[1]
    weight = rng.choice([rng.integers(1, 4, len(score)).astype(float), rng.random(len(score)) + 0.01])
    cut = float(rng.choice([0.0, *score]))
    small = [mpmath.exp(-mpmath.mpf(value)) for value in score]
    pairs = [(1 / (1 + value), value / (1 + value)) for value in small]
    prob = np.array([float(fake) for fake, _ in pairs])
    given = weight if rng.random() < 0.5 else None
    ours = detection.evaluate(frames["score"], label, given, cut)
    check(ours, label, rank, prob, mean_loss(pairs, label, given), score > cut, given)

    label = videos["label"].to_numpy()
    pairs = [(one.fake, one.real) for one in found]
    truth = [float(mpmath.log(fake / real)) for fake, real in pairs]
    prob = np.array([float(fake) for fake, _ in pairs])
    np.testing.assert_allclose(videos["score"], truth, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(videos["prob"], prob, rtol=1e-11, atol=1e-15)
    at = int(rng.integers(len(videos)))
    ours = detection.evaluate(videos["score"], label, None, float(videos["score"].iloc[at]))
    check(ours, label, place, prob, mean_loss(pairs, label), place > place[at])
    if rng.random() < 0.1:
        quick = detection.quick(table)["video_auroc"]
        assert quick == pytest.approx(float(ours["auroc"]), abs=1e-12, nan_ok=True)
    if len(set(label)) == 2 and rng.random() < 0.4:
        curve = ranking.roc_curve(videos["score"], label)
        for found, expected in zip(curve[:2], sk.roc_curve(label, place, drop_intermediate=False), strict=False):
            np.testing.assert_allclose(found, expected, atol=1e-9)
        recall, precision, _ = ranking.pr_curve(videos["score"], label)
        expected = sk.precision_recall_curve(label, place)
        np.testing.assert_allclose(precision, expected[0][:-1][::-1], atol=1e-9)
        np.testing.assert_allclose(recall, expected[1][:-1][::-1], atol=1e-9)
    return True
