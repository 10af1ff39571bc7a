"""Helpers for manual optimization with several optimizers: update, count steps, gather metrics of all processes."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor


def learn(
    module: LightningModule,
    optimizer: Any,
    loss: Callable[[], Tensor],
    clip: float | None = None,
    accumulate: int = 1,
    last: bool = True,
) -> Tensor:
    """Backpropagate one loss into the parameters of one optimizer; if `last`, also step the optimizer.

    Args:
        module: a module with manual optimization.
        optimizer: one of the module's optimizers.
        loss: computes the loss; called while only this optimizer's parameters require gradients.
        clip: maximum gradient norm of an update; None for no clipping.
        accumulate: number of batches over which gradients are accumulated for one update.
        last: whether this is the last of the `accumulate` batches, after which the optimizer steps.
    """
    module.toggle_optimizer(optimizer)
    value = loss()
    module.manual_backward(value / accumulate)
    if last:
        if clip is not None:
            module.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
        # The Trainer must count one step per batch (see count_batch), not one per optimizer.
        optimizer._on_before_step = optimizer._on_after_step = _nothing
        optimizer.step()
        optimizer.zero_grad()
    module.untoggle_optimizer(optimizer)
    return value.detach()


def count_batch(module: LightningModule) -> None:
    """Count one step in the Trainer, however many optimizers stepped."""
    progress = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def gather(module: LightningModule, rows: Tensor) -> Tensor:
    """Gather the columns of all processes into [F, M]: one column per sample, sorted by the sample's index.

    Args:
        module: the module of this process.
        rows: [F, N], one column per sample of this process; the first row holds the index, the other rows metrics.
    """
    if module.trainer.world_size > 1:
        gathered: Any = module.all_gather(rows)
        rows = gathered.transpose(0, 1).flatten(1)
    # The last batch may be padded with repeated samples, whose columns are equal; keep one column per index.
    rows = rows[:, rows[0].argsort()]
    return rows[:, torch.diff(rows[0], prepend=rows.new_tensor([-1.0])) > 0]


def _nothing() -> None:
    """Do nothing, in place of the callbacks by which the Trainer counts steps."""
