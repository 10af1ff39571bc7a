"""Detection cost functions of speaker verification and of ASVspoof: what the errors of a detector cost on average.

The cost at a threshold is C_miss (1 - p) P_miss + C_fa p P_fa. P_miss is the share of real recordings that are
rejected, which is the FPR of a detector. P_fa is the share of fakes that are accepted, its FNR. p is the prior
probability of a fake. Costs are divided by the cost of the better of the two decisions that need no detector: to accept
everything, or to reject everything. A cost of 1 or more means that the detector is of no use at its threshold. The
definitions are those of ASVspoof 5 (arXiv:2408.08739).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.metrics.decisions import recall, specificity
from unmask.metrics.ranking import Counts, counts, totals

Array = NDArray[np.float64]


class Costs(NamedTuple):
    """Costs of errors and the prior; the defaults are those of ASVspoof 5.

    Attributes:
        miss: cost of a real recording that is rejected as fake, above 0.
        false_alarm: cost of a fake that is accepted as real, above 0.
        prior: prior probability of a fake, between 0 and 1.
    """

    miss: float = 1.0
    false_alarm: float = 10.0
    prior: float = 0.05

    @property
    def weights(self) -> tuple[float, float]:
        """Weights of P_miss and of P_fa in the normalised cost; the smaller one is 1.

        Raises:
            ValueError: a cost or the prior is out of range.
        """
        if self.miss <= 0 or self.false_alarm <= 0 or not 0 < self.prior < 1:
            raise ValueError(f"{self}: expected costs above 0, and a prior between 0 and 1")
        rejects, accepts = self.miss * (1 - self.prior), self.false_alarm * self.prior
        return rejects / min(rejects, accepts), accepts / min(rejects, accepts)

    @property
    def threshold(self) -> float:
        """The threshold with the lowest expected cost for scores that are log-likelihood ratios of fake to real."""
        rejects, accepts = self.weights
        return float(np.log(rejects / accepts))


ASVSPOOF5 = Costs()


def least_cost(table: Counts, costs: Costs = ASVSPOOF5) -> Array:
    """Compute the minimum DCF, the cost at the best threshold for these scores; NaN if a class is missing."""
    fake, real = totals(table)
    if table.fake.shape[-1] == 0:
        return np.asarray(fake[..., 0])
    rejects, accepts = costs.weights
    every = rejects * table.real / real + accepts * (1 - table.fake / fake)
    # Above the highest score, nothing is rejected, which costs `accepts`; `every` ends with the cost of the opposite.
    return np.asarray(np.minimum(every.min(-1), np.where(np.isnan(every[..., -1]), np.nan, accepts)))


def min_dcf(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, costs: Costs = ASVSPOOF5) -> Array:
    """Compute the minimum DCF from scores [N], labels [N] and weights (see `ranking`)."""
    return least_cost(counts(score, label, weight), costs)


def actual_dcf(score: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None, costs: Costs = ASVSPOOF5) -> Array:
    """Compute the actual DCF, the cost at `Costs.threshold`; NaN if a class is missing.

    The score is taken for a log-likelihood ratio. The logit of a detector that was trained on as many reals as fakes is
    one if it is calibrated; the difference to the minimum DCF measures how well it is.
    """
    rejects, accepts = costs.weights
    missed = 1 - specificity(score, label, weight, costs.threshold)
    accepted = 1 - recall(score, label, weight, costs.threshold)
    return np.asarray(rejects * missed + accepts * accepted)
