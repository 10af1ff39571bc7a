"""Write checkpoints atomically; weights that training never changes are written only once."""

import io
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from unmask.config import Settings
from unmask.files import replace_file
from unmask.runs.checkpoints import FROZEN, frozen_path, load_checkpoint, load_weights


class WholeCheckpoints(TorchCheckpointIO):
    """Write Lightning's checkpoint files, but replace the previous file only after the new one is complete.

    If a run is killed while it saves, or if the disk is full, the previous checkpoint remains.

    Args:
        frozen: names of the tensors of `state_dict` that training never changes. These tensors are written once per
            process, to `frozen.ckpt` in the same folder, instead of to each checkpoint, which saves disk space and time
            (a frozen InceptionResnetV1 takes 110 MB).
    """

    def __init__(self, frozen: Collection[str] = ()) -> None:
        self.frozen = frozenset(frozen)
        self._written: set[Path] = set()

    def save_checkpoint(self, checkpoint: Settings, path: str | Path, storage_options: object = None) -> None:
        """Serialise a checkpoint in memory, write it next to the old file, then replace the old file.

        Raises:
            OSError: the file cannot be written; the old file is kept.
        """
        target, state = Path(path), checkpoint["state_dict"]
        fixed = {name: value for name, value in state.items() if name in self.frozen}
        if fixed:
            kept = frozen_path(target)
            if kept not in self._written:
                _write(kept, {"state_dict": fixed})
                self._written.add(kept)
            rest = {name: value for name, value in state.items() if name not in fixed}
            checkpoint = checkpoint | {"state_dict": rest, FROZEN: True}
        _write(target, checkpoint)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., object] | None = lambda storage, loc: storage,
        weights_only: bool | None = None,
    ) -> Settings:
        """Load a checkpoint, including the frozen tensors that it refers to."""
        found: Settings = super().load_checkpoint(path, map_location, weights_only)
        if found.pop(FROZEN, False):
            found["state_dict"] |= load_weights(frozen_path(Path(path)))
        return found


def complete(path: Path) -> None:
    """Rewrite a checkpoint so that it also contains the tensors in `frozen.ckpt`, unless it already contains them."""
    found = load_checkpoint(path)
    if found.pop(FROZEN, False):
        _write(path, found | {"state_dict": found["state_dict"] | load_weights(frozen_path(path))})


def _write(path: Path, checkpoint: Settings) -> None:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getbuffer())
