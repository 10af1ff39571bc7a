"""Export the weights of a detector as safetensors: tensors and text only, which every program can read safely."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.export.check import Checked, compare, second_length
from unmask.export.inputs import Values
from unmask.export.pixels import Pixels, random_pixels
from unmask.export.wrapped import Wrapped
from unmask.files import printable, replacing


def export_weights(model: Wrapped, out: Path, metadata: Mapping[str, str], pixels: Pixels | None = None) -> Checked:
    """Write the weights of a detector with the metadata, and compare a network with these weights before `out` appears.

    Args:
        model: the detector, in eval mode on the CPU.
        out: path of the file.
        metadata: text by name, stored in the header of the file.
        pixels: the pixels or the sound to compare; None for random values.

    Raises:
        ExportError: a network with the weights of the file differs.
    """
    from safetensors.torch import load_file, save_file

    state = {name: value.detach().contiguous().clone() for name, value in tensors(model).items()}
    with replacing(out) as part:
        save_file(state, part, dict(metadata))
        again = deepcopy(model)
        loaded = load_file(part)
        for name, value in tensors(again).items():
            value.data = loaded[name]

        def run(values: Values) -> list[NDArray[np.float32]]:
            with torch.inference_mode():
                return [one.numpy() for one in again(torch.from_numpy(values))]

        return compare(run, model, pixels or random_pixels(model.parts), second_length(model), printable(str(out)))


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, also the buffers that a checkpoint does not store.

    These are computed from settings, such as the bands of a spectrum, and a program of another author needs them, too.
    """
    parameters, buffers = (find(remove_duplicate=False) for find in (module.named_parameters, module.named_buffers))
    return {**dict(parameters), **dict(buffers)}
