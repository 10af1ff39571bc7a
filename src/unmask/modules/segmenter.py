"""A detector that localises manipulations; it is trained on masks and evaluated both per pixel and per image."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unmask.metrics import localisation
from unmask.modules.detector import Detector
from unmask.networks.layout import of_pictures
from unmask.training.losses import BatchLoss, SampleLoss
from unmask.training.module import Batch


class Segmenter(Detector):
    """Train a network that returns a logit for each pixel, on batches with masks.

    An image's logit is the mean of the highest 1 % of its pixel logits, so that a small manipulated region makes an
    image fake, but a single pixel does not. Predictions for images are stored and evaluated like those of other
    detectors. Of the pixel logits, only quantiles and counts are stored, 8 kB per image (metrics/localisation.py).

    Args:
        network: x [B, 3, H, W] in [0, 1] -> logits [B, 1, H, W]; positive means manipulated.
        loss: (logits [B, 1, H, W], mask [B, 1, H, W] in [0, 1]) -> scalar.
        optimizer: see `Detector`.
        scheduler: see `Detector`.
        monitor: see `Detector`; the pixel metrics are `val/iou`, `val/pixel_f1` and `val/pixel_auroc`.
        channels_last: see `Detector`.
    """

    kind = "segmenter"
    FIGURES = (*Detector.FIGURES, *localisation.FIGURES)

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterator[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        monitor: str = "val/iou",
        channels_last: bool = True,
    ) -> None:
        if isinstance(loss, SampleLoss):
            raise ValueError(f"module.loss: {type(loss).__name__} is for module=detector; for masks, choose bce_dice")
        super().__init__(network, loss, optimizer, scheduler, monitor, channels_last)
        self._pixels: list[list[Tensor]] = []

    def maps(self, x: Tensor) -> Tensor:
        """Return the pixel logits [B, 1, H, W] of frames [B, 3, H, W] in [0, 1]."""
        maps: Tensor = self.network(x)
        if maps.ndim != 4:
            raise ValueError(
                f"a Segmenter needs a network that returns maps, such as unet; the output has shape {list(maps.shape)}"
            )
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Return the image logits [B] of frames [B, 3, H, W] in [0, 1]."""
        return of_pictures(self.maps(x))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute and log the loss."""
        loss = self._loss(self.maps(batch["x"]), _mask(batch))
        self.log_step({"loss": loss})
        return loss

    def _loss(self, maps: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss; a `BatchLoss` is that of the whole batch of all processes."""
        if isinstance(self.loss, BatchLoss) and self.trainer.world_size > 1:
            return self.loss.of(self.across(self.loss.terms(maps, mask).mean(0)), self.counts[1])
        loss: Tensor = self.loss(maps, mask)
        return loss

    def _keep(self, batch: Batch) -> None:
        maps, mask = self.maps(batch["x"]).float(), _mask(batch)
        self._scored.append((batch["index"], of_pictures(maps)))
        self._keep_loss(self._loss(maps, mask))
        kept = localisation.summarise(maps[:, 0].cpu().numpy(), mask[:, 0].cpu().numpy() > 0.5)
        self._pixels.append([torch.from_numpy(part) for part in kept])

    def _finish(self, split: str, more: Mapping[str, float] | None = None) -> None:
        index = torch.cat([rows for rows, _ in self._scored])
        _, *parts = self.gather(index, *(torch.cat(part) for part in zip(*self._pixels, strict=True)))
        self._pixels.clear()
        figures = localisation.figures(localisation.Pixels(*(part.cpu().numpy() for part in parts)))
        super()._finish(split, figures | dict(more or {}))


def _mask(batch: Batch) -> Tensor:
    if "mask" not in batch:
        raise ValueError("a Segmenter needs batches with masks: set data.loader.masks=true and data.recipe.masks=true")
    return batch["mask"]
