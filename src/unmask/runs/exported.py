"""A network in an ONNX file that `unmask export` wrote, with the record of its run; PyTorch is not needed."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unmask.config import Settings
from unmask.config.foreign import checked_config
from unmask.files import open_regular, printable
from unmask.runs.errors import RunError
from unmask.runs.measured import Measured, read_measured
from unmask.runs.run import Run
from unmask.runs.summary import Summary

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
FORMAT = "1"  # version of the record
GENERATOR = "generator"  # the kind of a run, and of a file
PARTS = ("recipe", "sampling", "loader")  # of the config of the data
MOST = 2**31  # bytes; a protocol buffer is at most this long


@dataclass(frozen=True)
class ExportedFile(Run):
    """A file in place of a run folder: a network and the parts of the run that are needed to use it.

    Attributes:
        folder: path of the ONNX file.
    """

    def __post_init__(self) -> None:
        if not self.folder.is_file():
            raise RunError(f"model={printable(str(self.folder))}: no such file")
        _ = self.record

    @cached_property
    def session(self) -> "InferenceSession":
        """The session of onnxruntime, on one thread. The file is read as bytes, so it cannot refer to other files."""
        try:
            import onnxruntime
        except ImportError as error:
            raise RunError(f"an ONNX file needs onnxruntime: pip install onnxruntime ({error})") from None
        with open_regular(self.folder) as file:
            content = file.read(MOST + 1)
        if len(content) > MOST:
            raise self.refused(f"it has more than {MOST:,} bytes")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has error types of its own
            said = printable(str(error).partition("\n")[0][:120])
            raise self.refused(f"it is damaged, or not an ONNX model ({said})") from None

    @cached_property
    def record(self) -> dict[str, str]:
        """The text that the file stores, by name; see `unmask.export.record`.

        Raises:
            RunError: the file was not written by `unmask export`, or by another version of it.
        """
        found = dict(self.session.get_modelmeta().custom_metadata_map)
        if found.get("format") != FORMAT or not {"config", "metrics"} <= set(found):
            raise self.refused("it is not a file that this version of unmask export wrote")
        return found

    @cached_property
    def config(self) -> Settings:
        """The part of the run's config that the file stores."""
        return self._read_config()

    @cached_property
    def metrics(self) -> Settings:
        """The entries of the run's metrics.json that the file stores."""
        return self._read_metrics()

    def _read_config(self) -> Settings:
        """Return the stored config; it is checked, because the file may be untrusted."""
        name = printable(str(self.folder))
        found = checked_config(self.record["config"].encode(), name, str(self.folder.parent))
        data = found.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            raise self.refused("its config has no name of the training data")
        return found

    def _read_metrics(self) -> Settings:
        try:
            found = json.loads(self.record["metrics"])
            if not isinstance(found["kind"], str):
                raise TypeError("kind is not text")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._damaged(error) from None
        return dict(found)

    @property
    def checkpoint(self) -> Path:
        """The file with the weights."""
        return self.folder

    def module(self) -> NoReturn:
        """Raise an error: the file contains no module.

        Raises:
            RunError: always.
        """
        raise self.refused("this needs the run folder, not an exported file")

    def network(self) -> NoReturn:
        """Raise an error: the network of the file runs only in onnxruntime.

        Raises:
            RunError: always.
        """
        raise self.refused("this needs the run folder, not an exported file")

    def predictions(self, split: str, dataset: str | None = None) -> NoReturn:
        """Raise an error: the file contains no predictions.

        Raises:
            RunError: always.
        """
        raise self.refused("an exported file contains no predictions; use the run folder")

    def refused(self, why: str) -> RunError:
        """Return an error that names the file."""
        return RunError(f"model={printable(str(self.folder))}: {why}")

    def _damaged(self, error: Exception) -> RunError:
        return self.refused(f"its metrics are damaged ({printable(str(error)[:120])})")


@dataclass(frozen=True)
class ExportedRun(ExportedFile):
    """A detector in a file. It gives the same answers as its run folder, without training and test data.

    Attributes:
        folder: path of the ONNX file.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.record.get("kind") == GENERATOR:
            raise self.refused(f"it is a generator; to use it: unmask sample model={printable(str(self.folder))}")

    def _read_config(self) -> Settings:
        found = super()._read_config()
        data = found["data"]
        if not all(isinstance(data.get(part), dict) for part in PARTS) or "frames" not in data["sampling"]:
            raise self.refused(f"its config has no {' or '.join(PARTS)}, or no frames")
        return found

    def _read_metrics(self) -> Settings:
        found = super()._read_metrics()
        try:
            about = found["about"]
            good = all(isinstance(about[name], str) for name in ("errors", "item", "summary"))
            if not good or not isinstance(found["thresholds"], dict):
                raise TypeError("an entry has another type")
            if not all(isinstance(value, int | float) for value in found["thresholds"].values()):
                raise TypeError("a threshold is not a number")
        except (TypeError, KeyError) as error:
            raise self._damaged(error) from None
        return found

    @property
    def summary(self) -> Summary:
        """The run's network, data, seed, date and main metric."""
        return Summary(str(self.metrics["about"]["summary"]), "", "", "", "")

    @property
    def errors(self) -> str:
        """How often the threshold errs on the run's test split, in words."""
        return str(self.metrics["about"]["errors"])

    @property
    def item(self) -> str:
        """The kind of the run's test items: `image` or `video`."""
        return str(self.metrics["about"]["item"])

    @property
    def measured(self) -> Measured | None:
        """The range in which the detector was measured; the model itself computes the distance to the cloud."""
        return read_measured(self.folder, self.metrics, cloud=False)


def open_run(path: Path) -> Run:
    """Open a run folder or, for a path that ends in `.onnx`, an exported model.

    Raises:
        RunError: the path is neither.
    """
    return ExportedRun(path) if path.suffix.lower() == SUFFIX and not path.is_dir() else Run(path)
