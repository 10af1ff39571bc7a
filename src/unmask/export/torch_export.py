"""Export a detector as a program of `torch.export`: weights and computation, without the classes of unmask."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim

from unmask.export.check import Checked, ExportError, compare, second_length
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
        pixels: the pixels to compare; None for random ones.

    Raises:
        ExportError: the network cannot be exported, or the file differs from PyTorch.
    """
    other, frames = second_length(model), model.parts.frames
    free: dict[int, object] = {0: Dim.DYNAMIC}
    free |= {} if other is None else {1: Dim.AUTO}
    length = {} if frames is None else {"lengths": str(frames) if other is None else "any"}
    try:
        with torch.inference_mode(False), torch.no_grad():
            program = torch.export.export(model, (example_of(model),), dynamic_shapes=(free,))
    except Exception as error:  # torch.export raises many kinds of errors
        raise ExportError(f"the network cannot be exported: {printable(str(error)[:300])}") from error
    with replacing(out) as part, part.open("wb") as file:
        torch.export.save(program, file, extra_files={"metadata": _text(dict(metadata) | length)})
        file.flush()
        loaded = torch.export.load(part).module()

        def run(values: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            with torch.inference_mode():
                return [one.numpy() for one in loaded(torch.from_numpy(values))]

        return compare(run, model, pixels or random_pixels(model.parts), other, printable(str(out)))


def _text(metadata: Mapping[str, str]) -> str:
    import json

    return json.dumps(dict(metadata))
