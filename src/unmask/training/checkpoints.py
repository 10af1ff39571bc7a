"""Atomic writing of checkpoints, also on a full disk."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from unmask.files import replace_file


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, each of which replaces the previous one only when it is complete.

    A run that is killed while saving, or that fills the disk, keeps its last good weights.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Serialise in memory, write next to the old file, then rename.

        Raises:
            OSError: the file cannot be written; the old one is kept.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, buffer.getbuffer())
