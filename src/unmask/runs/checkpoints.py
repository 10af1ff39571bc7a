"""Read checkpoints safely: load only tensors, numbers, text and containers, without running code from the file."""

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unmask.runs.errors import RunError

FROZEN = "frozen"  # checkpoints with this key have their frozen tensors in a separate file, see `frozen_path`


def frozen_path(path: Path) -> Path:
    """Return the path of the file with the frozen tensors (never changed by training) of the checkpoint `path`."""
    return path.with_name("frozen.ckpt")


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint's `state_dict`, including frozen tensors from a separate file.

    Raises:
        RunError: the file is missing, is broken, or could only be loaded by executing code.
    """
    found = load_checkpoint(path)
    state = found.get("state_dict")
    tensors = isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())
    if not isinstance(state, dict) or not tensors or not all(isinstance(key, str) for key in state):
        raise RunError(f"{path} is refused: it is not a checkpoint (state_dict is missing or not a dict of tensors)")
    for name, value in state.items():  # a tensor may declare more elements than the file stores
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise RunError(f"{path} is refused: the tensor {name} declares more values than the file stores")
    if found.get(FROZEN) is True and path != frozen_path(path):
        return load_weights(frozen_path(path)) | state
    return dict(state)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, with memory-mapped tensors; code in the file is never run.

    Raises:
        RunError: the file is missing, is broken, or could only be loaded by executing code.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing: the run has not finished an epoch, or its folder was copied without it")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise RunError(f"{path} is refused: it is a TorchScript archive, which is code")
            if sum(entry.file_size for entry in entries) > path.stat().st_size:  # check this before unpacking
                raise RunError(f"{path} is refused: it is compressed, but PyTorch never compresses checkpoints")
            if changed := archive.testzip():
                raise RunError(f"{path} is refused: its entry {changed} has changed since the file was written")
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RunError:
        raise
    except Exception as error:  # a damaged or hostile file can cause almost any exception in zipfile and the unpickler
        said = str(error).partition("\n")[0][:120] or type(error).__name__
        raise RunError(f"{path} is refused: it is broken, or could be read only by running code ({said})") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is refused: it is not a checkpoint, but holds a {type(found).__name__}")
    return found


class ElementBudget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Limit the number of tensor elements created while a module is built; raise RunError before allocating more.

    Args:
        most: maximum total number of elements. Only new tensors count, not results of operations on tensors.
    """

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = most

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, so that PyTorch does not import its compiler; nothing is compiled while a module is built."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the elements of a new tensor, then create it."""
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
    """Return the epoch, counted from 1, after which a checkpoint was saved; None if the file does not say."""
    epoch = load_checkpoint(path).get("epoch")
    return epoch + 1 if isinstance(epoch, int) else None


def resume_point(folder: Path) -> Path | None:
    """Return the path of the checkpoint to resume from; None if the run has no checkpoint yet.

    Raises:
        RunError: checkpoints exist, but none of them can be read. (Returning None would silently start the run over.)
    """
    found = [path for name in ("last.ckpt", "previous.ckpt") if (path := folder / "checkpoints" / name).is_file()]
    for path in found:
        try:
            load_weights(path)
        except RunError as error:
            warnings.warn(f"{error}; this checkpoint is skipped", stacklevel=2)
        else:
            return path
    if found:
        raise RunError(f"no checkpoint in {folder / 'checkpoints'} can be read; rerun=true starts this run over")
    return None
