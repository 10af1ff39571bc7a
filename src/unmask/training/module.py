"""What every LightningModule here says of itself, so that nobody has to guess it."""

from typing import cast

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.training.evaluation import Results, curves

KINDS = ("detector", "segmenter", "generator", "swapper")


class Module(LightningModule):
    """A training recipe. What a run is, is said here once and written into its metrics.json."""

    kind: str  #: one of `KINDS`
    monitor: str  #: the figure that picks the best checkpoint, `val/NAME`
    mode = "max"  #: `min` where a smaller monitor is better
    unused_parameters = False  #: whether a backward pass leaves out some parameters, which DDP must then look for
    conditional = False  #: whether pictures are made by attributes
    results: Results | None = None  #: of a validation or test that has just ended, the same on every device
    shown: Tensor | None = None  #: originals and what was made of them in the last validation [N, columns, 3, S, S]

    @property
    def trained(self) -> nn.Module:
        """The network whose parameters are counted."""
        return self

    @property
    def data(self) -> DataModule:
        """The data module of the loop that runs."""
        return data_of(self.trainer)

    def facts(self) -> Settings:
        """What the training found beside figures and weights, for metrics.json."""
        return {}

    def preview(self, count: int, condition: Tensor | None) -> Tensor | None:
        """What a generator makes, always of the same seeds [N, columns, 3, S, S] in [0, 1]; None while it has nothing.

        Args:
            count: of rows; a face swap shows as many as it kept.
            condition: attributes [count, A], where it is conditional.
        """
        return None

    def take_results(self) -> Results | None:
        """The results of the loop that has just ended; the module keeps none."""
        found, self.results = self.results, None
        return found

    def record(self, split: str, results: Results) -> None:
        """Leave results for `evaluate`, and log their figures as `SPLIT/NAME`.

        The curves are those of the training: when the best weights are validated once more, nothing is added to them.
        """
        self.results = results
        figures = {f"{split}/{name}": value for name, value in results.figures.items()}
        self.log_dict(figures, rank_zero_only=False, sync_dist=False, logger=curves(self.trainer))


def data_of(trainer: Trainer) -> DataModule:
    """The data module that a Trainer runs."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]
