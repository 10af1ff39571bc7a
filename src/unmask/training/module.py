"""Base class of this project's LightningModules, which declares the attributes that other code uses."""

from typing import cast

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.training.evaluation import Results, curves

KINDS = ("detector", "segmenter", "generator", "swapper")


class Module(LightningModule):
    """Base class of this project's LightningModules; the result of `facts` is written to metrics.json."""

    kind: str  #: one of `KINDS`
    monitor: str  #: the metric that selects the best checkpoint, `val/NAME`
    mode = "max"  #: `min` if smaller values of `monitor` are better
    unused_parameters = False  #: whether a backward pass can leave parameters without a gradient, which slows DDP
    conditional = False  #: whether generation is conditioned on attributes
    results: Results | None = None  #: results of the validation or test that has just ended, equal in all processes
    shown: Tensor | None = None  #: originals and reconstructions of the last validation [N, columns, 3, S, S]

    @property
    def trained(self) -> nn.Module:
        """The module whose parameters are counted for metrics.json."""
        return self

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the state dict's tensors that training never changes; a run stores these tensors only once."""
        return frozenset()

    @property
    def data(self) -> DataModule:
        """The data module of the Trainer."""
        return data_of(self.trainer)

    def facts(self) -> Settings:
        """Return further results of training, besides metrics and weights, to be written to metrics.json."""
        return {}

    def preview(self, count: int, condition: Tensor | None) -> Tensor | None:
        """Return images [N, columns, 3, S, S] in [0, 1] generated from fixed seeds; None if no images exist yet.

        Args:
            count: number of rows N; a face swapper ignores it and returns one row for each face that it has stored.
            condition: attributes [count, A] for a conditional generator.
        """
        return None

    def take_results(self) -> Results | None:
        """Return the results of the loop that has just ended, and set `results` to None."""
        found, self.results = self.results, None
        return found

    def record(self, split: str, results: Results) -> None:
        """Store results for `evaluate` and log their metrics as `SPLIT/NAME`.

        The final validation of the best weights is not sent to loggers, because the loggers' curves show only training.
        """
        self.results = results
        figures = {f"{split}/{name}": value for name, value in results.figures.items()}
        self.log_dict(figures, rank_zero_only=False, sync_dist=False, logger=curves(self.trainer))


def data_of(trainer: Trainer) -> DataModule:
    """Return the data module of a Trainer."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]
