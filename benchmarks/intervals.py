"""Measure how often 95 % intervals of the AUC contain the true AUC: DeLong's and stratified bootstrap intervals.

Reports show the BCa interval (`bootstrap.accelerated`).

Scores of real and fake items are drawn from two normal distributions with equal variances, so that the true AUC is
known. Each simulation draws new items. The standard error of a coverage of 95 % in 1,000 simulations is 0.7 %.

make bench ONLY=intervals
"""

import json
import math
from statistics import NormalDist

import numpy as np
from _bench import OUT, arguments, machine
from numpy.typing import NDArray

from unmask.metrics import bootstrap, delong, ranking

Array = NDArray[np.float64]
AREAS = (0.7, 0.9, 0.97)
GOAL = (0.93, 0.97)
NORMAL = NormalDist()
REACH = NORMAL.inv_cdf(0.975)
Interval = tuple[float, float]


def intervals(score: Array, label: Array, seed: int, resamples: int) -> dict[str, Interval]:
    """Compute the 95 % interval of one data set by each method; NaN if a method gives no interval."""
    area = delong.auroc(score, label)
    reach = REACH * math.sqrt(area.variance)
    times, items = bootstrap.resample(label, resamples, seed), np.arange(len(score))
    moved = ranking.auroc(score, label, times)
    return {
        "DeLong, logit scale": (area.low, area.high),
        "DeLong, plain": (area.value - reach, area.value + reach),
        "bootstrap, percentile": bootstrap.interval(moved),
        "bootstrap, BCa": bootstrap.accelerated(moved, area.value, bootstrap.left_out(score, label, items), label),
    }


def simulate(true: float, items: int, simulations: int, resamples: int) -> dict[str, dict[str, float]]:
    """Count, for each method, how often its interval contains the true AUC or lies wholly below or above it.

    Returns:
        Method -> `contained`, `below` and `above` (shares of the simulations), `width` (mean) and `none` (share of the
        simulations without an interval, which count as not contained).
    """
    shift, label = math.sqrt(2) * NORMAL.inv_cdf(true), np.repeat([0.0, 1.0], items)
    rng = np.random.default_rng(round(1000 * true) + items)
    found: dict[str, list[Interval]] = {}
    for number in range(simulations):
        score = rng.normal(shift * label, 1)
        for name, ends in intervals(score, label, number, resamples).items():
            found.setdefault(name, []).append(ends)
    result = {}
    for name, pairs in found.items():
        low, high = np.array(pairs).T
        result[name] = {
            "contained": float(np.mean((low <= true) & (true <= high))),
            "below": float(np.mean(high < true)),
            "above": float(np.mean(low > true)),
            "width": float(np.nanmean(high - low)),
            "none": float(np.mean(np.isnan(low))),
        }
    return result


def main() -> None:
    options = arguments(__doc__, 1, simulations=1000, items=60, resamples=1000)
    results = {}
    print(
        f"\nintervals: {options.simulations} simulations of {options.items} real and {options.items} fake items, "
        f"{options.resamples} resamples; goal: {GOAL[0]:.0%} to {GOAL[1]:.0%} contain the true AUC"
    )
    for true in AREAS:
        results[str(true)] = simulate(true, options.items, options.simulations, options.resamples)
        for name, one in results[str(true)].items():
            verdict = "met" if GOAL[0] <= one["contained"] <= GOAL[1] else "NOT MET"
            print(
                f"  AUC {true:<5} {name:<26} contained {one['contained']:6.1%}  below {one['below']:5.1%}  "
                f"above {one['above']:5.1%}  width {one['width']:.3f}  none {one['none']:5.1%}  [{verdict}]"
            )
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "intervals.json"
    settings = {name: value for name, value in vars(options).items() if name != "repeats"}
    path.write_text(json.dumps({"name": "intervals", **settings, "results": results, "machine": machine()}, indent=2))
    print(f"  {path}")


if __name__ == "__main__":
    main()
