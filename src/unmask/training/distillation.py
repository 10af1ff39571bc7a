"""Knowledge distillation: train a small detector (the student) on the outputs of larger ones (the teachers).

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), soften the outputs of both
networks by a temperature T. For two classes with the logits (0, z), the softmax is the sigmoid of z, so the softened
probability of a fake is sigmoid(z / T). With the student's logit s, the teacher's logit t and q = sigmoid(t / T), the
loss of a sample is

    soft = q log(q / p) + (1 - q) log((1 - q) / (1 - p)),    p = sigmoid(s / T).

This Kullback-Leibler divergence differs from the cross-entropy of the paper by the entropy of q, which has no gradient;
unlike the cross-entropy, it is 0 if the student equals the teacher. Its gradient is (p - q) / T, and p - q is
proportional to 1 / T for a large T. The factor T^2 therefore keeps the weights of soft and hard loss independent of T:

    loss = alpha * (loss of the labels) + (1 - alpha) * T^2 * soft + beta * (distance of the features).

The last term is that of FitNets (arXiv 1412.6550): the mean squared difference between the teacher's features and a
linear projection of the student's. Student and teacher get the same augmented input, as in arXiv 2106.05237.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from unmask.data.pixels import resized
from unmask.networks.encoded import Encoding
from unmask.networks.frozen import Frozen
from unmask.runs.errors import RunError
from unmask.runs.run import Run
from unmask.training.losses import Outputs, SampleLoss

KEY = "module.loss"  # where the config describes the loss, for messages


def soft_loss(logit: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compute T^2 times the divergence between softened predictions of logits [B] and a teacher's [B] -> scalar, nats.

    It is computed in float32, because differences of similar probabilities have few digits in bfloat16.
    """
    own, target = logit.float() / temperature, teacher.float() / temperature
    q = target.sigmoid()
    entropy = binary_cross_entropy_with_logits(target, q)
    return temperature**2 * (binary_cross_entropy_with_logits(own, q) - entropy)


class Teacher:
    """The network of a finished detector run, with fixed weights in eval mode.

    The network is loaded at its first use. It is not a submodule of anything, so that neither optimizers nor
    checkpoints nor `train()` reach it.

    Args:
        run: the run folder.

    Raises:
        RunError: the run is not a finished run of a detector with weights.
        ForeignConfigError: the config of the run is refused.
    """

    def __init__(self, run: str | Path) -> None:
        self.run = Run(Path(run))
        if self.run.kind != "detector":
            raise RunError(f"{KEY}.run={run}: {self.run.name} is a {self.run.kind}; expected a run of a detector")
        self.run.require_weights()
        self.frames = self.run.config["data"]["sampling"].get("frames")  # None: it scores frames
        self.image_size = int(self.run.config["data"]["loader"]["image_size"])
        self._network = Frozen(self.run.network)

    @torch.no_grad()
    def __call__(self, x: Tensor, with_features: bool = False) -> Outputs:
        """Compute the logits [B], and the features if requested, of frames or clips x [B, (T,) 3, H, W] in [0, 1].

        Raises:
            ValueError: the teacher scores frames and x are clips, or the reverse.
        """
        clips = x.ndim == 5
        if clips != (self.frames is not None):
            own, fix = ("clips", f"frames={self.frames}") if self.frames is not None else ("frames", "frames=null")
            raise ValueError(f"{KEY}.run={self.run.folder}: this teacher scores {own}; train the student with {fix}")
        network, x = self._network.on(x.device), resized(x, self.image_size)
        if not with_features:
            return Outputs(network(x).float())
        if not isinstance(network, Encoding):
            raise ValueError(
                f"{KEY}.run={self.run.folder}: {type(network).__name__} has no features; set {KEY}.beta=0 "
                f"{KEY}.projection=null"
            )
        features = network.encode(x)
        return Outputs(network.head(features).float(), features)


class Distillation(SampleLoss):
    """Loss of a student that learns from the labels and from one or several trained teachers (see the module).

    Several teachers are an ensemble, whose logit is the mean of their logits.

    Args:
        labels: loss of the labels, (logit [B], label [B]) -> scalar. Validation and test log this loss.
        run: run folder of the teacher, or of each teacher. None if a run that was trained with this loss is opened:
            a trained student does not need its teachers.
        temperature: temperature T by which logits are divided, above 0.
        alpha: weight of the loss of the labels, 0 to 1; the weight of the teacher is 1 - alpha. With 0, labels are not
            used, so that training samples need none.
        beta: weight of the distance between features; 0 does not use features. It needs a single teacher.
        projection: number of features of the student and of the teacher, between which a linear projection is trained;
            needed if `beta` is above 0.

    Raises:
        RunError: see `Teacher`.
        ValueError: a number is out of range, or `beta` and `projection` do not match.
    """

    def __init__(
        self,
        labels: nn.Module,
        run: str | Sequence[str] | None = None,
        temperature: float = 2.0,
        alpha: float = 0.5,
        beta: float = 0.0,
        projection: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check(temperature, alpha, beta, projection)
        folders = [] if run is None else [run] if isinstance(run, str) else list(run)
        if run is not None and (not folders or (beta and len(folders) > 1)):
            raise ValueError(f"{KEY}.run={run}: expected {'one run, because beta is above 0' if beta else 'a run'}")
        self.labels, self.temperature, self.alpha, self.beta = labels, temperature, alpha, beta
        self.teachers = [Teacher(folder) for folder in folders]
        self.uses_features = beta > 0
        self.projection = nn.Linear(projection[0], projection[1]) if projection is not None else None

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """Compute the loss of the labels -> scalar."""
        loss: Tensor = self.labels(logit, label)
        return loss

    def of_batch(self, outputs: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        """Compute the training loss of a batch with `x` [B, (T,) 3, H, W] in [0, 1] and labels `y` [B] -> scalar.

        Raises:
            ValueError: there is no teacher, or a teacher does not fit the student.
        """
        if not self.teachers:
            raise ValueError(f"{KEY}.run=null: expected the run folder of a teacher")
        taught = [teacher(batch["x"], self.uses_features) for teacher in self.teachers]
        logit = torch.stack([one.logit for one in taught]).mean(0)
        loss = (1 - self.alpha) * soft_loss(outputs.logit, logit, self.temperature)
        if self.alpha:
            loss = loss + self.alpha * self.labels(outputs.logit, batch["y"].float())
        if outputs.features is not None and taught[0].features is not None:
            loss = loss + self.beta * self._distance(outputs.features, taught[0].features)
        return loss

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean squared difference between projected features and the teacher's, both [B, F] or [B, T, F].

        Features of clips are averaged over time first, because student and teacher may have different numbers of steps.
        """
        assert self.projection is not None
        own, target = (x.float() if x.ndim == 2 else x.float().mean(1) for x in (student, teacher))
        widths = [own.shape[1], target.shape[1]]
        if widths != [self.projection.in_features, self.projection.out_features]:
            given = [self.projection.in_features, self.projection.out_features]
            raise ValueError(
                f"{KEY}.projection={given}: the student has {widths[0]} features and the teacher {widths[1]}; set "
                f"{KEY}.projection=[{widths[0]},{widths[1]}]"
            )
        return mse_loss(self.projection(own), target)


def _check(temperature: float, alpha: float, beta: float, projection: Sequence[int] | None) -> None:
    if temperature <= 0:
        raise ValueError(f"{KEY}.temperature={temperature}: expected a number above 0")
    if not 0 <= alpha <= 1:
        raise ValueError(f"{KEY}.alpha={alpha}: expected a weight from 0 to 1")
    if beta < 0:
        raise ValueError(f"{KEY}.beta={beta}: expected 0 or more")
    if (beta > 0) != (projection is not None):
        raise ValueError(
            f"{KEY}.beta={beta} and {KEY}.projection={projection}: expected both, to match features, or beta=0 and "
            "projection=null"
        )
    if projection is not None and (len(projection) != 2 or min(projection) < 1):
        raise ValueError(
            f"{KEY}.projection={list(projection)}: expected the number of features of the student and of the teacher"
        )
