"""Write and read the tensors of a pack in the format safetensors, which cannot hold code.

The header of a file is checked before anything is allocated: each tensor must lie inside the file, and its shape must
match its bytes.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from unmask.config import Settings
from unmask.files import open_regular, printable, replace_file
from unmask.runs.errors import RunError
from unmask.runs.figures import require_finite

HEADER = 16 * 2**20  # maximum size of a header, bytes
LENGTH = 8  # a file begins with the size of its header, as 8 bytes, little-endian
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # the first bytes of PyTorch's files
FETCH = "get the pack again from a source that you trust"


def write_tensors(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors; tensors that share memory are stored separately.

    Raises:
        RunError: a value is NaN or infinite.
    """
    for name, value in state.items():
        require_finite(value, f"the tensor {name} of the weights", "train the run again (rerun=true)")
    replace_file(path, save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file onto the CPU.

    Raises:
        RunError: the file is missing, damaged or not a safetensors file, or a value is NaN or infinite.
    """
    try:
        _check_header(path)
        state: dict[str, torch.Tensor] = load_file(path)
    except (OSError, ValueError, SafetensorError, RecursionError) as error:
        said = printable(str(error).partition("\n")[0][:200])
        raise RunError(f"{path} is refused: {said}; {FETCH}") from None
    for name, value in state.items():
        require_finite(value, f"{path} is refused: the tensor {printable(name[:200])}", FETCH)
    return state


class _Place(NamedTuple):
    """The bytes of a tensor, counted from the end of the header."""

    start: int
    end: int
    name: str


def _check_header(path: Path) -> None:
    """Check that a file is a safetensors file whose tensors fill it exactly.

    Raises:
        ValueError: the file is something else, or a tensor does not fit its bytes.
    """
    with open_regular(path) as file:
        first = file.read(LENGTH)
        if first.startswith(PICKLES):
            raise ValueError(
                "it is a PyTorch file or a pickle, which can run code, with the name of a safetensors file"
            )
        stored = path.stat().st_size - LENGTH
        size = int.from_bytes(first, "little")
        if len(first) < LENGTH or size > min(HEADER, stored):
            raise ValueError(
                f"it is not a safetensors file: its header claims {size:,} bytes, but the file has {max(stored, 0):,} "
                f"after the first 8 and at most {HEADER:,} are read"
            )
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            raise ValueError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    places, at = sorted(_place(str(name), entry) for name, entry in header.items()), 0
    for place in places:
        if place.start != at:
            raise ValueError(f"the tensor {printable(place.name[:200])} does not begin where the one before it ends")
        at = place.end
    if at != stored - size:
        raise ValueError(f"its tensors claim {at:,} bytes, but the file stores {stored - size:,}")


def _place(name: str, entry: object) -> _Place:
    found: Settings = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = found.get("dtype"), _counts(found.get("shape")), _counts(found.get("data_offsets"))
    if kind not in SIZES or shape is None or offsets is None or len(offsets) != 2:
        raise ValueError(f"the tensor {printable(name[:200])} has no valid dtype, shape and offsets in the header")
    start, end = offsets
    if end - start != math.prod(shape) * SIZES[kind]:
        raise ValueError(
            f"the tensor {printable(name[:200])} claims {math.prod(shape):,} values of {SIZES[kind]} bytes, but has "
            f"{end - start:,} bytes"
        )
    return _Place(start, end, name)


def _counts(values: object) -> list[int] | None:
    """Return a list of whole numbers from 0; None if it is anything else."""
    whole = isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
    return values if isinstance(values, list) and whole else None
