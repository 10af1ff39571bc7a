"""Lightning callbacks for progress, throughput, checkpoints and seeds."""

import hashlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme

from unmask.training.module import Module

log = logging.getLogger("unmask")


class Progress(RichProgressBar):
    """Show a progress bar for each epoch, without the logger's version number, and log one line per epoch.

    If standard output is not a terminal, there is no bar, and the line is printed too.
    """

    def __init__(self) -> None:
        super().__init__(leave=False, refresh_rate=5, theme=RichProgressBarTheme(metrics_format=".3f"))
        self._begun, self._losses = 0.0, list[torch.Tensor]()  # start time and training losses of the current epoch
        self._validated = False  # whether this epoch has been validated
        self._print = not sys.stdout.isatty()
        if self._print:
            self.disable()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics for the bar, without the version of the logger."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring the time of the epoch."""
        self._begun = time.perf_counter()
        self._losses.clear()
        self._validated = False
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the loss without synchronising with the device or with other processes."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach() * (pl_module.share if isinstance(pl_module, Module) else 1.0))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the metrics of validation belong to this epoch."""
        super().on_validation_end(trainer, pl_module)
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's line: mean training loss, seconds and, if it was validated, loss and monitored metric."""
        super().on_train_epoch_end(trainer, pl_module)
        found = {}
        if self._losses:
            found["loss"] = trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean")
        if not trainer.is_global_zero:
            return
        names = ("val/loss", str(pl_module.monitor)) if self._validated else ()
        found |= {name: trainer.callback_metrics[name] for name in names if name in trainer.callback_metrics}
        figures = ", ".join(f"{name} {float(value):.4g}" for name, value in found.items())
        total = f" of {trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        seconds = time.perf_counter() - self._begun
        line = f"epoch {trainer.current_epoch + 1}{total}: {figures} ({seconds:.1f} s)"
        log.info(line)
        if self._print:
            print(line, flush=True)


class Throughput(Callback):
    """Log `train/samples_per_second` for each epoch: the sum over all devices, without the time for validation."""

    def __init__(self) -> None:
        self._samples, self._seconds = 0, 0.0
        self._since: float | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start measuring time at the first batch of an epoch, or at the first batch of a resumed run."""
        if batch_idx == 0 or self._since is None:
            self._samples, self._since = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the number of samples and the time, before validation starts."""
        assert self._since is not None
        self._samples += len(batch["y"])
        self._seconds = time.perf_counter() - self._since

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the samples per second of the epoch."""
        if self._seconds > 0:
            rate = self._samples * trainer.world_size / self._seconds
            pl_module.log("train/samples_per_second", rate, sync_dist=True)


SHARE = 0.05  # maximum share of time that may be spent on saving checkpoints at the ends of epochs
QUICK = 0.1  # s: if saving a checkpoint takes at most this time, a checkpoint is saved after every epoch


class NotFinite(ValueError):
    """Raised if the loss is NaN or infinite."""


class LastCheckpoint(ModelCheckpoint):
    """Save `last.ckpt`, from which a killed run can be resumed, and keep the checkpoint before it as `previous.ckpt`.

    Checkpoints are written atomically. If the loss is NaN or infinite, the run stops before it saves another
    checkpoint, so that the last good weights remain.

    Args:
        dirpath: the checkpoint folder.
        every_n_train_steps: number of steps between checkpoints within an epoch; None saves only at the end of epochs.
    """

    def __init__(self, dirpath: str, every_n_train_steps: int | None = None) -> None:
        super().__init__(
            dirpath=dirpath, filename="last", monitor=None, save_top_k=1, enable_version_counter=False,
            every_n_epochs=1, save_on_train_epoch_end=True,
        )  # fmt: skip
        self.steps = every_n_train_steps
        self._took, self._saved = 0.0, float("-inf")  # duration of the last save in s, and when it ended
        self._bad: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss, and save a checkpoint every `every_n_train_steps` steps.

        On a GPU, the loss is checked every 50 steps, because a check waits for the GPU.
        """
        loss = outputs["loss"].detach() if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            bad = ~torch.isfinite(loss).all()
            self._bad = bad if self._bad is None else self._bad | bad
        if trainer.global_step % 50 == 0 or pl_module.device.type == "cpu":
            self._check(trainer)
        if self.steps and trainer.global_step % self.steps == 0:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a checkpoint; if saves are slow, skip some epochs (see `QUICK`, `SHARE`), but never the last epoch."""
        final = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        soon = self._took > QUICK and time.perf_counter() - self._saved < self._took / SHARE
        # Clocks differ between processes, so the processes decide together: either all of them save or none does.
        if not trainer.strategy.reduce_boolean_decision(soon and not final, all=True):
            super().on_train_epoch_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self._check(trainer)
        begun = time.perf_counter()
        path = Path(filepath)
        if trainer.is_global_zero and path.is_file():
            path.replace(path.with_name("previous.ckpt"))
        super()._save_checkpoint(trainer, filepath)
        self._saved = time.perf_counter()
        self._took = self._saved - begun

    def _check(self, trainer: Trainer) -> None:
        if self._bad is not None and bool(self._bad):
            raise NotFinite(
                f"the loss is not finite at step {trainer.global_step} (epoch {trainer.current_epoch + 1}); the last "
                f"good weights, if any were saved, are in {self.dirpath}. Lower module.optimizer.lr, or set "
                "+trainer.gradient_clip_val=1"
            )


class SeedEachStep(Callback):
    """Before each step, seed the random generators with hashes of (seed, epoch, batch).

    A resumed run therefore needs no saved state of these generators. `Module.random` gets the same seed in all
    processes. Torch's default generators, which networks use (dropout, `MultiCrop`), get a different seed in each
    process: what networks draw is the only randomness that depends on the number of processes.

    Args:
        seed: the seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the random number generators for this step."""
        value = _hash(self.seed, trainer.global_rank, trainer.current_epoch, batch_idx)
        device = pl_module.device
        # Unlike torch.manual_seed, this seeds only the generators that a step uses: seeding all of them takes 1 ms.
        torch.default_generator.manual_seed(value)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(value)
        elif device.type != "cpu":
            torch.manual_seed(value)
        if isinstance(pl_module, Module):
            pl_module.seed_draws(_hash("draws", self.seed, trainer.current_epoch, batch_idx))


def _hash(*parts: str | int) -> int:
    """Return a seed below 2^56 for these parts."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
