"""Base class of all LightningModules here, with the attributes that other code relies on."""

from typing import cast

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.training.evaluation import Results, curves

KINDS = ("detector", "segmenter", "generator", "swapper")


class Module(LightningModule):
    """Base class of the training modules; its facts about a run are written to metrics.json."""

    kind: str  #: one of `KINDS`
    monitor: str  #: the metric that selects the best checkpoint, `val/NAME`
    mode = "max"  #: `min` if a smaller monitor is better
    unused_parameters = False  #: whether a backward pass skips some parameters, which DDP must then search for
    conditional = False  #: whether generation is conditioned on attributes
    results: Results | None = None  #: results of the validation or test that has just ended, equal on all devices
    shown: Tensor | None = None  #: originals and their reconstructions in the last validation [N, columns, 3, S, S]

    @property
    def trained(self) -> nn.Module:
        """The network whose parameters are counted."""
        return self

    @property
    def data(self) -> DataModule:
        """The data module of the running loop."""
        return data_of(self.trainer)

    def facts(self) -> Settings:
        """Return results of training other than metrics and weights, for metrics.json."""
        return {}

    def preview(self, count: int, condition: Tensor | None) -> Tensor | None:
        """Return generated images of fixed seeds [N, columns, 3, S, S] in [0, 1]; None if there are none yet.

        Args:
            count: number of rows; a face swapper shows as many as it has stored.
            condition: attributes [count, A] for a conditional generator.
        """
        return None

    def take_results(self) -> Results | None:
        """Return the results of the loop that has just ended and clear them."""
        found, self.results = self.results, None
        return found

    def record(self, split: str, results: Results) -> None:
        """Store results for `evaluate` and log their metrics as `SPLIT/NAME`.

        The curves show training only: the final validation of the best weights adds nothing to them.
        """
        self.results = results
        figures = {f"{split}/{name}": value for name, value in results.figures.items()}
        self.log_dict(figures, rank_zero_only=False, sync_dist=False, logger=curves(self.trainer))


def data_of(trainer: Trainer) -> DataModule:
    """Return the data module of a Trainer."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]
