"""Open a run folder or a pack for reading."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from unmask.config import Settings
from unmask.config.build import build
from unmask.config.foreign import check_parts, read_config
from unmask.config.targets import check_tree
from unmask.data.cache import Cache
from unmask.files import read_json
from unmask.metrics.calibrate import CALIBRATIONS, Calibration
from unmask.metrics.detection import logit, require_thresholds
from unmask.runs import pack
from unmask.runs.errors import RunError
from unmask.runs.figures import figures_of
from unmask.runs.folder import best_of
from unmask.runs.identity import seedless_id
from unmask.runs.measured import Measured, read_measured
from unmask.runs.predictions import predictions_path, read_predictions
from unmask.runs.summary import Summary, summarize

if TYPE_CHECKING:
    from torch import Tensor, nn

# Building a module may create FACTOR times as many tensor elements as the checkpoint contains, plus EXTRA, because
# initial values and unsaved buffers are also created.
FACTOR, EXTRA = 4, 50_000_000
NETWORK = "network."  # prefix of the names of the network's weights in the checkpoint of a module


def is_demo(data: Settings) -> bool:
    """Return whether a data config describes rendered demo data, or a mixture with rendered demo data."""
    return bool(data.get("demo")) or any(bool(part.get("demo")) for part in (data.get("parts") or {}).values())


@dataclass(frozen=True)
class Run:
    """A run folder or a pack. Objects are built from the checked config; the checkpoint only provides their tensors.

    Args:
        folder: the run folder, or the folder of a pack, which is verified (see `unmask.runs.pack`).

    Raises:
        RunError: the folder is neither, or the pack is refused.
    """

    folder: Path

    def __post_init__(self) -> None:
        if self.is_pack:
            pack.verify(self.folder)
        elif not self.config_file.is_file():
            raise RunError(f"run={self.folder}: not a run folder (it has no .hydra/config.yaml); {self._hint()}")

    def _hint(self) -> str:
        """Suggest finished runs inside the folder (for example, of a preset), or the command that lists all runs."""
        inside = sorted(path.parent for path in self.folder.glob("*/metrics.json")) if self.folder.is_dir() else []
        return f"did you mean {' or '.join(map(str, inside[:2]))}?" if inside else "unmask list runs lists all runs"

    @cached_property
    def is_pack(self) -> bool:
        """Whether the folder is a pack. A pack is only read: its results are written elsewhere, see `writable`."""
        return pack.is_pack(self.folder)

    @property
    def config_file(self) -> Path:
        """The file with the config."""
        return self.folder / (pack.CONFIG if self.is_pack else ".hydra/config.yaml")

    @cached_property
    def config(self) -> Settings:
        """The parts of the run's config that describe data and module; checked, because the run may be untrusted.

        Raises:
            ForeignConfigError: the config contains something that is not allowed in a run's config.
        """
        return read_config(self.config_file)

    @property
    def name(self) -> str:
        """Name of the run in tables: the name of the preset, and the seed if it is not 0."""
        seed = self.config.get("seed", 0)
        return self.preset + (f" (seed {seed})" if seed else "")

    @property
    def preset(self) -> str:
        """Name of the run's preset without its folder, such as `meso4` for `celebdf/meso4`."""
        return str(self.config.get("name", self.folder.name)).split("/")[-1]

    @property
    def seedless_id(self) -> str:
        """ID that is equal for runs that differ only in their seed; empty for imported scores, which have no seed."""
        if self.imported or "seed" not in self.config:  # reading `config` also checks the file
            return ""
        text = self.config_file.read_text(encoding="utf-8")
        return seedless_id(yaml.safe_load(text))

    @property
    def summary(self) -> Summary:
        """The run's network, data, seed, date and main metric."""
        return summarize(self.folder, self.config, self.metrics)

    @cached_property
    def metrics(self) -> Settings:
        """The content of metrics.json, which a run writes when it finishes."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise RunError(
                f"run={self.folder}: not finished (no metrics.json); rerun the command that started it to resume"
            )
        found = read_json(path, "train the run again with rerun=true")
        return found | {split: figures_of(found.get(split, {})) for split in ("val", "test")}

    @property
    def remarks(self) -> list[str]:
        """Warnings about the run, one sentence each, such as that its metrics do not show that the model learned."""
        return [str(remark) for remark in self.metrics.get("remarks") or []]

    @property
    def kind(self) -> str:
        """The kind of run: `detector`, `segmenter`, `generator` or `swapper`.

        Raises:
            RunError: the run is not finished, or its metrics.json does not contain the kind.
        """
        if "kind" not in self.metrics:
            raise RunError(f"run={self.folder}: metrics.json has no key 'kind'; train the run again with rerun=true")
        return str(self.metrics["kind"])

    @property
    def imported(self) -> bool:
        """Whether the run contains imported scores instead of weights; see `unmask.runs.imported`."""
        return "imported" in self.metrics

    def require_weights(self) -> None:
        """Raise an error if the run contains imported scores instead of weights: such a run cannot score files.

        Raises:
            RunError: the run has no weights.
        """
        if self.imported:
            raise RunError(
                f"run={self.folder}: {self.name} holds imported scores and no weights, so it cannot score files; "
                f"unmask report run={self.folder} shows its metrics"
            )

    @property
    def detects(self) -> bool:
        """Whether the run gives scores, that is, whether it is a detector or a segmenter."""
        return self.kind in ("detector", "segmenter")

    @property
    def thresholds(self) -> dict[str, float]:
        """Decision thresholds for `frame` and `video`, chosen on validation data; as probabilities, for display."""
        if not self.detects:
            raise RunError(
                f"run={self.folder}: {self.name} is a {self.kind} and has no scores; expected a run of a detector"
            )
        found = figures_of(self.metrics["thresholds"])
        if broken := [level for level, value in found.items() if not math.isfinite(value)]:
            raise RunError(
                f"run={self.folder}: the {broken[0]} threshold in metrics.json is {found[broken[0]]}; expected a "
                "finite number. Train the run again (rerun=true)"
            )
        return found

    @property
    def score_thresholds(self) -> dict[str, float]:
        """The thresholds as logits (a higher logit means fake), from metrics.json or else computed from `thresholds`.

        Raises:
            ValueError: a threshold is not finite.
        """
        shown = self.thresholds
        found = self.metrics.get("score_thresholds") or {name: float(logit(prob)) for name, prob in shown.items()}
        require_thresholds(found)
        return dict(found)

    def calibration(self, name: str) -> Calibration | None:
        """Return the map from scores to calibrated probabilities that was fitted to the validation split.

        Args:
            name: a name in `CALIBRATIONS`, or `none`.

        Returns:
            The map. None if `name` is `none`, or if the calibration could not be fitted to the run's validation split.

        Raises:
            ValueError: there is no calibration with this name, or the values in metrics.json are damaged.
        """
        if name != "none" and name not in CALIBRATIONS:
            raise ValueError(f"calibration={name}: expected one of none, {', '.join(CALIBRATIONS)}")
        known = self.metrics.get("calibration") or {}
        return CALIBRATIONS[name].from_settings(known[name]) if name in known else None

    @property
    def measured(self) -> Measured | None:
        """The range of inputs in which the detector was measured; None if it is not known.

        Raises:
            RunError: the stored range is damaged.
        """
        return read_measured(self.folder, self.metrics)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint with the weights selected by validation."""
        return self.folder / pack.WEIGHTS if self.is_pack else best_of(self.folder)

    def weights(self) -> "dict[str, Tensor]":
        """Return the tensors of the checkpoint by name; those of a pack are also checked to be finite.

        Raises:
            RunError: the checkpoint cannot be read safely.
        """
        from unmask.runs.checkpoints import load_weights  # imports PyTorch
        from unmask.runs.tensors import read_tensors

        return read_tensors(self.checkpoint) if self.is_pack else load_weights(self.checkpoint)

    def build(self, part: str) -> Any:
        """Check one part of the config, such as `module` or `data.recipe`, and build the object that it describes.

        Raises:
            ValueError: the part is missing, or contains a class that the config of a run is not allowed to build.
        """
        return self._build(part, self._node(part))

    def module(self) -> Any:
        """Return the trained module, in eval mode on the CPU.

        Raises:
            RunError: the checkpoint cannot be read safely, or does not fit the module in the config.
        """
        node = self._node("module")
        if "compile" in node:  # for a few files, compiling takes more time than it saves
            node = node | {"compile": False}
        return self._load("module", node, self.weights())

    def network(self) -> "nn.Module":
        """Return only the trained network of a detector, in eval mode on the CPU, without importing training code.

        Raises:
            RunError: see `module`.
        """
        from unmask.networks.layout import use_channels_last  # imports PyTorch

        weights = self.weights()
        own = {name.removeprefix(NETWORK): value for name, value in weights.items() if name.startswith(NETWORK)}
        network: nn.Module = self._load("module.network", self._node("module.network"), own)
        if self._node("module").get("channels_last", True):
            use_channels_last(network)
        return network

    @property
    def cache(self) -> Cache:
        """The cache with the crops of a run, if they are at a URL; a run's config does not cause a download."""
        own = self._node("data").get("cache")
        return Cache(str(own["folder"]) if isinstance(own, dict) and "folder" in own else Cache.folder, offline=True)

    def _load(self, part: str, node: Settings, weights: "dict[str, Tensor]") -> Any:
        from unmask.runs.checkpoints import ElementBudget

        with ElementBudget(EXTRA + FACTOR * sum(tensor.numel() for tensor in weights.values())):
            built = self._build(part, node)
        try:
            built.load_state_dict(weights)
        except RuntimeError as error:
            said = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
            raise RunError(
                f"run={self.folder}: {self.checkpoint.name} does not fit the {part} of the config ({said[:160]})"
            ) from None
        return built.eval()

    def _node(self, part: str) -> Settings:
        """Return the part of the config at a dotted path, such as `data.recipe`."""
        node: Any = self.config
        for key in part.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise RunError(f"run={self.folder}: its config has no {part}")
        return node

    def _build(self, part: str, node: Settings) -> Any:
        check_parts(node, part)
        check_tree(node, part)
        try:
            return build(node)
        except (ValueError, OSError, ImportError):
            raise
        except Exception as error:  # e.g. a value of a type that the constructor does not expect
            raise RunError(
                f"run={self.folder}: {part} cannot be built from its config ({type(error).__name__}: {error})"
            ) from error

    def predictions(self, split: str, dataset: str | None = None) -> pd.DataFrame:
        """Read the prediction table of a split; see `read_predictions` and `predictions_path`."""
        return read_predictions(predictions_path(self.folder, split, dataset))
