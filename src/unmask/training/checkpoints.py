"""Atomic writing of checkpoints: even a full disk does not damage the previous one."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from unmask.files import replace_file


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, but a new file replaces the previous one only after it is complete.

    If a run is killed while it saves, or if the disk is full, its previous checkpoint remains.
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
