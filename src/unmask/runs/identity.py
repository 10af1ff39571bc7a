"""What a run is called by: the same characters for the same config and the same prepared data."""

import hashlib
import json
from pathlib import Path

import yaml

from unmask.config import Settings
from unmask.files import replace_file

# What does not change a run's result and so is no part of its identity.
NO_IDENTITY = ("hydra", "paths", "logger", "check", "rerun", "prepare", "explain", "report")


def run_id(config: Settings, prepared: str) -> str:
    """Ten characters that are the same for the same config and the same prepared data, and differ otherwise.

    A data set is identified by its prepared items. Where it lies, and how that path is spelled, does not matter.

    Args:
        config: as it was composed, with its references.
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
    """A hash of the prepared items that a data config names; of nothing where none are prepared.

    Args:
        data: the checked data config.
    """
    from unmask.config.build import build
    from unmask.data.prepared import members  # a config that is only composed must not wait for this

    source, recipe, split = (build(data[part]) for part in ("source", "recipe", "split"))
    found = [part.folder / "items.parquet" for part, _ in members(source, split, recipe, data["prepared"])]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()]
    return " ".join(digests)


def write_config(settings: Settings, folder: Path) -> None:
    """Write a run's config with every reference and resolver replaced by its value, which any machine can read.

    Hydra writes it as it was composed, with the names of environment variables instead of their values.
    """
    path = folder / ".hydra" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    replace_file(path, text.encode())
