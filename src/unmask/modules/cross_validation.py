"""Fit a scikit-learn classifier to features, with settings chosen by grouped cross-validation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid, ParameterSampler, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from unmask.metrics import detection

CLASSIFIERS = ("linear", "rbf", "logistic")
FIGURES = ("accuracy", "precision", "recall", "f1", "auroc")

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Settings = dict[str, float]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows to fit, rows held out


@dataclass(frozen=True)
class Choice:
    """The result of cross-validation.

    Attributes:
        settings: the settings with the best mean AUC.
        figures: metric name -> its value on each held-out fold [folds], with these settings.
        decisions: decision value of each row [N], from the classifier that was fitted without this row's fold.
    """

    settings: Settings
    figures: dict[str, Array]
    decisions: Array

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the mean and the standard deviation (divisor n - 1) of each metric over the n folds."""
        return {
            name: {"mean": float(values.mean()), "deviation": float(values.std(ddof=1))}
            for name, values in self.figures.items()
        }


def build(classifier: str, C: float, gamma: float = 1.0) -> Pipeline:
    """Build a pipeline that standardises features and classifies them; both classes get the same total weight.

    Args:
        classifier: `linear` or `rbf` (support vector machines), or `logistic` (logistic regression).
        C: inverse regularisation strength.
        gamma: kernel coefficient for `rbf`; the other classifiers ignore it.
    """
    if classifier == "logistic":
        model: Any = LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
    else:
        model = SVC(C=C, kernel=classifier, gamma=gamma, class_weight="balanced", cache_size=500)
    return make_pipeline(StandardScaler(), model)


def candidates(
    classifier: str, C: Sequence[float], gamma: Sequence[float], num_features: int, draws: int | None, seed: int
) -> list[Settings]:
    """Return the settings to try in a grid search or, if `draws` is given, in a random search.

    Args:
        classifier: `gamma` is used only for `rbf`.
        C: values of C.
        gamma: values of gamma, in units of 1 / number of features.
        num_features: number of features.
        draws: number of random combinations; None returns all combinations of the values. A random value is drawn
            log-uniformly between the smallest and the largest of the given values (Bergstra and Bengio, "Random Search
            for Hyper-Parameter Optimization", JMLR 13, 2012).
        seed: seed of the random combinations.
    """
    grid: dict[str, list[float]] = {"C": list(C)}
    if classifier == "rbf":
        grid["gamma"] = [value / num_features for value in gamma]
    if draws is None:
        return list(ParameterGrid(grid))
    ends = {name: (min(values), max(values)) for name, values in grid.items()}
    ranges = {name: loguniform(low, high) if low < high else [low] for name, (low, high) in ends.items()}
    drawn = ParameterSampler(ranges, draws, random_state=seed)
    # A checkpoint may hold Python's floats, but not NumPy's.
    return [{name: float(value) for name, value in settings.items()} for settings in drawn]


def folds(label: Labels, groups: NDArray[Any], count: int, seed: int) -> list[Fold]:
    """Split rows into folds with similar shares of both classes; all rows of a group are in the same fold.

    Raises:
        ValueError: a class has fewer groups than folds, or a fold would hold one class only.
    """
    if (have := min(len(set(groups[label == value])) for value in (0, 1))) < count:
        raise ValueError(
            f"module.folds={count}: one of the classes has only {have} groups, but each fold needs a group of each "
            "class; lower module.folds (a group is a set of items linked by a source or a person)"
        )
    split = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(label[:, None], label, groups)
    found = [(fitted, held) for fitted, held in split]
    if any(len(set(label[rows])) < 2 for fold in found for rows in fold):
        raise ValueError(f"module.folds={count}: a fold would hold one class only; change module.folds or module.seed")
    return found


def choose(
    classifier: str, features: Array, label: Labels, splits: Sequence[Fold], tried: Iterable[Settings]
) -> Choice:
    """Choose the settings with the highest mean AUC over the folds; of equally good settings, the first in `tried`."""
    best: Choice | None = None
    for settings in track(list(tried), "cross-validation", transient=True):
        decisions = np.empty(len(label))
        figures: dict[str, list[float]] = {name: [] for name in FIGURES}
        for fitted, held in splits:
            model = build(classifier, **settings).fit(features[fitted], label[fitted])
            decisions[held] = model.decision_function(features[held])
            every = detection.evaluate(decisions[held], label[held])
            for name in FIGURES:
                figures[name].append(float(every[name]))
        choice = Choice(settings, {name: np.array(values) for name, values in figures.items()}, decisions)
        if best is None or choice.figures["auroc"].mean() > best.figures["auroc"].mean():
            best = choice
    assert best is not None
    return best


def slope(decisions: Array, label: Labels) -> float:
    """Fit the factor that turns held-out decision values into logits: Platt scaling (Platt 1999) without an offset.

    As there is no offset, a logit has the same sign as its decision value. If the fitted factor is not positive, which
    means that the decision values do not separate the classes, the factor is 1.
    """
    fit = LogisticRegression(fit_intercept=False, class_weight="balanced").fit(decisions[:, None], label)
    factor = float(fit.coef_[0, 0])
    return factor if factor > 0 else 1.0


def tensors(model: Pipeline) -> dict[str, Any]:
    """Return a fitted pipeline's parameters, named like the buffers of `networks.svm.FeatureSVM`."""
    scaler, last = model[0], model[-1]
    shared = {"mean": scaler.mean_, "scale": scaler.scale_, "intercept": last.intercept_[0]}
    if getattr(last, "kernel", "linear") == "rbf":
        return shared | {"support": last.support_vectors_, "dual": last.dual_coef_[0], "gamma": [last.gamma]}
    return shared | {"support": last.coef_, "dual": [1.0], "gamma": []}
