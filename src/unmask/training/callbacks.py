"""Lightning callbacks of ours: what is seen and noted while a run goes on."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme


class Progress(RichProgressBar):
    """One line that is drawn anew each epoch, without version numbers and other noise."""

    def __init__(self) -> None:
        super().__init__(leave=False, refresh_rate=5, theme=RichProgressBarTheme(metrics_format=".3f"))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Everything that the module marks for the bar, but the version of the logger."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class Throughput(Callback):
    """Log `train/samples_per_second` of each epoch, over all devices, validation not counted."""

    def __init__(self) -> None:
        self._samples, self._seconds, self._since = 0, 0.0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock with the first batch of an epoch."""
        if batch_idx == 0:
            self._samples, self._since = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and read the clock before validation begins."""
        self._samples += len(batch["y"])
        self._seconds = time.perf_counter() - self._since

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the rate."""
        if self._seconds > 0:
            rate = self._samples * trainer.world_size / self._seconds
            pl_module.log("train/samples_per_second", rate, rank_zero_only=False)
