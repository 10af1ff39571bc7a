"""A detector made of a frozen encoder and a scikit-learn classifier; it is trained and tested like other detectors."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unmask.config import Settings
from unmask.data.augment import Augmentation
from unmask.data.datamodule import DataModule
from unmask.modules import cross_validation as cv
from unmask.modules.detector import Detector
from unmask.networks.svm import FeatureSVM
from unmask.runs.encoder import TrainedEncoder
from unmask.training.module import Batch


class SVM(Detector):
    """Fit a support vector machine, or logistic regression, to a frozen encoder's features of the training split.

    Features are computed once for all stored crops. The classifier is fitted before the run's only epoch, in which
    nothing is trained. Validation and test are inherited from `Detector`. The fitted parameters become tensors of the
    network, so that loading a checkpoint never runs code.

    Args:
        network: a `networks.svm.FeatureSVM`.
        loss: loss to log in validation and test; the fit does not use it.
        classifier: `linear` or `rbf` (support vector machines), or `logistic` (logistic regression); both classes get
            the same total weight.
        C: values of the inverse regularisation strength to try.
        gamma: values of gamma to try for `rbf`, in units of 1 / number of features.
        draws: None for a grid search, which tries all combinations of C and gamma; else the number of combinations that
            a random search tries. It draws each value log-uniformly between the smallest and the largest given value.
        folds: number of cross-validation folds, at least 2; a source and all fakes made from it are in the same fold.
        seed: random seed of the folds and of the random search.
        monitor: see `Detector`.
        channels_last: see `Detector`.
        features: `exact` or `auto`, see `Detector`.
        copies: number of augmented copies of each training sample (see data.augment) that are fitted in addition to
            the stored crops. The features of these copies are not cached.
    """

    cv: Settings  #: results of cross-validation, for metrics.json

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
        copies: int = 0,
    ) -> None:
        if features == "off":
            raise ValueError("module.features=off: an SVM is fitted to features; expected auto or exact")
        if classifier not in cv.CLASSIFIERS:
            raise ValueError(f"module.classifier={classifier}: expected one of {', '.join(cv.CLASSIFIERS)}")
        if folds < 2:
            raise ValueError(f"module.folds={folds}: cross-validation needs at least 2 folds")
        super().__init__(network, loss, _none, _none, monitor, channels_last, features)
        self.classifier, self.tried = classifier, (C, gamma)
        self.draws, self.folds, self.seed, self.copies = draws, folds, seed, copies
        self.cv = {}

    def on_fit_start(self) -> None:
        """Compute the features; fit the classifier, unless a resumed run has already loaded fitted parameters.

        Raises:
            ValueError: the Trainer has several processes; its `max_epochs` is not 1; samples are clips or are blended;
                or `copies` does not fit the augmentation (without augmentation, it must be 0; with it, 1 or more).
        """
        if self.trainer.max_epochs != 1 or self.trainer.world_size > 1:
            raise ValueError(
                f"an SVM is fitted in 1 epoch by 1 process, but got {self.trainer.max_epochs} epochs and "
                f"{self.trainer.world_size} processes: set trainer.max_epochs=1 trainer.devices=1"
            )
        if self.data.sampling.frames is not None:
            raise ValueError("an SVM expects single frames: set frames=null")
        if self.data.blend is not None or self.data.as_stored != (self.copies == 0):
            raise ValueError(
                f"module.copies={self.copies} does not match the augmentation: to fit an SVM to the stored crops only, "
                "set module.copies=0 augment@data.augment=none blend@data.blend=none; to also fit it to augmented "
                "copies, set, for example, module.copies=2 augment@data.augment=saved_again blend@data.blend=none"
            )
        if isinstance(encoder := self.encoded.encoder, TrainedEncoder):
            encoder.require_unseen(self.data.items.query("split == 'test'")["item"])
            self.print(
                "the encoder was trained on the same training split, so cross-validation figures are too good; test "
                "figures are not affected"
            )
        copies = [] if self.cv else self._augmented(self.data)
        self.data.augment = Augmentation()  # from here on, training samples are the stored crops
        self.use_features(self.data)
        if not self.cv:
            self._fit(self.data, copies)

    def facts(self) -> Settings:
        """Return the results of cross-validation."""
        return {"cv": self.cv}

    @torch.no_grad()
    def _augmented(self, data: DataModule) -> list[Tensor]:
        """Return the features [N, F] of each augmented copy of the training split."""
        return [
            torch.cat([self._exact(batch["x"]).float().cpu() for batch in data.augmented(copy, self.device)])
            for copy in range(self.copies)
        ]

    def _fit(self, data: DataModule, copies: Sequence[Tensor]) -> None:
        samples, groups = data.samples["train"], data.groups("train")
        batch = samples.__getitems__([(0, index) for index in range(len(samples))])
        features = torch.cat([batch["features"], *copies]).double().numpy()
        label, groups = (np.tile(each, 1 + len(copies)) for each in (batch["y"].numpy(), groups))
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
        """Return a dummy loss, so that the Trainer counts steps and saves checkpoints."""
        return torch.zeros((), device=self.device, requires_grad=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return None, because nothing is trained by gradient descent."""
        warnings.filterwarnings("ignore", ".*this fit will run with no optimizer")
        return None

    def on_save_checkpoint(self, checkpoint: Settings) -> None:
        """Save the results of cross-validation with the weights."""
        checkpoint["cv"] = self.cv

    def on_load_checkpoint(self, checkpoint: Settings) -> None:
        """Restore the results of cross-validation."""
        self.cv = checkpoint["cv"]


def _none(*_: Any) -> Any:
    """Return None, in place of an optimizer or its schedule."""
