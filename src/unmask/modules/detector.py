"""A LightningModule that trains and tests detectors of frames or clips, with any network and any loss."""

import math
from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unmask.data.datamodule import DataModule
from unmask.data.features import Encoding
from unmask.metrics import detection
from unmask.networks.encoded import EncodedNetwork
from unmask.networks.encoded import Encoding as Encodes
from unmask.networks.inputs import apply, encode
from unmask.networks.layout import use_channels_last
from unmask.training.evaluation import Results, curves, planned_steps
from unmask.training.losses import Outputs, SampleLoss
from unmask.training.module import Batch, Module

FEATURES = ("auto", "exact", "off")


class Detector(Module):
    """Train a network that classifies frames or clips as real or fake.

    Validation and test gather the logits from all devices and pass them to the data module, which builds the
    prediction table; every metric is computed from that table.

    Args:
        network: x [B, 3, H, W] or [B, T, 3, H, W] in [0, 1], or waveforms [B, S] in [-1, 1] -> logit [B]; positive
            means fake. A network that takes other entries of a batch declares their names (`unmask.networks.inputs`).
        loss: (logit [B], label [B] float) -> scalar; or a `SampleLoss`, which also depends on the samples.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total steps) -> schedule, stepped every batch.
        monitor: the metric that selects the best checkpoint and that a sweep optimizes.
        channels_last: use the channels-last layout for convolution weights, which is faster on most devices (Meso4 on
            a CPU: half the time); results differ by rounding only.
        features: how to compute a frozen encoder's features if training uses the stored crops without augmentation.
            `exact`: once, at the Trainer's precision. `auto`: once, in bfloat16 if the device has it in hardware and
            the rounding error is small relative to the differences between crops, else as `exact`. `off`: every step.
        compile: compile the network with `torch.compile`, which saves time in long runs.
    """

    kind = "detector"
    FIGURES = (*detection.WATCHED, "loss")  #: validation metrics that can be monitored

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterator[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        monitor: str = "val/video_auroc",
        channels_last: bool = True,
        features: str = "auto",
        compile: bool = False,
    ) -> None:
        super().__init__()
        if features not in FEATURES:
            raise ValueError(f"module.features={features}: expected one of {', '.join(FEATURES)}")
        if not monitor.startswith("val/"):
            raise ValueError(f"module.monitor={monitor}: expected a metric of the validation split (val/...)")
        if monitor.removeprefix("val/") not in self.FIGURES:
            listing = ", ".join(f"val/{name}" for name in self.FIGURES)
            raise ValueError(f"module.monitor={monitor}: expected one of {listing}")
        if isinstance(loss, SampleLoss) and loss.uses_features and not isinstance(network, Encodes):
            raise ValueError(f"module.network: {type(network).__name__} has no features, but module.loss needs them")
        self.network, self.loss = network, loss
        if channels_last:
            use_channels_last(network)
        if compile:
            network.compile()  # in place, so that parameters keep their names
        self.features = features
        self.optimizer, self.scheduler = optimizer, scheduler
        self.monitor, self.mode = monitor, detection.mode_of(monitor)
        self._scored: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []  # (sum of the losses of a batch's samples, number of samples) [2]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of frames [B, 3, H, W] or clips [B, T, 3, H, W] in [0, 1], or of waveforms [B, S]."""
        logit: Tensor = self.network(x)
        return logit

    def score(self, batch: Batch) -> Tensor:
        """Compute the logits [B] of a batch, from its precomputed features if it has any, else from its samples."""
        return self.encoded.head(batch["features"]) if "features" in batch else apply(self.network, batch)

    @property
    def trained(self) -> nn.Module:
        """The network that is trained."""
        return self.network

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the tensors of a frozen encoder."""
        if not (isinstance(self.network, EncodedNetwork) and self.network.frozen):
            return frozenset()
        return frozenset(f"network.encoder.{name}" for name in self.encoded.encoder.state_dict())

    @property
    def encoded(self) -> EncodedNetwork:
        """The network, checked to be an `EncodedNetwork`, which has an encoder and a head."""
        assert isinstance(self.network, EncodedNetwork)
        return self.network

    def on_fit_start(self) -> None:
        """Precompute the features of a frozen encoder if samples are the stored crops, without augmentation."""
        if self.features == "off" or not self.frozen or self.trainer.datamodule is None:  # type: ignore[attr-defined]
            return
        if isinstance(self.loss, SampleLoss):
            self.print("the frozen encoder runs in every step, because the loss needs the frames")
            return
        if self.data.as_stored:
            self.print(f"features {self.use_features(self.data)}")
        else:
            self.print(
                "the frozen encoder runs in every step, because samples are augmented; to compute its features only "
                "once, set augment@data.augment=none blend@data.blend=none"
            )

    def use_features(self, data: DataModule) -> str:
        """Replace `x` in batches of `data` with the encoder's features, which the first process computes and caches.

        Returns:
            A description of what was done, to be printed.
        """
        rough = self._rough if self.features == "auto" and fast_bfloat16(self.device) else None
        how = Encoding(self._exact, rough, str(self.trainer.precision), self.device)
        if self.trainer.world_size > 1:
            if self.trainer.is_global_zero:
                data.use_features(self.encoded.encoder, how)
            self.trainer.strategy.barrier()
        return data.use_features(self.encoded.encoder, how)

    def _exact(self, x: Tensor) -> Tensor:
        with self.trainer.precision_plugin.forward_context():
            features: Tensor = self.encoded.encoder(x)
        return features

    def _rough(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            features: Tensor = self.encoded.encoder(x)
        return features

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute and log the loss."""
        if isinstance(self.loss, SampleLoss):
            loss = self.loss.of_batch(self.outputs(batch), batch)
        else:
            loss = self.loss(self.score(batch), batch["y"].float())
        self.log_step({"loss": loss})
        return loss

    def outputs(self, batch: Batch) -> Outputs:
        """Compute the logits of a batch and, if the loss uses them, the features."""
        if not (isinstance(self.loss, SampleLoss) and self.loss.uses_features):
            return Outputs(self.score(batch))
        assert isinstance(self.network, Encodes)
        features = encode(self.network, batch)
        return Outputs(self.network.head(features), features)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the logits of a batch."""
        self._keep(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the logits of a batch."""
        self._keep(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the logits [B] of a batch."""
        return self.score(batch).float()

    def on_validation_epoch_end(self) -> None:
        """Gather the logits, build the prediction table and log its metrics."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Gather the logits, build the prediction table and log its metrics."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer of the trainable parameters and its schedule, stepped every batch."""
        optimizer = self.optimizer(p for p in self.parameters() if p.requires_grad)
        scheduler = self.scheduler(optimizer, planned_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _keep(self, batch: Batch) -> None:
        logit = self.score(batch).float()
        self._scored.append((batch["index"], logit))
        self._keep_loss(self.loss(logit, batch["y"].float()))

    def _keep_loss(self, loss: Tensor) -> None:
        count = float(self.counts[0])
        self._losses.append(torch.stack([loss.detach().float() * count, loss.new_tensor(count, dtype=torch.float32)]))

    def _finish(self, split: str, more: Mapping[str, float] | None = None) -> None:
        """Build the prediction table of the stored logits; log its metrics and `more`, the module's own metrics."""
        index, logit = self.gather(*(torch.cat(parts) for parts in zip(*self._scored, strict=True)))
        total, count = self._reduce(torch.stack(self._losses).sum(0), "sum")
        self._scored.clear()
        self._losses.clear()
        if self.trainer.sanity_checking:
            return
        table = self.data.predictions(split, index, logit)
        figures = detection.quick(table) | detection.per_dataset(table) | dict(more or {})
        score = {f"{split}/{name}": value for name, value in figures.items()}.get(self.monitor)
        if score is not None and math.isnan(score) and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(no_monitor(self.monitor, table, self.trainer))
        self.record(split, Results(figures, table))
        self.log(f"{split}/loss", total / count, sync_dist=True, prog_bar=True, logger=curves(self.trainer))
        if score is not None:
            self.log(f"{split}/score", score, sync_dist=True, prog_bar=True, logger=False)


def no_monitor(monitor: str, table: pd.DataFrame, trainer: Trainer) -> str:
    """Return a message that explains why the monitored metric cannot be computed from a validation table."""
    scored = table[table["logit"].notna()]
    real, fake = (scored.loc[scored["label"] == label, "item"].nunique() for label in (0, 1))
    limited = isinstance(trainer.limit_val_batches, int) or trainer.limit_val_batches < 1.0
    why = f"; trainer.limit_val_batches={trainer.limit_val_batches} excludes the others" if limited else ""
    return (
        f"module.monitor={monitor} cannot be computed on the validation split, so no weights can be chosen: only "
        f"{real} real and {fake} fake of its {table['item'].nunique()} items were scored{why}"
    )


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware; if not, float32 is faster."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
