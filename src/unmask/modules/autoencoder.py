"""Training of plain and variational autoencoders."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unmask.metrics import generation
from unmask.modules.latents import film, noise
from unmask.modules.sample_metrics import check, evaluate_samples
from unmask.training.evaluation import Results, planned_steps
from unmask.training.module import Batch, Module

SHOWN = 18  # validation images that are shown with their reconstructions
MOMENTUM = 0.01  # weight of the newest batch in the latents' running statistics


class Autoencoder(Module):
    """Train an encoder and a decoder to reconstruct images; variational by default (arXiv 1312.6114).

    The loss is reconstruction + beta x KL / (values per image). With the mean squared error as reconstruction
    loss, this is the ELBO with a Gaussian likelihood of pixel variance beta / 2; beta-VAE (arXiv 1804.03599) uses a
    larger beta.

    Args:
        encoder: images [B, 3, S, S] in [0, 1] -> [B, latent]; if variational, [B, 2 latent]: means, then log-variances.
        decoder: latents [B, decoder.latent] -> images in [0, 1].
        loss: (reconstructed images, original images) -> scalar, the mean over pixels.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total steps) -> schedule, stepped every batch.
        evaluator: images in [0, 1] -> features [N, F], for the Frechet distance of samples; never trained.
        variational: sample latents from the encoded means and variances. If false, latents are deterministic, and new
            images are generated from a normal distribution with the training latents' mean and standard deviation.
        beta: weight of the KL divergence from a standard normal.
        warmup: share of the training steps, in [0, 1], during which the weight rises from 0 to beta (arXiv
            1602.02282).
        monitor: the metric that selects the best checkpoint: `val/psnr` (dB), `val/ssim` or `val/frechet_NAME`, where
            NAME is the evaluator's name.
        mode: `max` if larger values of `monitor` are better, else `min`.
    """

    kind = "generator"
    one_pass = True  #: whether the network runs once per image
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
            raise ValueError(
                f"module.beta={beta}, module.warmup={warmup}: expected beta of 0 or more, and warmup from 0 to 1"
            )
        self.encoder, self.decoder, self.loss, self.evaluator = encoder, decoder, loss, evaluator
        self.optimizer, self.scheduler, self.variational = optimizer, scheduler, variational
        self.beta, self.warmup, self.monitor, self.mode = beta, warmup, monitor, mode
        length: Any = decoder.latent
        self.register_buffer("latent_mean", torch.zeros(length))
        self.register_buffer("latent_std", torch.ones(length))
        self._index, self._kept, self._seen = list[Tensor](), list[Tensor](), list[Tensor]()

    def encode(self, x: Tensor) -> Tensor:
        """Encode images [B, 3, S, S] in [0, 1] as latents [B, latent]; if variational, as the latents' means."""
        return self._encode(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Decode latents [B, latent] into images [B, 3, S, S] in [0, 1]."""
        picture: Tensor = self.decoder(z)
        return picture.float()

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images [B, 3, S, S] in [0, 1], without sampling."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1]; each image's latent depends only on its seed, not on the batch.

        Args:
            n: number of images.
            seeds: one seed per image.
            condition: unused, because an autoencoder is unconditional.
        """
        return self.make(self.noise(n, seeds))

    def preview(self, count: int, condition: Tensor | None) -> Tensor:
        """Generate images [count, 1, 3, S, S] in [0, 1], one from each of the seeds 0 to count - 1."""
        return self.sample(count, range(count), condition)[:, None]

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Return the standard normal latents [n, latent] from which samples with these seeds are generated."""
        return noise([len(self.latent_mean)], n, seeds, self.device)

    @torch.no_grad()
    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from standard normal latents [n, latent]; `condition` is unused."""
        training = self.decoder.training
        self.decoder.eval()
        made = self.decode(z if self.variational else self.latent_mean + self.latent_std * z)
        self.decoder.train(training)
        return made

    def walk(self, seeds: Sequence[int], steps: int, size: int, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of a film that interpolates the latents of samples; see `latents.film`."""
        return film(self.make, self.noise(len(seeds), seeds), steps, size, condition)

    @torch.no_grad()
    def interpolate(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Interpolate linearly between the latents of images `a` and `b` [3, S, S]; decode to [steps, 3, S, S]."""
        ends = self.encode(torch.stack([a, b]).to(self.device))
        share = torch.linspace(0, 1, steps, device=self.device)[:, None]
        return self.decode((1 - share) * ends[0] + share * ends[1])

    @torch.no_grad()
    def direction(self, x: Tensor, attribute: Tensor) -> Tensor:
        """Return an attribute's direction [latent]: the mean latent of images that have it, minus that of the others.

        Args:
            x: images [N, 3, S, S] in [0, 1].
            attribute: 1 or 0 for each image [N].

        Raises:
            ValueError: all images have the attribute, or no image has it.
        """
        has = attribute.to(self.device) > 0.5
        if bool(has.all()) or not bool(has.any()):
            raise ValueError(f"expected images with and without the attribute: {int(has.sum())} of {len(has)} have it")
        z = self.encode(x.to(self.device))
        return z[has].mean(0) - z[~has].mean(0)

    def on_fit_start(self) -> None:
        """Check before training that the evaluator's weights file and the monitored metric exist."""
        check(self.evaluator, self.monitor, ("psnr", "ssim"))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute and log the loss and its terms; return the loss."""
        mean, logvar = self._encode(batch["x"])
        z = mean if logvar is None else mean + logvar.mul(0.5).exp() * self.random.normal(mean, *mean.shape[1:])
        loss: Tensor = self.loss(self.decode(z), batch["x"])
        terms = {"reconstruction": loss}
        if logvar is None:
            self._note(mean.detach())
        else:
            terms["kl"] = kl(mean, logvar).mean()
            loss = loss + self._weight() * terms["kl"] / batch["x"][0].numel()
        self.log_step(terms | {"loss": loss})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the metrics of a batch; images of the first batch are also kept as examples to show."""
        self._keep(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the metrics of a batch of the test split, as `validation_step` does."""
        self._keep(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of reconstructions and samples."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics of reconstructions and samples."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and its schedule, stepped every batch."""
        optimizer = self.optimizer(self.parameters())
        scheduler = self.scheduler(optimizer, planned_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the latents and None; if variational, return the latents' means and log-variances."""
        found: Tensor = self.encoder(x).float()
        if not self.variational:
            return found, None
        mean, logvar = found.chunk(2, dim=1)
        return mean, logvar.clamp(-20, 10)  # exp of larger values overflows in half precision

    def _weight(self) -> float:
        """Return the weight of the KL divergence at the current step."""
        rise = self.warmup * planned_steps(self.trainer)
        return self.beta * min(1.0, (self.global_step + 1) / rise) if rise > 0 else self.beta

    def _note(self, z: Tensor) -> None:
        weight = 1.0 if self.global_step == 0 else MOMENTUM
        mean = self.across(z.mean(0))
        self.latent_mean.lerp_(mean, weight)
        self.latent_std.lerp_(self.across((z - mean).square().mean(0)).sqrt(), weight)

    def _keep(self, batch: Batch, batch_idx: int) -> None:
        made, x = self(batch["x"]), batch["x"]
        if batch_idx == 0:
            _, *pairs = self.gather(batch["index"][:SHOWN], x[:SHOWN], made[:SHOWN])
            self.shown = torch.stack(pairs, dim=1)[:SHOWN]
        self._index.append(batch["index"])
        self._kept.append(torch.stack([generation.psnr(made, x), generation.ssim(made, x)], dim=1))
        self._seen.append(self.evaluator(x))

    def _finish(self, split: str) -> None:
        index, rows, real = (torch.cat(parts) for parts in (self._index, self._kept, self._seen))
        for kept in (self._index, self._kept, self._seen):
            kept.clear()
        found = evaluate_samples(self, self.evaluator, index, real)
        psnr, ssim = self.gather(index, rows.double())[1].mean(0).tolist()
        self.record(split, Results({"psnr": psnr, "ssim": ssim} | found))


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL divergence [B] in nats of N(mean, exp(logvar)) from N(0, 1) (arXiv 1312.6114, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)
