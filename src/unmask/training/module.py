"""Base class of this project's LightningModules: what is equal for any number of processes, and results."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.data.samplers import ResumableLoader
from unmask.training.draws import OWN, Draws
from unmask.training.evaluation import Results, curves

KINDS = ("detector", "segmenter", "generator", "swapper")
Batch = dict[str, Tensor]


class Module(LightningModule):
    """Base class of this project's LightningModules; the result of `facts` is written to metrics.json.

    A batch may be divided among several processes, which must not change the results. Therefore:

    - Random numbers of a training step come from `random`, except for those of layers such as dropout.
    - Each process's loss is the mean over its own samples. `backward` weights it by their number, so that the gradient,
      which DDP averages over the processes, is that of the mean over all samples of the batch, each counted once.
    - A step's metrics are logged by `log_step`, which averages them over all samples of the batch.
    - Validation and test call `gather`, which returns each sample of all processes once.
    """

    kind: str  #: one of `KINDS`
    monitor: str  #: the metric that selects the best checkpoint, `val/NAME`
    mode = "max"  #: `min` if smaller values of `monitor` are better
    unused_parameters = False  #: whether a backward pass can leave parameters without a gradient, which slows DDP
    conditional = False  #: whether generation is conditioned on attributes or captions
    conditioned_on = "attributes"  #: the entry of a batch that a conditional generator is conditioned on
    results: Results | None = None  #: results of the validation or test that has just ended, equal in all processes
    shown: Tensor | None = None  #: originals and reconstructions of the last validation [N, columns, 3, S, S]
    accumulate = 1  #: with manual optimization, the number of batches whose gradients are accumulated for one update
    random: Draws = OWN  #: random numbers of the current training step
    counts = (1, 1)  #: number of samples of the current batch in this process (0 if it repeats one), and in all

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

    @property
    def share(self) -> float:
        """Weight of this process's mean: its share of the batch's samples, times the number of processes."""
        here, everywhere = self.counts
        return here * self.trainer.world_size / everywhere

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

    def truncate(self, truncation: float) -> None:
        """Make all later samples more similar to the average image.

        Args:
            truncation: from 0, which makes all images equal except for noise, to 1, which samples as in training.

        Raises:
            ValueError: the value is out of range, or the generator has no styles.
        """
        if truncation != 1:
            raise ValueError(
                f"truncation={truncation}: expected 1, because only style-based generators can be truncated "
                "(module/generator=stylegan2)"
            )

    def states(self, seeds: Sequence[int], columns: int, condition: Tensor | None = None) -> Tensor:
        """Return intermediate states of samples [n, columns, 3, S, S]; the last column is the sample.

        Raises:
            ValueError: the generator makes an image in one step.
        """
        raise ValueError("states: expected 0, because only diffusion models have intermediate states")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the samples of the batch."""
        self._count(self.trainer.train_dataloader, batch, batch_idx)

    def on_validation_start(self) -> None:
        """Use the first process's batch norm statistics in all, because it saves them, and each one updates its own."""
        layers = [layer for layer in self.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
        if self.trainer.world_size == 1 or not layers:
            return
        own = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        for buffer, value in zip(own, self.trainer.strategy.broadcast([b.cpu() for b in own]), strict=True):
            buffer.copy_(value)

    def on_validation_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the samples of the batch."""
        self._count(self.trainer.val_dataloaders, batch, batch_idx)

    def on_test_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the samples of the batch."""
        self._count(self.trainer.test_dataloaders, batch, batch_idx)

    def _count(self, loader: object, batch: Batch, batch_idx: int) -> None:
        if isinstance(loader, ResumableLoader):
            self.counts = loader.order.counts(batch_idx)
        else:  # with a loader of another kind, all processes are assumed to have as many samples
            here = len(next(iter(batch.values())))
            self.counts = here, here * self.trainer.world_size

    def seed_draws(self, seed: int) -> None:
        """Set `random` for a training step.

        Args:
            seed: seed of the step, equal in all processes.
        """
        loader = self.trainer.train_dataloader
        if isinstance(loader, ResumableLoader):
            order = loader.order
            rows = order.together * order.unit
            self.random = Draws(seed, rows, order.unit, order.rank, order.world_size)
        else:
            self.random = Draws(seed, rank=self.global_rank, world_size=self.trainer.world_size)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate the mean loss of this process's samples, weighted by their number (see the class)."""
        super().backward(loss if self.share == 1 else loss * self.share, *args, **kwargs)

    def across(self, mean: Tensor) -> Tensor:
        """Return the mean over a batch's samples in all processes, from the mean over those of this process.

        Its gradient with respect to `mean` is 1. Together with the weights of `backward`, the gradient of any function
        of the result is thus that of a single process.
        """
        if self.trainer.world_size == 1:
            return mean
        whole = self._reduce(mean.detach() * self.share)
        return mean + (whole - mean.detach())

    def log_step(
        self, metrics: Mapping[str, Tensor], shown: Collection[str] = ("loss",), share: float | None = None
    ) -> None:
        """Log metrics of a training step as `train/NAME`: their means over the samples of all processes.

        This does nothing in steps that loggers do not write, because it costs time: 0.2 ms per metric, and
        communication between the processes.

        Args:
            metrics: the means over this process's samples, the same names in all processes.
            shown: names of the metrics that the progress bar shows.
            share: weight of this process's means; None for that of the current batch.
        """
        if not logs_now(self.trainer):
            return
        means = torch.stack([value.detach() for value in metrics.values()])
        values = self._reduce(means * (self.share if share is None else share))
        for name, value in zip(metrics, values, strict=True):
            self.log(f"train/{name}", value, prog_bar=name in shown)

    def gather(self, index: Tensor, *columns: Tensor) -> list[Tensor]:
        """Gather rows of all processes; the result has one row per sample, sorted by index, in all processes.

        Args:
            index: the index of each row's sample [N]; N may differ between processes, but is at least 1.
            columns: tensors [N, ...].

        Returns:
            The indices [M], then the columns [M, ...].
        """
        parts = [part.to(self.device) for part in (index, *columns)]
        if self.trainer.world_size > 1:
            most = int(self._reduce(torch.tensor(len(index), device=self.device), "max"))
            padded = [torch.cat([part, part[:1].expand(most - len(part), *part.shape[1:])]) for part in parts]
            parts = [self.all_gather(part).flatten(0, 1) for part in padded]  # type: ignore[union-attr]
        order = parts[0].argsort(stable=True)
        ordered = parts[0][order]
        order = order[torch.cat([ordered.new_ones(1), ordered.diff()]) != 0]
        return [part[order] for part in parts]

    def _reduce(self, value: Tensor, how: str = "mean") -> Tensor:
        """Return the `mean`, `sum` or `max` of a tensor over all processes."""
        if self.trainer.world_size == 1:
            return value
        reduced: Tensor = self.trainer.strategy.reduce(value, reduce_op=how)
        return reduced

    def take_results(self) -> Results | None:
        """Return the results of the loop that has just ended, and set `results` to None."""
        found, self.results = self.results, None
        return found

    def record(self, split: str, results: Results) -> None:
        """Store results for `evaluate` and log their metrics, which are equal in all processes, as `SPLIT/NAME`.

        The final validation of the best weights is not sent to loggers, because the loggers' curves show only training.
        """
        self.results = results
        figures = {f"{split}/{name}": value for name, value in results.figures.items()}
        self.log_dict(figures, sync_dist=True, logger=curves(self.trainer))


def data_of(trainer: Trainer) -> DataModule:
    """Return the data module of a Trainer."""
    return cast(DataModule, trainer.datamodule)  # type: ignore[attr-defined]


def logs_now(trainer: Trainer) -> bool:
    """Return whether loggers write metrics at this step; call it before the step is counted."""
    return bool((trainer.global_step + 1) % trainer.log_every_n_steps == 0)  # type: ignore[attr-defined]
