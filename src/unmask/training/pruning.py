"""A callback that prunes weights by magnitude during training, at once or gradually."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging

from unmask.config import Settings
from unmask.networks.sparsity import cubic, magnitude_masks, prunable
from unmask.training.evaluation import planned_steps
from unmask.training.module import Module


class MagnitudePruning(Callback):
    """Set a growing share of the network's smallest weights to zero, and keep them at zero (arXiv 1710.01878).

    After each step, the masked weights are set to zero again, because the optimizer may have changed them. When the
    share reaches `amount`, the best checkpoint and the patience of early stopping are reset. So the run keeps only
    weights with the requested share of zeros. Masks are part of the checkpoint to resume from.

    Args:
        amount: final share of zeros among the weights of all convolutions and linear layers, 0 to 1.
        begin: share of the training at which pruning starts, 0 to 1.
        end: share of the training at which `amount` is reached; if it equals `begin`, all weights are pruned at once.
        every: number of steps between two enlargements of the masks.

    Raises:
        ValueError: a number is out of range, or the Trainer averages weights, which would undo the pruning.
    """

    def __init__(self, amount: float = 0.8, begin: float = 0.0, end: float = 0.5, every: int = 10) -> None:
        if not 0 <= amount < 1:
            raise ValueError(f"callbacks.pruning.amount={amount}: expected a share of weights from 0 to below 1")
        if not 0 <= begin <= end <= 1:
            raise ValueError(f"callbacks.pruning: begin={begin}, end={end}: expected 0 <= begin <= end <= 1")
        if every < 1:
            raise ValueError(f"callbacks.pruning.every={every}: expected a number of steps, at least 1")
        self.amount, self.begin, self.end, self.every = amount, begin, end, every
        self.reached = 0.0  # the current share of zeros
        self.masks: dict[str, torch.Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the Trainer, and prune at once if pruning ends before the first step."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, WeightAveraging) for callback in callbacks):
            raise ValueError("callbacks.pruning and callbacks.averaging exclude each other; set callbacks=pruned")
        if self.end == 0 and not self.masks:
            self._prune(trainer, pl_module, self.amount)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Enlarge the masks if it is time, and set masked weights to zero."""
        total = max(planned_steps(trainer), 1)
        target = cubic(trainer.global_step / total, self.begin, self.end, self.amount)
        due = trainer.global_step % self.every == 0 or target == self.amount
        if due and target > self.reached:
            self._prune(trainer, pl_module, target)
        elif self.masks:
            self._apply(pl_module)
        pl_module.log("train/sparsity", self.reached)

    def _prune(self, trainer: Trainer, pl_module: LightningModule, target: float) -> None:
        self.masks, self.reached = magnitude_masks(self._weights(pl_module), target), target
        self._apply(pl_module)
        if target == self.amount:
            _forget_best(trainer)

    @torch.no_grad()
    def _apply(self, pl_module: LightningModule) -> None:
        for name, weight in self._weights(pl_module).items():
            weight.mul_(self.masks[name].to(weight.device))

    def _weights(self, pl_module: LightningModule) -> dict[str, torch.nn.Parameter]:
        return prunable(pl_module.trained if isinstance(pl_module, Module) else pl_module)

    def state_dict(self) -> Settings:
        """Return the masks and the share of zeros."""
        return {"masks": self.masks, "reached": self.reached}

    def load_state_dict(self, state_dict: Settings) -> None:
        """Restore the masks and the share of zeros."""
        self.masks, self.reached = dict(state_dict["masks"]), float(state_dict["reached"])


def _forget_best(trainer: Trainer) -> None:
    """Make the next validation the best one, because earlier weights have too few zeros."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            callback.best_k_models, callback.kth_best_model_path = {}, ""
            callback.best_model_score, callback.current_score, callback.best_model_path = None, None, ""
        if isinstance(callback, EarlyStopping):
            worst = torch.tensor(torch.inf)
            callback.wait_count, callback.best_score = 0, worst if callback.mode == "min" else -worst
