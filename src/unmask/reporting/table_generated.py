"""Metrics of generators and face swappers for tables; unlike those of detectors, they need not lie in [0, 1]."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from unmask.files import read_json
from unmask.runs.folder import GENERATION
from unmask.runs.run import Run

GENERATED = "generated"  # level of these metrics in a table's file


class Measure(NamedTuple):
    """A metric: its title with the unit, the digits shown after the decimal point, and the range of its values."""

    title: str
    digits: int
    low: float
    high: float


# Names as in metrics.json and in the file of `unmask evaluate`.
MEASURES = {
    "psnr": Measure("PSNR, dB", 1, 0, math.inf),
    "psnr_crop": Measure("PSNR of the whole crop, dB", 1, 0, math.inf),
    "ssim": Measure("SSIM", 3, -1, 1),
    "ssim_crop": Measure("SSIM of the whole crop", 3, -1, 1),
    "mask_iou": Measure("Mask IoU", 3, 0, 1),
    "lpips_alex": Measure("LPIPS (AlexNet)", 3, 0, math.inf),
    "identity": Measure("Identity of reconstructions", 3, -1, 1),
    "identity_target": Measure("Identity, target person", 3, -1, 1),
    "identity_source": Measure("Identity, source person", 3, -1, 1),
    "inception_score": Measure("Inception Score", 2, 1, math.inf),
    "fid": Measure("FID", 1, 0, math.inf),
    "kid": Measure("KID", 4, -math.inf, math.inf),
}


@dataclass(frozen=True)
class Generated:
    """Metrics of a generator or face swapper on the test split, as a table shows them.

    Attributes:
        figures: Metrics by name; the table shows those in `MEASURES`.
        protocol: How the metrics were measured, heading -> text.
        remarks: Warnings about the run.
        reasons: Why metrics could not be computed, by name.
        command: The command that computes further metrics.
    """

    figures: Mapping[str, float]
    protocol: Mapping[str, str]
    remarks: Sequence[str] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def lacks(self, metrics: Iterable[str]) -> bool:
        """Return whether some of these metrics are missing because `command` has not been run."""
        return any(name not in self.figures and name not in self.reasons for name in metrics)


def gather_generated(run: Run) -> Generated:
    """Collect a generator's or face swapper's test metrics from metrics.json and the file of `unmask evaluate`."""
    about, path = run.summary, run.folder / GENERATION
    known = read_json(path, "delete it and run unmask evaluate again") if path.is_file() else {}
    entry = known.get(f"{run.config['data'].get('name')}/test", {})
    found = {
        name: value
        for group in entry.values()
        if isinstance(group, dict)
        for name, value in group.items()
        if name in MEASURES
    }
    reasons = {name: value for name, value in found.items() if isinstance(value, str)}
    figures = {name: math.nan if value is None else value for name, value in found.items() if name not in reasons}
    return Generated(
        {**figures, **run.metrics["test"]},
        {"Data": f"{about.data}, test split", "Seed": about.seed},
        [*run.remarks, *(f"{MEASURES[name].title}: {reason}" for name, reason in reasons.items())],
        reasons,
        f"unmask evaluate run={run.folder}",
    )
