"""Helpers for manual optimization with several optimizers: accumulate gradients, update, count steps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unmask.training.module import Module


def updates_now(module: Module, batch_idx: int) -> bool:
    """Return whether the gradients of enough batches are accumulated, so that this batch ends with an update."""
    return (batch_idx + 1) % module.accumulate == 0 or bool(module.trainer.is_last_batch)


def learn(module: Module, optimizer: Any, loss: Callable[[], Tensor], last: bool, clip: float | None = None) -> Tensor:
    """Backpropagate one loss into the parameters of one optimizer; if `last`, also step the optimizer.

    Args:
        module: a module with manual optimization.
        optimizer: one of the module's optimizers.
        loss: computes the loss; called while only this optimizer's parameters require gradients.
        last: whether this is the last of the `module.accumulate` batches, after which the optimizer steps.
        clip: maximum gradient norm of an update; None for no clipping.
    """
    module.toggle_optimizer(optimizer)
    value = loss()
    module.manual_backward(value / module.accumulate)
    if last:
        if clip is not None:
            module.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
        # The Trainer must count one step per batch (see count_batch), not one per optimizer.
        optimizer._on_before_step = optimizer._on_after_step = _nothing
        optimizer.step()
        optimizer.zero_grad()
    module.untoggle_optimizer(optimizer)
    return value.detach()


def count_batch(module: Module) -> None:
    """Count one step in the Trainer, however many optimizers stepped."""
    progress = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def _nothing() -> None:
    """Do nothing, in place of the callbacks by which the Trainer counts steps."""
