"""Checkpoints that are written whole or not at all, on a full disk too."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from unmask.files import replace_file


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, each of which replaces the one before it only when it is complete.

    A run that is killed while it saves, or that fills the disk, keeps its last good weights.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Serialise in memory, write beside the old file, and rename.

        Raises:
            OSError: the file cannot be written; the old one is still there.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, buffer.getbuffer())
