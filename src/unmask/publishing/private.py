"""Remove from a run what must not be published: the paths of this machine, and the names of the items."""

import re
import shlex
from collections.abc import Mapping

import pandas as pd

from unmask.config import Settings
from unmask.config.allowed import READ_ONLY
from unmask.runs.errors import RunError
from unmask.runs.predictions import ITEMS

#: An absolute path (POSIX, home folder or Windows), also in a list, or a URL.
PLACE = re.compile(r"(?:^|[\[\]{},:=\s'\"])(?:~|/|[A-Za-z]:[\\/]|\\\\)|[a-z][a-z0-9+]*://")
COLUMNS = ("item", "track", "frame", "time", "label", "method", "dataset", "split", "logit")
NUMBERED = "numbered; the names of the files were removed"  # the entry `ITEMS` of a protocol


def public_config(config: Settings) -> Settings:
    """Return a run's config without paths of this machine.

    The folder of a data set becomes `${paths.data}/NAME`, and that of its crops `${paths.prepared}`. Whoever reads the
    config gets the paths of the own machine.

    Args:
        config: the checked config, as `Run.config` returns it.

    Raises:
        RunError: another value is an absolute path or a URL; the message names its key.
    """
    data = {key: value for key, value in config["data"].items() if key != "cache"}
    public: Settings = {
        key: _public(data if key == "data" else value, key, str(data.get("name") or "data"))
        for key, value in config.items()
    }
    return public


def _public(node: object, at: str, name: str) -> object:
    if isinstance(node, dict):
        name = str(node.get("name") or name)
        return {
            key: _reference(key, name)
            if key in READ_ONLY and value is not None
            else _public(value, f"{at}.{key}", name)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_public(value, f"{at}.{number}", name) for number, value in enumerate(node)]
    if isinstance(node, str) and PLACE.search(node):
        raise RunError(
            f"{at}={node}: this path or URL of your machine would be published; train the run with a value that does "
            "not depend on the machine"
        )
    return node


def _reference(key: str, name: str) -> str:
    return f"${{paths.data}}/{name}" if key == "root" else "${paths.prepared}"


def public_command(command: str) -> str:
    """Return a command line in which each absolute path and each URL is replaced by `PATH`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    hidden = []
    for word in words:
        key, equals, value = word.partition("=")
        if PLACE.search(value if equals else key):
            word = f"{key}=PATH" if equals else "PATH"
        hidden.append(word)
    return shlex.join(hidden)


def without_names(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Replace the names of the items in prediction tables by numbers; an item has the same number in all tables.

    Args:
        tables: prediction tables with their `protocol` and `figures` in `attrs`.
    """
    names = sorted({str(item) for table in tables.values() for item in table["item"]})
    width = len(str(len(names)))
    numbers = {name: f"{number:0{width}d}" for number, name in enumerate(names, 1)}
    return {key: _numbered(table, numbers) for key, table in tables.items()}


def _numbered(table: pd.DataFrame, numbers: Mapping[str, str]) -> pd.DataFrame:
    items = [f"{data}/{numbers[str(item)]}" for data, item in zip(table["dataset"], table["item"], strict=True)]
    found = table.assign(item=pd.Series(items, index=table.index, dtype=object))
    found.attrs = table.attrs | {"protocol": table.attrs["protocol"] | {ITEMS: NUMBERED}}
    return found


def public_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a prediction table that every reader needs; all other columns are left out."""
    found = table[[name for name in COLUMNS if name in table]]
    found.attrs = dict(table.attrs)
    return found
