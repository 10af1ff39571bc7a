"""Check configs and build objects from configs, including the untrusted config that comes with a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Settings = dict[str, Any]  # a checked config as plain mappings, lists, numbers and text


def conf_dir() -> str:
    """Return the folder with the config files: next to `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parents[1] / "conf")


def options_of(group: str) -> list[str]:
    """List the options of a config group; for example, `experiment` has the option `celebdf/meso4`."""
    folder = Path(conf_dir()) / group
    files = (path for path in folder.rglob("*.yaml") if not path.name.startswith("_"))
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files)


def either(names: Sequence[str]) -> str:
    """Return at least one name as text, such as `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def lone_word(word: str) -> str:
    """Describe an argument that is not of the form key=value; suggest the presets of this name."""
    presets = [option for option in options_of("experiment") if word in (option, option.rpartition("/")[2])]
    hint = f"; did you mean {either([f'experiment={preset}' for preset in presets])}?" if presets else ""
    return f"{word}: expected key=value{hint}"
