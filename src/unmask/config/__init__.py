"""What a config may say: the check before a run, the list of what may be built, configs that came with a run."""

from pathlib import Path
from typing import Any

Settings = dict[str, Any]  # a checked config as plain mappings, lists, numbers and text


def conf_dir() -> str:
    """The folder of config groups: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parents[1] / "conf")
