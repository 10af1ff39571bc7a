"""Calibration maps: functions from scores (logits) to calibrated probabilities, fitted to validation data.

Maps never reverse the order of two scores, so decisions at a threshold do not change. A map is a frozen dataclass of
plain numbers: `to_settings` converts it to JSON values, and `from_settings` restores it. Fit a map on validation data,
never on the data whose probabilities are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics.aggregate import probability

Array = NDArray[np.float64]
Stored: TypeAlias = Mapping[str, float | Sequence[float]]
COLDEST, HOTTEST = 1e-3, 1e3  # limits of a temperature
LIMIT = 100.0  # scores are clipped to +-LIMIT before a fit; there, probabilities differ from 0 or 1 by 4e-44
STEPS = 100  # maximum number of steps of an iterative fit; Newton's method needs about ten


@dataclass(frozen=True)
class Temperature:
    """The sigmoid of score / temperature (Guo et al. 2017, arXiv 1706.04599).

    This corrects an overconfident or underconfident detector. It cannot correct an offset, because a score of 0 keeps
    a probability of 0.5.
    """

    temperature: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature {self.temperature}: expected a number above 0")

    @classmethod
    def fit(cls, score: ArrayLike, label: ArrayLike) -> Self:
        """Fit a temperature from `COLDEST` to `HOTTEST` that minimises the log loss of scores `[N]` and labels `[N]`.

        The loss is convex in 1 / temperature. Its derivative is bisected, so the result does not depend on an initial
        value. The result is `COLDEST` if a threshold of 0 separates the classes, and `HOTTEST` if no temperature is
        better than a constant probability of 0.5.

        Raises:
            ValueError: If a score is not finite, a label is not 0 or 1, or a class is missing.
        """
        score, label = _checked(score, label)
        low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)  # log of the slope, 1 / temperature
        for _ in range(STEPS):
            middle = (low + high) / 2
            if float(score @ (probability(score * np.exp(middle)) - label)) > 0:
                high = middle
            else:
                low = middle
        return cls(float(np.clip(np.exp(-middle), COLDEST, HOTTEST)))

    @classmethod
    def from_settings(cls, settings: Stored) -> Self:
        """Restore a calibration map from the numbers that `to_settings` returned."""
        return cls(_number(settings, "temperature"))

    def to_settings(self) -> dict[str, float]:
        """Return the numbers that define this calibration map."""
        return {"temperature": self.temperature}

    def __call__(self, score: ArrayLike) -> Array:
        """Compute the probability of being fake from scores `[N]`."""
        with np.errstate(over="ignore"):  # infinity has the probability 1
            return probability(np.asarray(score, dtype=np.float64) / self.temperature)


@dataclass(frozen=True)
class Platt:
    """The sigmoid of slope x score + offset (Platt 1999, "Probabilistic outputs for support vector machines")."""

    slope: float
    offset: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and np.isfinite(self.offset) and self.slope > 0):
            raise ValueError(f"slope {self.slope}, offset {self.offset}: expected finite numbers and a slope above 0")

    @classmethod
    def fit(cls, score: ArrayLike, label: ArrayLike, smooth: bool = True) -> Self:
        """Fit slope and offset: minimise the log loss of scores `[N]` and labels `[N]` by Newton's method.

        Args:
            score: Logits.
            label: Labels; 1 is fake.
            smooth: Whether to replace the targets 1 and 0 by those of Platt: (F + 1) / (F + 2) for the F fakes, and
                1 / (R + 2) for the R reals. Platt's targets bound the slope if the classes are separable. With targets
                of 1 and 0, the slope would then grow until the loss rounds to 0.

        Raises:
            ValueError: If a score is not finite, a label is not 0 or 1, a class is missing, or the best slope is not
                above 0; such a map would not keep the ranking.
        """
        score, label = _checked(score, label)
        fakes, reals = label.sum(), (1 - label).sum()
        target = np.where(label == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2)) if smooth else label
        slope, offset = _logistic(score, target)
        if not slope > 0 or np.ptp(score) == 0:
            raise ValueError(
                f"the best slope is {slope:.3g}; expected a slope above 0. These scores do not rank fakes above reals, "
                "so no increasing map calibrates them; check the labels, or train the detector again"
            )
        return cls(slope, offset)

    @classmethod
    def from_settings(cls, settings: Stored) -> Self:
        """Restore a calibration map from the numbers that `to_settings` returned."""
        return cls(_number(settings, "slope"), _number(settings, "offset"))

    def to_settings(self) -> dict[str, float]:
        """Return the numbers that define this calibration map."""
        return {"slope": self.slope, "offset": self.offset}

    def __call__(self, score: ArrayLike) -> Array:
        """Compute the probability of being fake from scores `[N]`."""
        with np.errstate(over="ignore"):  # infinity has the probability 1
            return probability(self.slope * np.asarray(score, dtype=np.float64) + self.offset)


@dataclass(frozen=True)
class Isotonic:
    """Linear interpolation between the points of a non-decreasing step function (Zadrozny and Elkan 2002).

    A score between two points gets an interpolated probability, and a score beyond the first or the last point gets the
    probability of that point. The map never reverses the order of two scores, but can give both the same probability.
    """

    score: tuple[float, ...]
    prob: tuple[float, ...]

    def __post_init__(self) -> None:
        points = np.asarray(self.score), np.asarray(self.prob)
        if not len(points[0]) or len(points[0]) != len(points[1]) or not np.isfinite(np.concatenate(points)).all():
            raise ValueError(
                f"{len(points[0])} scores and {len(points[1])} probabilities: expected equal numbers of finite values, "
                "at least one of each"
            )
        if (np.diff(points[0]) <= 0).any() or (np.diff(points[1], prepend=0.0, append=1.0) < 0).any():
            raise ValueError("isotonic map: expected increasing scores and non-decreasing probabilities in [0, 1]")

    @classmethod
    def fit(cls, score: ArrayLike, label: ArrayLike) -> Self:
        """Fit the points to scores `[N]` and labels `[N]`: minimise the squared error by pooling adjacent violators.

        Labels of equal scores are averaged first. Only the two end points of each range with a constant probability
        are stored.

        Raises:
            ValueError: If a score is not finite, a label is not 0 or 1, or a class is missing.
        """
        from scipy.optimize import isotonic_regression  # imported here because SciPy is slow to import

        score, label = _checked(score, label)
        distinct, place, number = np.unique(score, return_inverse=True, return_counts=True)
        share = np.bincount(place, weights=label) / number
        prob = np.clip(isotonic_regression(share, weights=number).x, 0.0, 1.0)  # rounding errors may exceed [0, 1]
        rises = np.diff(prob) != 0
        kept = np.append(True, rises) | np.append(rises, True)
        return cls(tuple(distinct[kept].tolist()), tuple(prob[kept].tolist()))

    @classmethod
    def from_settings(cls, settings: Stored) -> Self:
        """Restore a calibration map from the numbers that `to_settings` returned."""
        return cls(_numbers(settings, "score"), _numbers(settings, "prob"))

    def to_settings(self) -> dict[str, list[float]]:
        """Return the points that define this calibration map."""
        return {"score": list(self.score), "prob": list(self.prob)}

    def __call__(self, score: ArrayLike) -> Array:
        """Compute the probability of being fake from scores `[N]`; NaN stays NaN."""
        return np.asarray(np.interp(np.asarray(score, dtype=np.float64), self.score, self.prob))


Calibration: TypeAlias = Temperature | Platt | Isotonic
CALIBRATIONS: Mapping[str, type[Calibration]] = {"temperature": Temperature, "platt": Platt, "isotonic": Isotonic}


def fit_all(score: ArrayLike, label: ArrayLike) -> dict[str, Stored]:
    """Fit every calibration map to scores `[N]` and labels `[N]`.

    Returns:
        {name: settings} for each map that can be fitted.
    """
    found = dict[str, Stored]()
    for name, kind in CALIBRATIONS.items():
        try:
            found[name] = kind.fit(score, label).to_settings()
        except ValueError:  # a class is missing, or the scores do not rank fakes above reals
            continue
    return found


def _checked(score: ArrayLike, label: ArrayLike) -> tuple[Array, Array]:
    """Return scores, limited to +-`LIMIT`, and labels; raise an error for values that cannot be fitted."""
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if score.shape != label.shape or score.ndim != 1:
        raise ValueError(f"scores {score.shape} and labels {label.shape}: expected two lists of the same length")
    if not np.isfinite(score).all():
        raise ValueError(
            f"score {score[~np.isfinite(score)][0]}: expected finite scores; drop items that could not be scored"
        )
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"label {label[~np.isin(label, (0, 1))][0]:g}: expected 0 for real or 1 for fake")
    if not 0 < label.sum() < len(label):
        raise ValueError(
            f"{int((1 - label).sum())} reals and {int(label.sum())} fakes: expected scored items of both classes; "
            "calibrate on a validation split that has both"
        )
    return np.clip(score, -LIMIT, LIMIT), label


def _logistic(score: Array, target: Array) -> tuple[float, float]:
    """Fit slope and offset of a logistic regression of targets in [0, 1] by Newton's method with step halving."""
    design = np.stack([score, np.ones_like(score)], axis=1)
    share = target.mean()
    point = np.array([0.0, np.log(share / (1 - share))])

    def loss(at: Array) -> float:
        value = design @ at
        return float(np.sum(np.logaddexp(0, value) - target * value))

    current = loss(point)
    for _ in range(STEPS):
        prob = probability(design @ point)
        slope = design.T @ (prob - target)
        bend = (design.T * (prob * (1 - prob))) @ design
        step = np.linalg.lstsq(bend, slope, rcond=None)[0]
        while (reached := loss(point - step)) > current and np.abs(step).max() > 1e-12:
            step = step / 2
        if not reached < current:
            break
        point, current = point - step, reached
    return float(point[0]), float(point[1])


def _number(settings: Stored, name: str) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} {value!r}: expected a number; fit the calibration again")
    return float(value)


def _numbers(settings: Stored, name: str) -> tuple[float, ...]:
    values = settings.get(name)
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} {values!r}: expected a list of numbers; fit the calibration again")
    return tuple(_number({name: value}, name) for value in values)
