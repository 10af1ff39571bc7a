"""Autoencoders, plain and variational: a picture to a latent and back."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unmask.metrics import generation
from unmask.modules.by_hand import gather
from unmask.modules.latents import noise
from unmask.modules.sample_metrics import check, evaluate_samples
from unmask.training.evaluation import Results, planned_steps
from unmask.training.module import Module

Batch = dict[str, Tensor]
SHOWN = 18  # pictures of a validation that are kept beside their reconstructions
MOMENTUM = 0.01  # weight of the newest batch in the latents' running statistics


class Autoencoder(Module):
    """Train an encoder and a decoder to give pictures back; variational by default (arXiv 1312.6114).

    The loss is reconstruction + beta x KL / (number of values of a picture). Beside a mean squared error, beta is twice
    the variance of the pixels' Gaussian in the evidence lower bound; that of beta-VAE (arXiv 1804.03599) is larger.

    Args:
        encoder: pictures [B, 3, S, S] in [0, 1] -> [B, latent], or [B, 2 latent], mean and log variance.
        decoder: latent [B, decoder.latent] -> pictures in [0, 1].
        loss: (made, original) -> scalar, the mean over pixels.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total steps) -> schedule, stepped every batch.
        evaluator: pictures in [0, 1] -> features [N, F], for the Frechet distance of samples; never trained.
        variational: draw the latent; else take it as it comes, and sample as its mean and deviation in training say.
        beta: weight of the divergence from a standard normal.
        warmup: share of the training over which beta rises from 0, in [0, 1] (arXiv 1602.02282).
        monitor: the figure that picks the best checkpoint; `val/psnr` (dB), `val/ssim`, `val/frechet_NAME`.
        mode: `max` where larger is better.
    """

    kind = "generator"
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterator[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        evaluator: nn.Module,
        variational: bool = True,
        beta: float = 0.02,
        warmup: float = 0.2,
        monitor: str = "val/psnr",
        mode: str = "max",
    ) -> None:
        super().__init__()
        if beta < 0 or not 0 <= warmup <= 1:
            raise ValueError(f"module.beta={beta}, module.warmup={warmup}: beta is 0 or more, warmup a share")
        self.encoder, self.decoder, self.loss, self.evaluator = encoder, decoder, loss, evaluator
        self.optimizer, self.scheduler, self.variational = optimizer, scheduler, variational
        self.beta, self.warmup, self.monitor, self.mode = beta, warmup, monitor, mode
        length: Any = decoder.latent
        self.register_buffer("latent_mean", torch.zeros(length))
        self.register_buffer("latent_std", torch.ones(length))
        self._kept: list[Tensor] = []
        self._seen: list[Tensor] = []

    def encode(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] in [0, 1] -> their latents [B, latent]; of a variational one the means."""
        return self._encode(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Latents [B, latent] -> pictures [B, 3, S, S] in [0, 1]."""
        picture: Tensor = self.decoder(z)
        return picture.float()

    def forward(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1] -> their reconstructions, without a draw."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """New pictures [n, 3, S, S] in [0, 1]; a seed gives the same latent whatever else is in the batch.

        Args:
            n: how many.
            seeds: one a picture.
            condition: none; an autoencoder knows no attributes.
        """
        return self.make(self.noise(n, seeds))

    def preview(self, count: int, condition: Tensor | None) -> Tensor:
        """Samples of the seeds 0, 1, 2, ... [count, 1, 3, S, S] in [0, 1]."""
        return self.sample(count, range(count), condition)[:, None]

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """The standard normal latents [n, latent] that samples of these seeds are made from."""
        return noise([len(self.latent_mean)], n, seeds, self.device)

    @torch.no_grad()
    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Standard normal latents [n, latent] -> pictures [n, 3, S, S] in [0, 1]; no condition."""
        training = self.decoder.training
        self.decoder.eval()
        made = self.decode(z if self.variational else self.latent_mean + self.latent_std * z)
        self.decoder.train(training)
        return made

    @torch.no_grad()
    def interpolate(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """From picture a [3, S, S] to picture b, through their latents' straight line -> [steps, 3, S, S]."""
        ends = self.encode(torch.stack([a, b]).to(self.device))
        share = torch.linspace(0, 1, steps, device=self.device)[:, None]
        return self.decode((1 - share) * ends[0] + share * ends[1])

    @torch.no_grad()
    def direction(self, x: Tensor, attribute: Tensor) -> Tensor:
        """What an attribute adds to a latent: the mean of those that have it less that of those that do not.

        Args:
            x: pictures [N, 3, S, S] in [0, 1].
            attribute: 1 or 0 of each [N].

        Raises:
            ValueError: all pictures have it, or none does.
        """
        has = attribute.to(self.device) > 0.5
        if bool(has.all()) or not bool(has.any()):
            raise ValueError("an attribute's direction needs pictures that have it and pictures that do not")
        z = self.encode(x.to(self.device))
        return z[has].mean(0) - z[~has].mean(0)

    def on_fit_start(self) -> None:
        """Tell what the evaluator lacks before anything is learnt."""
        check(self.evaluator, self.monitor, ("psnr", "ssim"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; logs the loss and its parts."""
        mean, logvar = self._encode(batch["x"])
        z = mean if logvar is None else mean + logvar.mul(0.5).exp() * torch.randn_like(mean)
        loss: Tensor = self.loss(self.decode(z), batch["x"])
        self.log("train/reconstruction", loss)
        if logvar is None:
            self._note(mean.detach())
        else:
            divergence = kl(mean, logvar).mean()
            self.log("train/kl", divergence)
            loss = loss + self._weight() * divergence / batch["x"][0].numel()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the figures of a batch, and of the first one what is shown."""
        self._keep(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same of the test split."""
        self._keep(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Gather, and evaluate samples."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Gather, and evaluate samples."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, its schedule stepped every batch."""
        optimizer = self.optimizer(self.parameters())
        scheduler = self.scheduler(optimizer, planned_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents, or means and log variances."""
        found: Tensor = self.encoder(x).float()
        if not self.variational:
            return found, None
        mean, logvar = found.chunk(2, dim=1)
        return mean, logvar.clamp(-20, 10)  # exp of more is no number in half precision

    def _weight(self) -> float:
        """Beta of this step."""
        rise = self.warmup * planned_steps(self.trainer)
        return self.beta * min(1.0, (self.global_step + 1) / rise) if rise > 0 else self.beta

    def _note(self, z: Tensor) -> None:
        weight = 1.0 if self.global_step == 0 else MOMENTUM
        self.latent_mean.lerp_(z.mean(0), weight)
        self.latent_std.lerp_(z.std(0, unbiased=False), weight)

    def _keep(self, batch: Batch, batch_idx: int) -> None:
        made, x = self(batch["x"]), batch["x"]
        if batch_idx == 0:
            self.shown = torch.stack([x[:SHOWN], made[:SHOWN]], dim=1)
        self._kept.append(torch.stack([batch["index"], generation.psnr(made, x), generation.ssim(made, x)]))
        self._seen.append(self.evaluator(x))

    def _finish(self, split: str) -> None:
        real, rows = torch.cat(self._seen), torch.cat(self._kept, dim=1).double()
        self._seen.clear()
        self._kept.clear()
        found = evaluate_samples(self, self.evaluator, real)
        rows = gather(self, rows)
        figures = {"psnr": float(rows[1].mean()), "ssim": float(rows[2].mean())} | found
        self.record(split, Results(figures))


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Divergence of N(mean, exp(logvar)) from N(0, 1), both [B, latent] -> [B], nats (arXiv 1312.6114, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)
