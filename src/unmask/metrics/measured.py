"""The range of inputs in which a detector was measured: limits of simple measures, and a cloud of features.

A detector's error rates hold for inputs that are like the data on which they were measured. `Limits` and `Cloud` are
fitted to validation data; they are used to check whether another input is like these data. Both contain only numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
TAIL = 0.005  # share of the validation items that is cut off at each end
SLACK = 0.1  # each limit is widened by this share of the distance between the limits on a logarithmic scale,
LEAST = np.log(1.1)  # and at least by a tenth of its value
AXES = 32  # maximum number of principal axes of a cloud
PER_AXIS = 4  # minimum number of samples per principal axis
FAR = 0.99  # share of the validation faces or pictures whose distance is at most the limit


@dataclass(frozen=True)
class Limits:
    """The limits of a positive measure, such as the size of a face."""

    low: float
    high: float

    @classmethod
    def fit(cls, values: ArrayLike) -> Self:
        """Take the quantiles `TAIL` and 1 - `TAIL` of the values' logarithms [N], and widen them.

        With fewer than 1 / `TAIL` values, these quantiles are close to the lowest and the highest value.

        Raises:
            ValueError: there are no values, or a value is not finite and positive.
        """
        values = np.asarray(values, np.float64)
        if not values.size or not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"expected finite values above 0, and at least one; got {values.tolist()[:5]}")
        low, high = np.quantile(np.log(values), (TAIL, 1 - TAIL))
        slack = max(SLACK * (high - low), LEAST)
        return cls(float(np.exp(low - slack)), float(np.exp(high + slack)))

    @classmethod
    def from_settings(cls, settings: Mapping[str, float]) -> Self:
        """Restore the limits from the numbers that `vars` returns.

        Raises:
            ValueError: a limit is missing or not a number.
        """
        low, high = settings.get("low"), settings.get("high")
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            raise ValueError(f"limits {dict(settings)}: expected the numbers low and high")
        return cls(float(low), float(high))


@dataclass(frozen=True)
class Cloud:
    """A Gaussian of features whose covariance has `K` principal axes and one variance for all other directions.

    This is probabilistic PCA (Tipping and Bishop 1999). It needs far fewer samples than a full covariance matrix, and
    the covariance is invertible for any number of features.

    Attributes:
        mean: [F].
        axes: [K, F], orthonormal rows.
        variance: along the axes [K].
        rest: variance in each of the F - K other directions.
    """

    mean: Array
    axes: Array
    variance: Array
    rest: float

    @classmethod
    def fit(cls, features: ArrayLike) -> Self:
        """Fit a cloud to features [N, F].

        Raises:
            ValueError: there are fewer than two samples, or a feature is not finite.
        """
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
            raise ValueError(f"features {x.shape}: expected at least 2 samples [N, F] with finite features")
        mean, count = x.mean(0), max(1, min(AXES, len(x) // PER_AXIS, x.shape[1]))
        _, single, axes = np.linalg.svd(x - mean, full_matrices=False)
        variances = single**2 / (len(x) - 1)
        total, others = float(variances.sum()), x.shape[1] - count
        rest = float(variances[count:].sum()) / others if others else float(variances[count - 1])
        rest = max(rest, 1e-6 * total / x.shape[1], 1e-12)
        return cls(mean, axes[:count], np.maximum(variances[:count], rest), rest)

    def distance(self, features: ArrayLike) -> Array:
        """Return the Mahalanobis distances [N] of features [N, F], divided by the square root of F."""
        difference = np.atleast_2d(np.asarray(features, np.float64)) - self.mean
        along = difference @ self.axes.T
        across = np.maximum((difference**2).sum(1) - (along**2).sum(1), 0) * (len(self.axes) < len(self.mean))
        return np.asarray(np.sqrt(((along**2 / self.variance).sum(1) + across / self.rest) / len(self.mean)))


def far(features: ArrayLike, item: ArrayLike) -> float:
    """Return the `FAR` quantile of the items' distances to a cloud that was fitted to other items.

    The items are divided into two halves. The distances of each half are measured with the cloud of the other one. The
    distance of an item is the median over its samples.

    Args:
        features: [N, F].
        item: the item of each sample [N].

    Raises:
        ValueError: there are fewer than two items per half.
    """
    x, item = np.asarray(features, np.float64), np.asarray(item)
    names = np.unique(item)
    if len(names) < 4:
        raise ValueError(f"{len(names)} items: expected at least 4")
    first = np.isin(item, names[::2])
    distance = np.empty(len(x))
    for half in (first, ~first):
        distance[half] = Cloud.fit(x[~half]).distance(x[half])
    return float(np.quantile([np.median(distance[item == name]) for name in names], FAR))
