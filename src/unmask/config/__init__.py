"""Check configs and build objects from configs, including the untrusted config that comes with a run."""

from pathlib import Path
from typing import Any

Settings = dict[str, Any]  # a checked config as plain mappings, lists, numbers and text


def conf_dir() -> str:
    """Return the folder with the config files: next to `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parents[1] / "conf")
