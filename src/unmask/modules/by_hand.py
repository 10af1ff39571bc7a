"""What training by several optimizers shares: an update by hand, a step that is a batch, figures over all processes."""

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
    """One loss backward into the parameters of one optimizer.

    Args:
        module: optimizes by hand.
        optimizer: one of its own.
        loss: computed while only this optimizer's parameters take gradients.
        clip: largest norm of an update's gradient; None for no bound.
        accumulate: batches whose gradients make one update.
        last: whether this batch is the last of them, so that the optimizer steps.
    """
    module.toggle_optimizer(optimizer)
    value = loss()
    module.manual_backward(value / accumulate)
    if last:
        if clip is not None:
            module.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
        # What counts as a step is the batch (see count_batch), not each of several optimizers.
        optimizer._on_before_step = optimizer._on_after_step = _nothing
        optimizer.step()
        optimizer.zero_grad()
    module.untoggle_optimizer(optimizer)
    return value.detach()


def count_batch(module: LightningModule) -> None:
    """Tell the Trainer that one step was made, whichever optimizers stepped."""
    progress = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def gather(module: LightningModule, rows: Tensor) -> Tensor:
    """Columns [F, N] of all processes, each sample once.

    Args:
        module: of any process.
        rows: the first is the sample's index, the others are its figures [F, N].
    """
    if module.trainer.world_size > 1:
        gathered: Any = module.all_gather(rows)
        rows = gathered.transpose(0, 1).flatten(1)
    # A filled-up last batch holds some twice: of equal indices any column will do, since their figures are equal.
    rows = rows[:, rows[0].argsort()]
    return rows[:, torch.diff(rows[0], prepend=rows.new_tensor([-1.0])) > 0]


def _nothing() -> None:
    """In the place of the Trainer's counting."""
