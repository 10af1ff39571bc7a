"""Compute run IDs: the same config and the same prepared data give the same ID."""

import hashlib
import json
from pathlib import Path

import yaml

from unmask.config import Settings
from unmask.files import file_hash, replace_file

# Settings that do not change the result of a run. They are not part of the run ID.
NO_IDENTITY = (
    "hydra", "paths", "logger", "check", "rerun", "prepare", "explain", "feature_maps", "latency", "handling", "report",
)  # fmt: skip
ORIGINS = ("loss", "network", "codec")  # parts of the module whose key `run` names runs whose weights the training uses
# Settings that older versions lack, with the value that gives the result of those versions; a run keeps its ID.
LATER = (("window", None), ("square", None))
# Settings of the Trainer that choose hardware or only affect what is shown. `data.batch_size` is the size of a batch
# over all devices, so that the number of devices does not change the result.
HARDWARE = (
    "accelerator", "devices", "num_nodes", "strategy", "default_root_dir", "log_every_n_steps", "enable_progress_bar",
    "enable_model_summary",
)  # fmt: skip


def run_id(config: Settings, prepared: str) -> str:
    """Return the run ID: ten hexadecimal digits of a hash of the config and the prepared data.

    The path or URL of a data set does not change the ID, because a data set is identified by its prepared items. In the
    same way, a run that is a teacher or is trained further is identified by its weights.
    Devices do not change it either, so that a run can be resumed on other hardware.

    Args:
        config: the composed config, with interpolations unresolved.
        prepared: the hash of the prepared data.
    """
    kept = {key: value for key, value in config.items() if key not in NO_IDENTITY}
    kept["data"] = _without_places(kept.get("data"))
    kept["trainer"] = _without_hardware(kept.get("trainer"))
    if "module" in kept:
        kept["module"] = _with_weights(kept["module"])
    text = json.dumps([kept, prepared], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def seedless_id(config: Settings) -> str:
    """Return an ID that is equal for runs that differ only in their seed; the seed of the split is part of the ID.

    Args:
        config: the config in a run's folder, with interpolations resolved.
    """
    paths = config.get("paths")
    folder = str(paths.get("out", "")) if isinstance(paths, dict) else ""

    def kept(node: object, at: str) -> object:
        if isinstance(node, dict):
            left_out = {"root", "prepared", "cache", *(() if at == "split" else ("seed",))}
            rest = {key: kept(value, key) for key, value in node.items() if key not in left_out}
            return {key: value for key, value in rest.items() if (key, value) not in LATER}
        if isinstance(node, list):
            return [kept(value, at) for value in node]
        return node.replace(folder, "") if isinstance(node, str) and folder else node

    settings = {key: kept(value, key) for key, value in config.items() if key not in (*NO_IDENTITY, "seed")}
    settings["trainer"] = _without_hardware(settings.get("trainer"))
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _without_places(node: object) -> object:
    """Leave out where the data is, and settings that older versions lack if they have their default value."""
    if not isinstance(node, dict):
        return node
    kept = {key: _without_places(value) for key, value in node.items() if key not in ("root", "cache")}
    if "prepared" in kept:
        kept["prepared"] = "${paths.prepared}"
    return {key: value for key, value in kept.items() if (key, value) not in LATER}


def _with_weights(module: object) -> object:
    """Replace the path of the run in each part of `ORIGINS`, such as `module.loss.run`, by a hash of its weights."""
    if not isinstance(module, dict):
        return module
    parts = {part: node for part in ORIGINS if isinstance(node := module.get(part), dict) and "run" in node}
    return module | {part: node | {"run": _weights(node["run"])} for part, node in parts.items()}


def _weights(run: object) -> object:
    """Return the hash of a run's weights, or a list of hashes; a path without weights, which is an error, stays."""
    if isinstance(run, list):
        return [_weights(one) for one in run]
    from unmask.runs.folder import best_of  # imported here, because most configs name no run

    path = best_of(Path(str(run)))
    return file_hash(path) if path.is_file() else run


def _without_hardware(trainer: object) -> object:
    if not isinstance(trainer, dict):
        return trainer
    return {key: value for key, value in trainer.items() if key not in HARDWARE}


def prepared_hash(data: Settings) -> str:
    """Return one hash of the prepared items per data set, separated by spaces; empty if no data set is prepared.

    Args:
        data: the checked data config, or at least its `source`, `recipe`, `split` and `prepared`.

    Raises:
        StoreError: crops at a URL are missing or cannot be read.
    """
    from unmask.config.build import build
    from unmask.data.prepared import members  # slow to import, and not every user of this module needs it

    source, recipe, split = (build(data[part]) for part in ("source", "recipe", "split"))
    every = members(source, split, recipe, data["prepared"], build(data.get("cache")))
    found = [part.folder / "items.parquet" for part, _ in every]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()]
    return " ".join(digests)


def write_config(settings: Settings, folder: Path) -> None:
    """Write the config of a run. Interpolations are replaced by values, so that it can be read on any machine.

    Hydra itself would write a config with the names of environment variables instead of their values.
    """
    path = folder / ".hydra" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    replace_file(path, text.encode())
