"""Export a detector as a program of `torch.export`: weights and computation, without the classes of unmask."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim

from unmask.export.check import Checked, ExportError, compare, free_if_possible, stored_length
from unmask.export.inputs import Values
from unmask.export.onnx import example_of
from unmask.export.pixels import Pixels, random_pixels
from unmask.export.wrapped import Wrapped
from unmask.files import printable, replacing


def export_program(model: Wrapped, out: Path, metadata: Mapping[str, str], pixels: Pixels | None = None) -> Checked:
    """Write a detector as a `.pt2` file, and compare the file with PyTorch before it replaces `out`.

    Args:
        model: the detector, in eval mode on the CPU.
        out: path of the file; `torch.export.load` reads it.
        metadata: text by name, stored in the file.
        pixels: the pixels or the sound to compare; None for random values.

    Raises:
        ExportError: the network cannot be exported, or the file differs from PyTorch.
    """
    used = pixels or random_pixels(model.parts)

    def export(other: int | None) -> Checked:
        text = json.dumps(dict(metadata) | stored_length(model, other))
        program = _program(model, other is not None)
        with replacing(out) as part, part.open("wb") as file:
            torch.export.save(program, file, extra_files={"metadata": text})
            file.flush()
            loaded = torch.export.load(part).module()

            def run(values: Values) -> list[NDArray[np.float32]]:
                with torch.inference_mode():
                    return [one.numpy() for one in loaded(torch.from_numpy(values))]

            return compare(run, model, used, other, printable(str(out)))

    return free_if_possible(export, model)


def _program(model: Wrapped, lengths: bool) -> torch.export.ExportedProgram:
    """Return a detector as a program; `lengths` says whether the length of a clip or of the sound is free."""
    free: dict[int, object] = {0: Dim.DYNAMIC}
    free |= {1: Dim.AUTO} if lengths else {}
    try:
        with torch.inference_mode(False), torch.no_grad():
            return torch.export.export(model, (example_of(model),), dynamic_shapes=(free,))
    except Exception as error:  # torch.export raises many kinds of errors
        raise ExportError(f"the network cannot be exported: {printable(str(error)[:300])}") from error
