"""Optimizers whose learning rate depends on the batch size."""

from collections.abc import Callable, Iterable

from torch.nn import Parameter
from torch.optim import Optimizer


class ScaledRate:
    """Make an optimizer whose learning rate is scaled in proportion to the number of samples per update.

    This is the linear scaling rule of arXiv 1706.02677. `per` is a fixed number, so the rate does not depend on the
    number of devices: a recipe for 16 samples per device on any number of devices is `per=16`.

    Args:
        optimizer: parameters -> optimizer, with the rate for `per` samples.
        batch_size: number of samples in a batch, over all devices.
        per: number of samples per update for which the rate is given.
        accumulate: number of batches per update.

    Raises:
        ValueError: `per` is less than 1.
    """

    def __init__(
        self, optimizer: Callable[[Iterable[Parameter]], Optimizer], batch_size: int, per: int, accumulate: int = 1
    ) -> None:
        if per < 1:
            raise ValueError(f"per={per}: expected the number of samples for which the learning rate is given")
        self.optimizer, self.factor = optimizer, batch_size * accumulate / per

    def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Return the optimizer of the parameters."""
        made = self.optimizer(parameters)
        for group in made.param_groups:
            group["lr"] *= self.factor
        return made
