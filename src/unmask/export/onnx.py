"""Export a detector to one ONNX file, and compare the file with PyTorch."""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim

from unmask.export.check import Checked, ExportError, Runs, compare, free_if_possible, stored_length
from unmask.export.inputs import Values
from unmask.export.pixels import Pixels, random_pixels
from unmask.export.wrapped import Wrapped
from unmask.files import printable, replacing

EXTRA = "unmask export needs more packages: pip install 'unmask[onnx]'"


def export_onnx(model: Wrapped, out: Path, metadata: Mapping[str, str], pixels: Pixels | None = None) -> Checked:
    """Write a detector as an ONNX file, and compare the file with PyTorch before it replaces `out`.

    The input is `pixels`, uint8 [B, 3, S, S] or [B, T, 3, S, S], or `sound`, float32 [B, S]; the outputs are those that
    `model.names` lists. The batch size is free, and so is the length of a clip or of the sound if the network and the
    exporter allow it.

    Args:
        model: the detector, in eval mode on the CPU.
        out: path of the file.
        metadata: text by name, stored in the file; `lengths` is added: the length of a clip or of the sound, or `any`.
        pixels: the pixels or the sound to compare; None for random values.

    Raises:
        ExportError: the network cannot be exported, or the file differs from PyTorch.
        ValueError: the packages for ONNX are missing.
    """
    used = pixels or random_pixels(model.parts)

    def export(other: int | None) -> Checked:
        record = dict(metadata) | stored_length(model, other)
        with replacing(out) as part:
            program_to_onnx(model, example_of(model), part, record, other is not None)
            return compare(session(part), model, used, other, printable(str(out)))

    return free_if_possible(export, model)


def session(path: Path) -> Runs:
    """Return a function that runs an ONNX file through onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    opened = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    name = opened.get_inputs()[0].name

    def run(values: Values) -> list[NDArray[np.float32]]:
        return [np.asarray(one) for one in opened.run(None, {name: values})]

    return run


def program_to_onnx(
    model: Wrapped, example: torch.Tensor, out: Path, metadata: Mapping[str, str], lengths: bool
) -> None:
    """Export a detector to an ONNX file.

    Args:
        model: the module.
        example: an input. Its size 2 in the batch is not kept.
        out: path of the file.
        metadata: text by name.
        lengths: whether axis 1, the length of a clip or of the sound, is free.

    Raises:
        ExportError: the module cannot be exported.
    """
    free: dict[int, object] = {0: Dim.DYNAMIC}
    if lengths:
        free[1] = Dim.AUTO  # a length that the network fixes is found by the comparison
    to_onnx(model, (example,), out, ([model.parts.input.name], model.names), (free,), metadata)


def to_onnx(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    out: Path,
    names: tuple[list[str], list[str]],
    free: tuple[dict[int, object], ...],
    metadata: Mapping[str, str],
) -> None:
    """Export a plain module to an ONNX file.

    Args:
        module: a module in eval mode.
        example: its inputs.
        out: path of the file.
        names: names of the inputs and of the outputs.
        free: for each input, the axes whose size is free, each with a `torch.export.Dim`.
        metadata: text by name.

    Raises:
        ExportError: the module cannot be exported.
        ValueError: the packages for ONNX are missing.
    """
    _require_packages()
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, example, dynamo=True, external_data=False, input_names=names[0], output_names=names[1],
                dynamic_shapes=free, verbose=False,
            )  # fmt: skip
    except Exception as error:  # PyTorch's exporter raises many kinds of errors
        raise ExportError(f"the network cannot be exported to ONNX: {_reason(error)}") from error
    assert program is not None
    found = program.model_proto
    onnx.helper.set_model_props(found, dict(metadata))
    out.write_bytes(found.SerializeToString())


def _require_packages() -> None:
    """Raise a ValueError if a package is missing; PyTorch's own error does not say which command installs them."""
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise ValueError(f"{EXTRA} (missing: {', '.join(missing)})")


def _reason(error: Exception) -> str:
    """Return the line of an exporter's message that names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("- ") and "Dim" in line), (lines or [""])[-1])
    return printable(said[:300])


def example_of(model: Wrapped) -> torch.Tensor:
    """Return an input with two samples; an axis of size 1 would be treated as fixed."""
    return model.parts.input.blank(2)
