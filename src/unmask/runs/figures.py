"""Write metrics as strict JSON, with null for NaN, and restore them; check values that must be finite."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unmask.files import replace_file
from unmask.runs.errors import RunError


def write_json(path: Path, value: object) -> None:
    """Write strict JSON atomically; NaN and infinity become null."""
    replace_file(path, json.dumps(without_nan(value), indent=2, allow_nan=False).encode())


def figures_of(read: Mapping[str, float | None]) -> dict[str, float]:
    """Restore metrics from a file that `write_json` wrote: None (null) becomes NaN."""
    return {name: math.nan if value is None else value for name, value in read.items()}


def without_nan(value: object) -> object:
    """Return `value` with NaN and infinity replaced by None, also inside mappings and lists."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_finite(values: Any, what: str, fix: str) -> None:
    """Raise RunError if a value is NaN or infinite, because it cannot be used for classification or metrics.

    Args:
        values: a tensor, an array or a list of numbers; None in a list counts as NaN.
        what: description of the values, for the message.
        fix: what to do, for the message.

    Raises:
        RunError: some values are not finite; the message says how many.
    """
    if isinstance(values, np.ndarray | list | tuple | int | float):
        array = np.asarray(values, np.float64)
        bad, total = int((~np.isfinite(array)).sum()), array.size
    else:
        bad, total = int((~values.isfinite()).sum()), values.numel()
    if bad:
        raise RunError(f"{what}: {bad} of {total} are not finite (NaN or infinite); {fix}")
