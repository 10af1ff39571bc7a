"""Compute run IDs: the same config and the same prepared data give the same ID."""

import hashlib
import json
from pathlib import Path

import yaml

from unmask.config import Settings
from unmask.files import replace_file

# Settings that do not change a run's result and are therefore not part of its ID.
NO_IDENTITY = ("hydra", "paths", "logger", "check", "rerun", "prepare", "explain", "handling", "report")


def run_id(config: Settings, prepared: str) -> str:
    """Return the run ID: ten hexadecimal digits of a hash of the config and the prepared data.

    A data set is identified by its prepared items; its location and the spelling of its path do not matter.

    Args:
        config: the composed config, with interpolations unresolved.
        prepared: the hash of the prepared data.
    """
    kept = {key: value for key, value in config.items() if key not in NO_IDENTITY}
    kept["data"] = _without_roots(kept.get("data"))
    text = json.dumps([kept, prepared], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _without_roots(node: object) -> object:
    if not isinstance(node, dict):
        return node
    return {key: _without_roots(value) for key, value in node.items() if key != "root"}


def prepared_hash(data: Settings) -> str:
    """Return the hashes of the prepared items of a data config, one per data set; empty if nothing is prepared.

    Args:
        data: the checked data config, or at least its `source`, `recipe`, `split` and `prepared`.
    """
    from unmask.config.build import build
    from unmask.data.prepared import members  # slow to import; not every caller needs it

    source, recipe, split = (build(data[part]) for part in ("source", "recipe", "split"))
    found = [part.folder / "items.parquet" for part, _ in members(source, split, recipe, data["prepared"])]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()]
    return " ".join(digests)


def write_config(settings: Settings, folder: Path) -> None:
    """Write a run's config with every interpolation and resolver replaced by its value, so any machine can read it.

    Hydra itself writes the config unresolved, with the names of environment variables instead of their values.
    """
    path = folder / ".hydra" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    replace_file(path, text.encode())
