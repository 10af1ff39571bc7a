"""Save images from a generator during training: samples from fixed seeds, and reconstructions of real images."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from unmask.media.encode import write_video
from unmask.provenance import Marking, source_marks
from unmask.training.module import Module

FPS = 8  # frame rate of the timelapse


class SampleGrid(Callback):
    """Write a grid of samples, `step-NNNNNNN.png`, every `every_n_steps` steps, and `timelapse.mp4` at the end.

    All files are marked as synthetic. The grids show the module's `preview`. If the module stores reconstructions of
    real images (in `shown`), each validation writes `reconstructed.png`, which shows each original beside its
    reconstruction.

    Args:
        dirpath: the output folder.
        every_n_steps: number of steps between two grids.
        count: number of images in a grid; their seeds are 0 to count - 1.
    """

    def __init__(self, dirpath: str, every_n_steps: int = 200, count: int = 36) -> None:
        if every_n_steps < 1 or count < 1:
            raise ValueError(f"every_n_steps={every_n_steps}, count={count}: expected both to be 1 or more")
        self.folder, self.every, self.count = Path(dirpath), every_n_steps, count
        self.marking = Marking(watermark=False, label="")  # only published images get a watermark, not these plots
        self._condition: torch.Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first grid before training, unless the run is resumed and already has it."""
        assert isinstance(pl_module, Module)
        if pl_module.conditional:
            samples = pl_module.data.samples["val"]
            wanted = [(0, row % len(samples)) for row in range(self.count)]
            self._condition = samples.__getitems__(wanted)[pl_module.conditioned_on]
        self._write(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write a grid every `every_n_steps` steps."""
        if trainer.global_step % self.every == 0:
            self._write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `reconstructed.png`: the originals beside their reconstructions."""
        assert isinstance(pl_module, Module)
        shown = pl_module.shown
        if shown is not None and trainer.is_global_zero and not trainer.sanity_checking:
            self.marking.write(self.folder / "reconstructed.png", rows(shown))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last grid and the timelapse."""
        self._write(trainer, pl_module)
        if trainer.is_global_zero:
            self._film()

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        path = self.folder / f"step-{trainer.global_step:07d}.png"
        if not trainer.is_global_zero or path.is_file():
            return
        assert isinstance(module, Module)
        if (shown := module.preview(self.count, self._condition)) is None:
            return
        picture = rows(shown)
        self.marking.write(path, picture)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("samples", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", picture, trainer.global_step, dataformats="HWC")

    def _film(self) -> None:
        found = sorted(self.folder.glob("step-*.png"))
        if not found:
            return
        frames = (_even(np.asarray(Image.open(path).convert("RGB"))) for path in found)
        path = self.folder / "timelapse.mp4"
        write_video(path, frames, FPS, metadata=source_marks(self.marking.source, self.marking.comment))
        self.marking.finish(path)


def rows(shown: torch.Tensor) -> NDArray[np.uint8]:
    """Arrange rows of images [N, columns, 3, S, S] in [0, 1] with `grid`, so that no row is split."""
    return grid(shown.flatten(0, 1), shown.shape[1])


def grid(pictures: torch.Tensor, together: int = 1) -> NDArray[np.uint8]:
    """Arrange images in a grid that is nearly square -> uint8 [H, W, 3]; empty cells are black.

    Args:
        pictures: images [N, 3, S, S] in [0, 1].
        together: number of consecutive images to keep in one line; the grid's width in images is a multiple of it.
    """
    count, _, height, width = pictures.shape
    across = together * math.ceil(math.sqrt(count) / together)
    down = math.ceil(count / across)
    canvas = np.zeros((down * height, across * width, 3), np.uint8)
    for at, picture in enumerate(pixels(pictures)):
        top, left = at // across * height, at % across * width
        canvas[top : top + height, left : left + width] = picture
    return canvas


def pixels(pictures: torch.Tensor) -> NDArray[np.uint8]:
    """Convert images [N, 3, S, S] in [0, 1] to uint8 [N, S, S, 3]."""
    rounded = (255 * pictures.clamp(0, 1)).round().to(torch.uint8).cpu().permute(0, 2, 3, 1)
    return np.ascontiguousarray(rounded.numpy())


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop to even sides, which H.264 requires."""
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
