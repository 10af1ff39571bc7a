"""A run folder: its identity, its config, its weights, its predictions.

.hydra/config.yaml           all that the run is
checkpoints/best.ckpt        the weights that validation chose; last.ckpt, what a killed run goes on from
predictions-<split>.parquet  every scored frame or clip; the protocol in the file's metadata
metrics.json                 written last: its presence says that the run is finished
report.html
"""

import hashlib
import io
import json
import math
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule
from torch.utils._python_dispatch import TorchDispatchMode

from unmask.config import validate
from unmask.config.build import build
from unmask.config.foreign import check_parts, read_config
from unmask.files import DamagedError, read_json, replace_file
from unmask.metrics.detection import logit, require_thresholds

# How many tensor elements a module may make beside those of its checkpoint: buffers that are not saved, initial values.
FACTOR, EXTRA = 4, 50_000_000

# What does not change a run's result and so is no part of its identity.
NO_IDENTITY = ("hydra", "paths", "logger", "check", "rerun", "prepare", "explain", "report")


class RunError(ValueError):
    """A folder is no finished run, or its weights cannot be read safely."""


def run_id(cfg: DictConfig) -> str:
    """Ten characters that are the same for the same config and the same prepared data, and differ else."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    kept = {str(key): value for key, value in plain.items() if key not in NO_IDENTITY}
    text = json.dumps([kept, _fingerprint(cfg)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _fingerprint(cfg: DictConfig) -> str:
    """A hash of the prepared items that the config's recipe made; of nothing where none are prepared."""
    data = OmegaConf.select(cfg, "data")
    if data is None or OmegaConf.is_missing(data, "name") or "recipe" not in data:
        return ""
    wanted = {str(k): v for k, v in data.recipe.items() if k not in ("_target_", "decoder", "device")}
    for made in sorted(Path(data.prepared, data.name or "").glob("*/recipe.json")):
        try:
            have = read_json(made, "")
        except DamagedError:  # refused when it is read
            continue
        items = made.with_name("items.parquet")
        if items.is_file() and all(have.get(key) == value for key, value in wanted.items()):
            return hashlib.sha256(items.read_bytes()).hexdigest()
    return ""


def register_resolvers() -> None:
    """Give configs `${run_id:}` and `${count:LIST}`."""
    OmegaConf.register_new_resolver("count", len, replace=True)
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True, use_cache=False)


def write_config(cfg: DictConfig, folder: Path) -> None:
    """Write a run's config with every reference and resolver replaced by its value, which any machine can read.

    Hydra writes it as it was composed, with the names of environment variables instead of their values.
    """
    path = folder / ".hydra" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(OmegaConf.to_container(cfg, resolve=True), sort_keys=False, allow_unicode=True)
    replace_file(path, text.encode())


@dataclass(frozen=True)
class Run:
    """A run folder. Nothing of a checkpoint but tensors is ever read; what to build is read from the checked config."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / ".hydra" / "config.yaml").is_file():
            near = sorted(Path("outputs").glob("*/*/*/.hydra")) if Path("outputs").is_dir() else []
            hint = f"; there is {near[-1].parent}" if near else ""
            raise RunError(f"run={self.folder}: not a run folder (it has no .hydra/config.yaml){hint}")

    @cached_property
    def config(self) -> DictConfig:
        """What the run's config says of its name, data and module, checked: the run may be a stranger's.

        Raises:
            ForeignConfigError: it says more than the config that came with a run may say.
        """
        return OmegaConf.create(read_config(self.folder / ".hydra" / "config.yaml"))

    @property
    def name(self) -> str:
        """What the run is called in tables: its preset's name and its seed where that is not 0."""
        name = str(self.config.get("name", self.folder.name))
        seed = self.config.get("seed", 0)
        return name.split("/")[-1] + (f" (seed {seed})" if seed else "")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What the run wrote when it had finished."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise RunError(
                f"run={self.folder}: not finished (no metrics.json); the command that started it goes on with it"
            )
        found = read_json(path, "train the run again with rerun=true")
        return found | {split: figures_of(found.get(split, {})) for split in ("val", "test")}

    @property
    def thresholds(self) -> dict[str, float]:
        """A detector's, chosen on validation data, for a `frame` and a `video`; as probabilities, to be shown."""
        if "thresholds" not in self.metrics:
            raise RunError(f"run={self.folder}: {self.name} is a generator and scores nothing; take a detector's run")
        found = figures_of(self.metrics["thresholds"])
        if broken := [level for level, value in found.items() if not math.isfinite(value)]:
            raise RunError(
                f"run={self.folder}: the {broken[0]} threshold in metrics.json is {found[broken[0]]}; expected a "
                "finite number. Train the run again (rerun=true)"
            )
        return found

    @property
    def score_thresholds(self) -> dict[str, float]:
        """The same as scores (logits): what is above them is called fake. Runs that did not write them are converted.

        Raises:
            ValueError: one is not finite.
        """
        shown = self.thresholds
        found = self.metrics.get("score_thresholds") or {name: float(logit(prob)) for name, prob in shown.items()}
        require_thresholds(found)
        return dict(found)

    @property
    def checkpoint(self) -> Path:
        """The weights that validation chose."""
        return self.folder / "checkpoints" / "best.ckpt"

    def build(self, part: str) -> Any:
        """Check one part of the config, such as `module` or `data.recipe`, and make it.

        Raises:
            ValueError: the config does not describe it, or describes what a run's config may not build.
        """
        node = OmegaConf.select(self.config, part)
        if node is None:
            raise RunError(f"run={self.folder}: its config has no {part}")
        plain: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
        check_parts(plain, part)
        validate(self.config, part)
        try:
            return build(plain)
        except (ValueError, OSError, ImportError):
            raise
        except Exception as error:  # a value of another type than the constructor expects
            raise RunError(
                f"run={self.folder}: {part} cannot be built from its config ({type(error).__name__}: {error})"
            ) from error

    def module(self) -> LightningModule:
        """The trained module, in eval mode on the CPU.

        Raises:
            RunError: the checkpoint cannot be read safely, or the config describes a much larger module than it holds.
        """
        weights = load_weights(self.checkpoint)
        if OmegaConf.select(self.config, "module.compile"):  # for a few files it would take longer than it saves
            self.config.module.compile = False
        with ElementBudget(EXTRA + FACTOR * sum(tensor.numel() for tensor in weights.values())):
            module: LightningModule = self.build("module")
        if not isinstance(module, LightningModule):
            raise RunError(f"run={self.folder}: module is a {type(module).__name__}, not a LightningModule")
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            said = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
            raise RunError(
                f"run={self.folder}: best.ckpt does not fit the module of the config ({said[:160]})"
            ) from None
        return module.eval()

    def predictions(self, split: str, dataset: str | None = None) -> pd.DataFrame:
        """A prediction table; its protocol lies in `.attrs["protocol"]`."""
        return read_predictions(predictions_path(self.folder, split, dataset))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint.

    Raises:
        RunError: it is missing, broken, or could be read only by running code.
    """
    state = load_checkpoint(path).get("state_dict")
    tensors = isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())
    if not isinstance(state, dict) or not tensors or not all(isinstance(key, str) for key in state):
        raise RunError(f"{path} is refused: it is not a checkpoint (state_dict is missing or holds more than tensors)")
    for name, value in state.items():  # a tensor may claim more elements than its file holds
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise RunError(f"{path} is refused: the tensor {name} claims more values than are stored")
    return dict(state)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint, memory-mapped; only tensors and plain values are ever read.

    Raises:
        RunError: it is missing, broken, or could be read only by running code.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing: the run has not finished an epoch, or its folder was copied without it")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise RunError(f"{path} is refused: it is a TorchScript archive, which is code")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:  # before anything is unpacked
                raise RunError(f"{path} is refused: its contents are compressed, which PyTorch never does")
            if changed := archive.testzip():
                raise RunError(f"{path} is refused: {changed} in it changed since it was written")
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RunError:
        raise
    except Exception as error:  # whatever zipfile and the unpickler meet in a damaged or hostile file
        said = str(error).partition("\n")[0][:120] or type(error).__name__
        raise RunError(f"{path} is refused: it is broken, or could be read only by running code ({said})") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is refused: it is not a checkpoint, but holds a {type(found).__name__}")
    return found


class ElementBudget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse to make more tensor elements than this while a module is built, before memory is taken.

    Args:
        most: elements of all tensors that are made from sizes, together.
    """

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the elements of a new tensor, then make it."""
        schema = func._schema.arguments
        given = {argument.name: value for argument, value in zip(schema, args, strict=False)} | (kwargs or {})
        if not any(isinstance(value, torch.Tensor) for value in given.values()):
            size = given.get("size")
            self.left -= (
                math.prod(size) if isinstance(size, list | tuple) else int(given.get("end") or given.get("n") or 1)
            )
            if self.left < 0:
                raise RunError("the run's config describes a much larger module than its checkpoint holds")
        return func(*args, **(kwargs or {}))


def best_epoch(path: Path) -> int | None:
    """The epoch, counted from 1, after which these weights were saved; None where the file does not say."""
    epoch = load_checkpoint(path).get("epoch")
    return epoch + 1 if isinstance(epoch, int) else None


def require_finite(values: Any, what: str, fix: str) -> None:
    """Refuse NaN and infinity, of which no verdict and no figure can be made.

    Args:
        values: a tensor, an array or a list of numbers; None in a list counts as NaN.
        what: these values, for the message.
        fix: what to do.

    Raises:
        RunError: it says how many of the values are not finite.
    """
    if not isinstance(values, torch.Tensor):
        values = torch.from_numpy(np.asarray(values, np.float64))
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise RunError(f"{what}: {bad} of {values.numel()} are not finite (NaN or infinite); {fix}")


def resume_point(folder: Path) -> Path | None:
    """The checkpoint that a run goes on from; None where it has not yet saved one.

    Raises:
        RunError: there are checkpoints but none can be read, so going on would silently start over.
    """
    found = [path for name in ("last.ckpt", "previous.ckpt") if (path := folder / "checkpoints" / name).is_file()]
    for path in found:
        try:
            load_weights(path)
        except RunError as error:
            warnings.warn(f"{error}; trying the one before it", stacklevel=2)
        else:
            return path
    if found:
        raise RunError(f"no checkpoint in {folder / 'checkpoints'} can be read; rerun=true starts this run over")
    return None


def predictions_path(folder: Path, split: str, dataset: str | None = None) -> Path:
    """Where a split's predictions lie; `dataset` for one that the run was not trained on."""
    return folder / f"predictions-{f'{dataset}-' if dataset else ''}{split}.parquet"


def free_label(
    folder: Path, split: str, name: str, own: bool, table: pd.DataFrame, protocol: Mapping[str, str]
) -> str | None:
    """What stands in a file's name for the data that was scored, so that no other predictions are overwritten.

    Args:
        folder: of the run.
        split: that was scored.
        name: of the data set.
        own: whether the run was trained on the data set of this name.
        table: the new predictions.
        protocol: theirs.

    Returns:
        None for the run's own split, `name` for other data; where predictions of another protocol or of other crops
        have that place, a label with the protocol and, where that does not tell them apart, the manifest.
    """
    rule, _, _ = protocol["Split"].partition(" ")
    longer = [f"{name}-{rule}", f"{name}-{rule}-{protocol['Manifest']}"]
    for label in (None if own else name, *longer):
        path = predictions_path(folder, split, label)
        if not path.is_file() or _same_protocol(path, table, protocol):
            return label
    number = len(list(folder.glob(f"predictions-{longer[-1]}*-{split}.parquet")))
    return f"{longer[-1]}-{number + 1}"


def _same_protocol(path: Path, table: pd.DataFrame, protocol: Mapping[str, str]) -> bool:
    """Whether the predictions at `path` are of the same items, split and crops as `table`."""
    before = read_predictions(path)
    known = before.attrs["protocol"]
    return set(before["item"]) == set(table["item"]) and all(
        known.get(key, protocol[key]) == protocol[key] for key in ("Split", "Manifest")
    )


def find_label(folder: Path, split: str, name: str, rules: Sequence[str]) -> str | None:
    """The label (see `free_label`) of predictions of a data set by one of these protocols; None where there are none.

    Args:
        folder: of the run.
        split: that was scored.
        name: of the data set.
        rules: protocols, such as `official`.
    """
    for label in (name, *(f"{name}-{rule}" for rule in rules)):
        path = predictions_path(folder, split, label)
        if path.is_file() and read_predictions(path).attrs["protocol"].get("Split", rules[0]).split(" ")[0] in rules:
            return label
    return None


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON, whole or not at all; a figure that is NaN or infinite becomes null."""
    replace_file(path, json.dumps(_without_nan(value), indent=2, allow_nan=False).encode())


def figures_of(read: Mapping[str, float | None]) -> dict[str, float]:
    """Figures as they were before `write_json`: null is NaN again."""
    return {name: math.nan if value is None else value for name, value in read.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_predictions(
    path: Path, table: pd.DataFrame, protocol: Mapping[str, str], figures: Mapping[str, float] | None = None
) -> None:
    """Write a prediction table with its protocol in the file's metadata; whole or not at all.

    Args:
        path: the file.
        table: the predictions.
        protocol: what they rest on.
        figures: of the same evaluation, those too that the table does not hold, such as a segmenter's of pixels.
    """
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    about = {"protocol": protocol, "figures": _without_nan(figures or {})}
    metadata = {name.encode(): json.dumps(value).encode() for name, value in about.items()}
    metadata = {**(arrow.schema.metadata or {}), **metadata}
    buffer = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata(metadata), buffer)
    replace_file(path, buffer.getbuffer())


def read_predictions(path: Path) -> pd.DataFrame:
    """A prediction table; `.attrs` holds its `protocol` and the `figures` of its evaluation."""
    if not path.is_file():
        raise RunError(f"{path} is missing: the run has not been evaluated on this split")
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        said = str(error).partition("\n")[0][:120]
        raise RunError(f"{path} is damaged ({said}); unmask evaluate run={path.parent} writes it again") from None
    table: pd.DataFrame = arrow.to_pandas()
    metadata = arrow.schema.metadata or {}
    table.attrs["protocol"] = json.loads(metadata.get(b"protocol", b"{}"))
    table.attrs["figures"] = figures_of(json.loads(metadata.get(b"figures", b"{}")))
    return table
