"""Measure how often the interval of the shortcut audit contains 0.5 if the files of a data set contain no shortcut.

Each simulation draws file statistics that are independent of the label. The statistics of a real item and of its fake
are similar, and so are those of one person's items. A 95 % interval should contain 0.5 in 95 % of the simulations.

make bench ONLY=audit
"""

import json

import numpy as np
import pandas as pd
from _bench import OUT, arguments, machine

from unmask.data.audit import audit

STATISTICS = 12


def items(people: int, each: int, seed: int) -> pd.DataFrame:
    """Draw a manifest with `each` real items per person, and a fake of each."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2 * each)
    pairs = len(person) // 2
    values = 0.7 * rng.normal(size=(people, STATISTICS))[person]
    values += np.repeat(rng.normal(size=(pairs, STATISTICS)), 2, axis=0)
    values += 0.8 * rng.normal(size=values.shape)
    label = np.tile([0, 1], pairs)
    table = pd.DataFrame({"item": [f"item {number}" for number in range(2 * pairs)], "label": label, "rejected": None})
    table["method"] = np.where(label == 1, "fake", "real")
    table["groups"] = [(f"person {number}",) for number in person]
    return table.assign(**{f"statistic.{number}": values[:, number] for number in range(STATISTICS)})


def main() -> None:
    options = arguments(__doc__, 1, simulations=100, people=28, each=8)
    found = [audit(items(options.people, options.each, seed)) for seed in range(options.simulations)]
    area = np.array([one["auroc"] for one in found])
    result = {
        "contained": float(np.mean([one["passed"] for one in found])),
        "above": float(np.mean([one["low"] > 0.5 for one in found])),
        "mean": float(area.mean()),
        "deviation": float(area.std()),
    }
    print(
        f"\naudit: {options.simulations} simulations of {options.people} people without a shortcut: AUC "
        f"{result['mean']:.3f} +- {result['deviation']:.3f}; the interval contains 0.5 in {result['contained']:.0%}, "
        f"and lies above 0.5 in {result['above']:.0%}"
    )
    OUT.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(options).items() if name != "repeats"}
    text = json.dumps({"name": "audit", **settings, "result": result, "machine": machine()}, indent=2)
    (OUT / "audit.json").write_text(text)


if __name__ == "__main__":
    main()
