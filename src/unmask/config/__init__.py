"""What a config may say: the check before a run, the list of what may be built, configs that came with a run."""

from pathlib import Path

from unmask.config.check import ConfigError, validate

__all__ = ["ConfigError", "conf_dir", "validate"]


def conf_dir() -> str:
    """The folder of config groups: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parents[1] / "conf")
