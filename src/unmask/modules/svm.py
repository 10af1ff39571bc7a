"""A frozen encoder and a classifier of scikit-learn on its features, trained like every other detector."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.modules import cross_validation as cv
from unmask.modules.detector import Batch, Detector
from unmask.networks.svm import FeatureSVM


class SVM(Detector):
    """Fit a support vector machine, or logistic regression, to what a frozen encoder makes of the training split.

    Features are computed once for all stored crops. The classifier is fitted before the only epoch, in which nothing
    is left to do; validation, test and all that comes after are the detector's. What was fitted becomes tensors of the
    network, so a checkpoint holds nothing that would have to run code.

    Args:
        network: a `networks.svm.FeatureSVM`.
        loss: of validation and test, for the curves.
        classifier: `linear` or `rbf`, a support vector machine, or `logistic` regression; classes weigh alike.
        C: inverse of the regularisation, the values that are tried.
        gamma: of `rbf`, the values that are tried, in units of 1 / number of features.
        draws: how many of all combinations are tried, drawn at random; null tries every one.
        folds: of the cross-validation, at least 2; a source and all that is made of it are in one fold.
        seed: of the folds and the draws.
        monitor: as of `Detector`.
        channels_last: as of `Detector`.
        features: `exact` or `auto`, as of `Detector`.
    """

    cv: Settings  #: what cross-validation found, for metrics.json

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        classifier: str = "rbf",
        C: Sequence[float] = (0.1, 1.0, 10.0),
        gamma: Sequence[float] = (0.1, 1.0, 10.0),
        draws: int | None = None,
        folds: int = 5,
        seed: int = 0,
        monitor: str = "val/video_auroc",
        channels_last: bool = True,
        features: str = "exact",
    ) -> None:
        if features == "off":
            raise ValueError("module.features=off: an SVM is fitted to features; take auto or exact")
        if classifier not in cv.CLASSIFIERS:
            raise ValueError(f"module.classifier={classifier}: expected one of {', '.join(cv.CLASSIFIERS)}")
        if folds < 2:
            raise ValueError(f"module.folds={folds}: cross-validation needs 2 at least")
        super().__init__(network, loss, _none, _none, monitor, channels_last, features)
        self.classifier, self.tried = classifier, (C, gamma)
        self.draws, self.folds, self.seed = draws, folds, seed
        self.cv = {}

    def on_fit_start(self) -> None:
        """Have the features, and fit; a run that goes on brings what was fitted along.

        Raises:
            ValueError: the Trainer would do more than one process and one epoch can.
        """
        if self.trainer.max_epochs != 1 or self.trainer.world_size > 1:
            raise ValueError("an SVM is fitted once, by one process: set trainer.max_epochs=1 trainer.devices=1")
        self.use_features(self.data)
        if not self.cv:
            self._fit(self.data)

    def facts(self) -> Settings:
        """What cross-validation found."""
        return {"cv": self.cv}

    def _fit(self, data: DataModule) -> None:
        samples, groups = data.samples["train"], data.groups("train")
        batch = samples.__getitems__([(0, index) for index in range(len(samples))])
        features, label = batch["features"].double().numpy(), batch["y"].numpy()
        if features.ndim != 2:
            raise ValueError("an SVM reads single frames: set frames=null")
        splits = cv.folds(label, groups, self.folds, self.seed)
        tried = cv.candidates(self.classifier, *self.tried, features.shape[1], self.draws, self.seed)
        choice = cv.choose(self.classifier, features, label, splits, tried)
        model = cv.build(self.classifier, **choice.settings).fit(features, label)
        slope = 1.0 if self.classifier == "logistic" else cv.slope(choice.decisions, label)
        assert isinstance(self.network, FeatureSVM)
        self.network.fill(**cv.tensors(model), slope=slope)
        about = {"classifier": self.classifier, "settings": choice.settings, "tried": len(tried)}
        sizes = {"folds": self.folds, "samples": len(label), "groups": len(set(groups))}
        self.cv = about | sizes | choice.summary()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Nothing: a loss without weights, by which the Trainer counts its steps and saves its checkpoints."""
        return torch.zeros((), device=self.device, requires_grad=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """None: there is nothing to step."""
        warnings.filterwarnings("ignore", ".*this fit will run with no optimizer")
        return None

    def on_save_checkpoint(self, checkpoint: Settings) -> None:
        """Keep what cross-validation found beside the weights."""
        checkpoint["cv"] = self.cv

    def on_load_checkpoint(self, checkpoint: Settings) -> None:
        """Take it back."""
        self.cv = checkpoint["cv"]


def _none(*_: Any) -> Any:
    """In the place of an optimizer and of its schedule."""
