"""Validate and build configs: checks before a run, an allowlist of classes, and untrusted configs of runs."""

from pathlib import Path
from typing import Any

Settings = dict[str, Any]  # a checked config as plain mappings, lists, numbers and text


def conf_dir() -> str:
    """Return the folder of config groups: next to `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parents[1] / "conf")
