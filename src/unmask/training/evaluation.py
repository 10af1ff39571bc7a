"""One validation or test of a module, from the data to what it found; nothing is left in the module afterwards."""

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
    """What one validation or test found.

    Attributes:
        figures: by name, without the split: `video_auroc`, `fid`, `loss`, ...
        table: the prediction table of a detector; None for a generator.
    """

    figures: dict[str, float]
    table: pd.DataFrame | None = None


def evaluate(
    trainer: Trainer, module: "Module", data: DataModule, split: str, checkpoint: Path | None = None
) -> Results:
    """Evaluate a module on one split.

    Args:
        trainer: runs the loop.
        module: leaves its `Results` in `module.results` when the loop ends; they are taken from there.
        data: the data module, set up.
        split: `val` or `test`.
        checkpoint: the weights to be loaded first; None evaluates the module as it is.

    Returns:
        The results. An empty split has no figures; its table holds the items that could not be prepared, if any.

    Raises:
        ValueError: no batch was evaluated although the split holds samples.
    """
    if not len(data.samples[split]):
        return Results({}, data.empty_predictions(split))
    loop = {"val": trainer.validate, "test": trainer.test}[split]
    module.results = None  # those of an earlier loop must never be taken for the results of this one
    loop(module, data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    results = module.take_results()
    if results is None:
        raise ValueError(f"no batch of the {split} split was evaluated: is trainer.limit_{split}_batches 0?")
    logged = trainer.callback_metrics  # of this loop: the Trainer empties them when one begins
    loss = {"loss": float(logged[f"{split}/loss"])} if f"{split}/loss" in logged else {}
    return Results(loss | results.figures, results.table)


def planned_steps(trainer: Trainer) -> int:
    """The number of steps of a whole training, for a schedule; -1 where it has no end that is known before."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if math.isfinite(steps) else -1


def curves(trainer: Trainer) -> bool | None:
    """For `log`: None gives figures to the loggers; False, while the best weights are validated again, does not."""
    return False if trainer.state.fn == TrainerFn.VALIDATING else None
