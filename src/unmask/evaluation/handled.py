"""Run a robustness suite with a progress bar, and print how long it took."""

import os
import time
import warnings
from pathlib import Path

from rich.progress import track

from unmask.console import console, say
from unmask.evaluation.suite import Detection, Suite, run_suite

WORKERS = 4  # maximum number of processes that perturb files


def score_handled(suite: Suite, detection: Detection, out: Path) -> None:
    """Run a robustness suite on the test split; an error only causes a warning, so that the training can finish."""
    try:
        run_with_progress(suite, detection, "test", out)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"the robustness suite failed ({said}); the run continues without the metrics of the suite", stacklevel=2
        )


def run_with_progress(suite: Suite, detection: Detection, split: str, out: Path) -> None:
    """Run a suite on a split, and print how long it took.

    Raises:
        ValueError: see `run_suite`.
    """
    begun, steps = time.monotonic(), len(suite.steps)
    num_workers = min(WORKERS, os.cpu_count() or 1)
    found = run_suite(suite, detection, split, out, num_workers)
    for _ in track(found, f"robustness suite {suite.name}", total=steps, console=console, transient=True):
        pass
    seconds = time.monotonic() - begun
    say(f"robustness suite {suite.name}: scored {steps - 1} steps and the clean items in {seconds:.0f} s")
