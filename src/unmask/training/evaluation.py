"""Validate or test a module and return its results."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn

from unmask.data.datamodule import DataModule

if TYPE_CHECKING:
    from unmask.training.module import Module


class Results(NamedTuple):
    """Results of one validation or test.

    Attributes:
        figures: metrics by name, without the split: `video_auroc`, `fid`, `loss`, ...
        table: the prediction table of a detector; None for a generator.
    """

    figures: dict[str, float]
    table: pd.DataFrame | None = None


def evaluate(
    trainer: Trainer, module: "Module", data: DataModule, split: str, checkpoint: Path | None = None
) -> Results:
    """Evaluate a module on one split.

    Args:
        trainer: the Trainer that runs the validation or test loop.
        module: the module; it stores its `Results` in `module.results` at the end of the loop.
        data: the data module, on which `setup` has been called.
        split: `val` or `test`.
        checkpoint: checkpoint whose weights are loaded first; None evaluates the module's current weights.

    Returns:
        The results. An empty split has no metrics; its table contains only items that could not be prepared.

    Raises:
        ValueError: no batch was evaluated although the split has samples.
    """
    if not len(data.samples[split]):
        return Results({}, data.empty_predictions(split))
    loop = {"val": trainer.validate, "test": trainer.test}[split]
    module.results = None  # never return the results of an earlier loop
    loop(module, data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    results = module.take_results()
    if results is None:
        raise ValueError(f"no batch of the {split} split was evaluated: is trainer.limit_{split}_batches 0?")
    logged = trainer.callback_metrics  # contains only this loop's metrics, because the Trainer clears it at the start
    loss = {"loss": float(logged[f"{split}/loss"])} if f"{split}/loss" in logged else {}
    return Results(loss | results.figures, results.table)


def planned_steps(trainer: Trainer) -> int:
    """Return the total number of training steps, which schedules need; -1 if it is not known in advance."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if math.isfinite(steps) else -1


def curves(trainer: Trainer) -> bool | None:
    """Return the argument `logger` of `self.log`: False in the final validation, to bypass loggers; otherwise None."""
    return False if trainer.state.fn == TrainerFn.VALIDATING else None
