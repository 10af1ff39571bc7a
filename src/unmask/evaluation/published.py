"""Create a run from published weights without training: score the validation split and the test split."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from unmask.config import Settings
from unmask.config.allowed import NEUTRAL
from unmask.config.build import build
from unmask.console import say
from unmask.data.datamodule import DataModule
from unmask.evaluation.facts import DETECTORS, detector_facts, measured_latency
from unmask.evaluation.measured import measured_range
from unmask.files import file_hash, printable
from unmask.networks.weights import load_state, read_state_dict
from unmask.runs.figures import write_json
from unmask.runs.folder import best_of
from unmask.runs.predictions import predictions_path, write_predictions
from unmask.training import trainer as trainers
from unmask.training.checkpoints import WholeCheckpoints
from unmask.training.evaluation import Results, evaluate
from unmask.training.module import Module

KERAS = (".h5", ".hdf5")
FITTED = "the one with the best balanced accuracy on the validation split"
NOT_FITTED = "0.5, not fitted, because the validation split lacks scored items of at least one class"


def import_published(settings: Settings, data: DataModule, path: Path, folder: Path, command: str) -> None:
    """Score the validation and test splits with published weights, and write the run's files, metrics.json last.

    Args:
        settings: the checked config of a training run.
        data: the data module of this config.
        path: the file of the weights.
        folder: the run folder, which holds the config.
        command: the command line of the import.

    Raises:
        ValueError: the file does not fit the network of the config, or the preset does not train a detector.
    """
    module = with_weights(settings["module"], path)
    data.verify()
    data.setup("test")
    single = settings["trainer"] | {"devices": 1}  # predictions are not gathered from several devices
    trainer = trainers.build(single, module, logger=False, enable_checkpointing=False)
    results = {split: evaluate(trainer, module, data, split) for split in ("val", "test")}
    state = {name: tensor.cpu() for name, tensor in module.state_dict().items()}
    WholeCheckpoints().save_checkpoint({"state_dict": state}, best_of(folder))
    digest, fitted = file_hash(path), _is_fitted(results["val"])
    words = {
        "Weights": f"published, from {printable(path.name)} (SHA-256 {digest[:12]}), not trained here",
        "Selection": "unknown: the weights were trained elsewhere, possibly on some of these items",
        "Threshold": FITTED if fitted else NOT_FITTED,
    }
    for split, found in results.items():
        assert found.table is not None
        protocol = data.protocol_words(split) | words
        write_predictions(predictions_path(folder, split), found.table, protocol, found.figures)
    about: Settings = {"weights": {"file": path.name, "sha256": digest}, "command": command}
    about |= measured_latency(module, data) if settings["latency"] else {}
    about["remarks"] = [] if fitted else [f"The threshold is {NOT_FITTED}."]
    write_json(folder / "metrics.json", about | _metrics(module, data, results) | measured_range(module, data, folder))


def _metrics(module: Module, data: DataModule, results: Mapping[str, Results]) -> Settings:
    """Return the entries of metrics.json that describe the module and its results."""
    return {
        "kind": module.kind,
        "monitor": module.monitor,
        "score": results["val"].figures.get(module.monitor.removeprefix("val/"), math.nan),
        "parameters": sum(p.numel() for p in module.trained.parameters()),
        **detector_facts(module, data, results["val"].table),
        **{split: found.figures for split, found in results.items()},
    }


def _is_fitted(results: Results) -> bool:
    assert results.table is not None
    return results.table.dropna(subset=["logit"])["label"].nunique() == 2


def with_weights(settings: Settings, path: Path) -> Module:
    """Build a module and load published weights into its network.

    Args:
        settings: the config of the module. Pretrained weights that it names are neither read nor downloaded.
        path: a state dict, or a Keras file if the network has the argument `weights`.

    Raises:
        ValueError: the file does not fit the network, or the module is not a detector.
    """
    settings, where = _without_downloads(settings), f"weights={printable(str(path))}"
    network = settings.get("network")
    if not isinstance(network, dict):
        raise ValueError(
            f"{where}: module {settings.get('_target_')} has no network; expected the preset of a detector"
        )
    keras = path.suffix.lower() in KERAS
    if keras and "weights" not in network:
        raise ValueError(
            f"{where}: {network.get('_target_')} cannot read a Keras file; expected a state dict (.pt, .pth, ...)"
        )
    if keras:
        settings = settings | {"network": network | {"weights": str(path)}}
    module: Module = build(settings)
    if module.kind not in DETECTORS:
        raise ValueError(f"{where}: the preset trains a {module.kind}; expected the preset of a detector")
    if not keras and (unused := load_published(module.trained, path)):
        say(f"{len(unused)} tensors of {printable(path.name)} are not used, such as {printable(unused[0])}", "yellow")
    return module


def load_published(network: nn.Module, path: Path) -> list[str]:
    """Load all tensors of a network from a state dict.

    If all names in the file have the same prefix, such as `module.` or `network.`, this prefix is removed, unless
    names in the network also have it.

    Returns:
        Names of the tensors in the file that are not in the network.

    Raises:
        ValueError: the file cannot be read safely, or does not hold all tensors of the network.
    """
    own = network.state_dict()
    state = _without_prefix(read_state_dict(path), own)
    load_state(network, state, str(path))
    return sorted(set(state) - set(own))


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(state)
    while len(heads := {name.partition(".")[0] for name in found}) == 1:
        head = f"{heads.pop()}."
        if not all(name.startswith(head) for name in found) or any(name.startswith(head) for name in own):
            break
        found = {name.removeprefix(head): value for name, value in found.items()}
    return found


def _without_downloads(node: Settings) -> Settings:
    """Return a module's config without pretrained weights, because the published weights replace them."""
    found: Settings = {}
    for key, value in node.items():
        if isinstance(value, dict):
            found[key] = _without_downloads(value)
        elif key in NEUTRAL and value is not None:
            found[key] = False if isinstance(value, bool) else NEUTRAL[key]
        else:
            found[key] = value
    return found
