"""Figures in strict JSON, and the refusal of values of which no figure can be made."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.files import replace_file
from unmask.runs.errors import RunError


def write_json(path: Path, value: object) -> None:
    """Write strict JSON, whole or not at all; a figure that is NaN or infinite becomes null."""
    replace_file(path, json.dumps(without_nan(value), indent=2, allow_nan=False).encode())


def figures_of(read: Mapping[str, float | None]) -> dict[str, float]:
    """Figures as they were before `write_json`: null is NaN again."""
    return {name: math.nan if value is None else value for name, value in read.items()}


def without_nan(value: object) -> object:
    """The same mappings and lists with None in the place of NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def require_finite(values: Any, what: str, fix: str) -> None:
    """Refuse NaN and infinity, of which no verdict and no figure can be made.

    Args:
        values: a tensor, an array or a list of numbers; None in a list counts as NaN.
        what: these values, for the message.
        fix: what to do.

    Raises:
        RunError: it says how many of the values are not finite.
    """
    if not isinstance(values, torch.Tensor):
        values = torch.from_numpy(np.asarray(values, np.float64))
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise RunError(f"{what}: {bad} of {values.numel()} are not finite (NaN or infinite); {fix}")
