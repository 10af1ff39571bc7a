"""Training of diffusion models: a network learns to denoise images and can then generate images from pure noise."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from unmask.modules.latents import GOLDEN, film
from unmask.modules.latents import noise as noise_of
from unmask.modules.sample_metrics import check, evaluate_samples
from unmask.networks.kl import Codec
from unmask.training.contrast import info_nce
from unmask.training.evaluation import Results, planned_steps
from unmask.training.module import Batch, Module

KINDS = ("epsilon", "v_prediction")


class Diffusion(Module):
    """Train a denoiser (DDPM, arXiv 2006.11239) and generate images with a solver (arXiv 2010.02502, 2211.01095).

    Args:
        denoiser: (noisy images [B, 3, S, S], time [B], condition or None, whether it is known [B] or None) ->
            prediction. Its `condition` names the entry of a batch, `attributes` or `caption`, or is None, and its
            `shape` is that of one image. A denoiser with the condition `caption` has its text encoder as `text`.
        schedule: the noise schedule, a DDPMScheduler of diffusers. Its `prediction_type` says what the denoiser
            predicts: `epsilon` (the noise) or `v_prediction` (the velocity, arXiv 2202.00512).
        sampler: (parameters of the schedule) -> the diffusers scheduler that generates images.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total steps) -> learning-rate schedule, stepped every batch.
        evaluator: images in [0, 1] -> features [N, F], for the Frechet distance of samples; never trained.
        steps: number of sampling steps.
        guidance: scale of classifier-free guidance (arXiv 2207.12598); 1 uses only the conditional prediction, which
            takes half the time.
        condition_dropout: probability that an image's attributes are hidden in training, in [0, 1]; guidance needs a
            value above 0.
        snr: bound on the signal-to-noise ratio in the loss weights (min-SNR, arXiv 2303.09556); null for equal weights.
        perceptual: (estimated images, original images), both in [0, 1] -> distance. The estimated image is the clean
            image that the denoiser's prediction implies. Null for no perceptual loss.
        perceptual_weight: weight of the perceptual distance in the loss.
        ema: decay of the EMA of the denoiser's weights; 0 for no EMA. The EMA is used for sampling and validation. The
            decay starts lower and rises to this value, so that the initial weights fade out even in short runs.
        num_samples: maximum number of samples to evaluate, in total over all processes; 0 for no samples.
        evaluate_every: number of epochs between evaluations of samples during training.
        codec: a `networks.kl.Codec`: images -> latents and back. The denoiser then denoises latents (latent diffusion,
            arXiv 2112.10752). The codec is not trained. Null for a denoiser of pixels.
        matcher: a `networks.matcher.Matcher`, which helps to train the text encoder of the denoiser: in each batch, an
            image must be most similar to its own caption, and a caption to its own image (InfoNCE, as in CLIP, arXiv
            2103.00020). The loss of a denoiser alone changes little with small details such as a smile, so that a text
            encoder learns their words late. With several processes, each one compares its own samples only. Null for
            a text encoder that is already trained, or for a denoiser without text.
        monitor: the metric that selects the best checkpoint: `val/loss`, or a metric of samples such as
            `val/frechet_random`.
        mode: `min` if smaller values of `monitor` are better, else `max`.

    Raises:
        ValueError: a value is out of range, or there is a matcher, but no text encoder to train.
    """

    kind = "generator"
    one_pass = False  #: whether the network runs once per image
    alphas_cumprod: Tensor  #: the share of the clean image in a noisy image's variance, at each time [T]
    weight: Tensor  #: loss weight of each time [T]
    scale: Tensor  #: factor of the latents of a codec, after which their standard deviation is 1

    def __init__(
        self,
        denoiser: nn.Module,
        schedule: Any,
        sampler: Callable[..., Any],
        optimizer: Callable[[Iterator[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        evaluator: nn.Module,
        steps: int = 20,
        guidance: float = 1.0,
        condition_dropout: float = 0.1,
        snr: float | None = 5.0,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.1,
        ema: float = 0.999,
        num_samples: int = 256,
        evaluate_every: int = 1,
        monitor: str = "val/loss",
        mode: str = "min",
        codec: nn.Module | None = None,
        matcher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        kind, times = schedule.config.prediction_type, len(schedule.betas)
        _check_sampling(kind, times, steps)
        _check_training(condition_dropout, ema)
        _check_evaluation(num_samples, evaluate_every, monitor)
        _check_matcher(denoiser, matcher)
        self.denoiser, self.schedule, self.evaluator, self.codec = denoiser, schedule, evaluator, codec
        self.optimizer, self.scheduler, self.perceptual_weight = optimizer, scheduler, perceptual_weight
        self.matcher, self.steps, self.guidance, self.condition_dropout = matcher, steps, guidance, condition_dropout
        self.perceptual = perceptual and perceptual.requires_grad_(False)
        self.num_samples, self.evaluate_every, self.monitor, self.mode = num_samples, evaluate_every, monitor, mode
        betas = schedule.betas.tolist()
        self.solver: Any = sampler(num_train_timesteps=times, trained_betas=betas, prediction_type=kind)
        self.register_buffer("alphas_cumprod", schedule.alphas_cumprod.clone(), persistent=False)
        self.register_buffer("weight", loss_weights(self.alphas_cumprod, kind, snr), persistent=False)
        self.average = averaged(denoiser, ema) if ema else None
        self.register_buffer("scale", torch.ones(()), persistent=codec is not None)
        self._index, self._kept, self._seen, self._conditions = (list[Tensor]() for _ in range(4))

    @property
    def conditional(self) -> bool:  # type: ignore[override]
        """Whether generation is conditioned on attributes or captions."""
        return self.denoiser.condition is not None

    @property
    def conditioned_on(self) -> str:  # type: ignore[override]
        """The entry of a batch that generation is conditioned on."""
        return str(self.denoiser.condition or "attributes")

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the codec's tensors."""
        return frozenset(name for name in self.state_dict() if name.startswith("codec."))

    @property
    def network(self) -> Any:
        """The network used for sampling and validation: the EMA if there is one, else the denoiser."""
        return self.denoiser if self.average is None else self.average.module

    @torch.no_grad()
    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1]; each image's noise depends only on its seed, not on the batch.

        Args:
            n: number of images.
            seeds: one seed per image.
            condition: attributes [n, A] in [0, 1] or captions [n, N] for a conditional denoiser; None if unknown.
        """
        return self.make(self.noise(n, seeds), condition, seeds)

    def preview(self, count: int, condition: Tensor | None) -> Tensor:
        """Generate images [count, 1, 3, S, S] in [0, 1], one from each of the seeds 0 to count - 1."""
        return self.sample(count, range(count), condition)[:, None]

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Return the noise [n, 3, S, S], or that of latents, from which samples with these seeds are generated."""
        return noise_of(self.network.shape, n, seeds, self.device)

    @torch.no_grad()
    def make(self, z: Tensor, condition: Tensor | None = None, seeds: Sequence[int] | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from noise.

        Args:
            z: standard normal noise [n, 3, S, S].
            condition: attributes [n, A] or captions [n, N] for a conditional denoiser.
            seeds: one seed per image; only stochastic solvers use them, and most solvers are deterministic.
        """
        *_, (made, _) = self._denoised(z, condition, seeds)
        return self._images(made)

    @torch.no_grad()
    def states(self, seeds: Sequence[int], columns: int, condition: Tensor | None = None) -> Tensor:
        """Generate samples, and return estimates of them at several steps [n, columns, 3, S, S].

        The first column is the estimate after the first step, and the last one is the sample.
        """
        steps = [*self._denoised(self.noise(len(seeds), seeds), condition, seeds)]
        chosen = [steps[round(at)][1] for at in torch.linspace(0, len(steps) - 1, columns - 1).tolist()]
        return torch.stack([self._images(x) for x in (*chosen, steps[-1][0])], dim=1)

    @torch.no_grad()
    def _denoised(
        self, z: Tensor, condition: Tensor | None, seeds: Sequence[int] | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Denoise step by step; yield the result of each step, and the clean image that its prediction implies."""
        network, solver = self.network, self.solver
        # Advance each generator past the image's initial noise `z`, so that the solver draws new numbers.
        draws = None if seeds is None else [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        for draw in draws or ():
            torch.randn(z.shape[1:], generator=draw)
        condition = None if condition is None else condition.to(self.device)
        training = network.training
        network.eval()
        solver.set_timesteps(self.steps, device=self.device)
        x = z * solver.init_noise_sigma
        for t in solver.timesteps:
            times = t.expand(len(x))
            predicted = self._guided(solver.scale_model_input(x, t), times, condition)
            estimate = self._estimate(x, times, predicted)
            x = solver.step(predicted, t, x, generator=draws).prev_sample
            yield x, estimate
        network.train(training)

    def _clean(self, batch: Batch) -> Tensor:
        """Return the images of a batch in [-1, 1] or, with a codec, their latents."""
        x = 2 * batch["x"] - 1
        if self.codec is None:
            return x
        with torch.no_grad():
            latents = self._codec.encode(x) * self.scale
        if latents.shape[1:] != self.denoiser.shape:
            channels, side = latents.shape[1:3]
            raise ValueError(
                f"module.codec makes latents of {channels} x {side} x {side}: set module.denoiser.inside={channels} "
                f"and module.denoiser.image_size={side}"
            )
        return latents

    def _images(self, x: Tensor) -> Tensor:
        """Return images [n, 3, S, S] in [0, 1] of denoised images or latents."""
        images = x if self.codec is None else self._codec.decode(x / self.scale)
        return (images.float() + 1).clamp(0, 2) / 2

    @property
    def _codec(self) -> Codec:
        return cast(Codec, self.codec)

    def walk(self, seeds: Sequence[int], steps: int, size: int, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of a film that interpolates the noise of samples; see `latents.film`."""
        return film(self.make, self.noise(len(seeds), seeds), steps, size, condition)

    def _guided(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the denoiser's prediction, combined by classifier-free guidance if that is switched on."""
        if condition is None or self.guidance == 1 or not self.conditional:
            alone: Tensor = self.network(x, t, condition)
            return alone.float()
        known = torch.arange(2 * len(x), device=x.device) < len(x)
        both: Tensor = self.network(x.repeat(2, 1, 1, 1), t.repeat(2), condition.repeat(2, 1), known)
        conditional, unconditional = both.float().chunk(2)
        guided: Tensor = unconditional + self.guidance * (conditional - unconditional)
        return guided

    def on_fit_start(self) -> None:
        """Check before training that the evaluator's weights file and the monitored metric exist."""
        check(self.evaluator, self.monitor, ("loss",))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss for random times and random noise; log the loss and its terms."""
        if self.codec is not None and self.global_step == 0:
            with torch.no_grad():
                self.scale.copy_(self.across(self._codec.encode(2 * batch["x"] - 1).square().mean()).rsqrt())
        x = self._clean(batch)
        t = self.random.integers(len(self.alphas_cumprod), x)
        known = self.random.uniform(x) >= self.condition_dropout
        noise = self.random.normal(x, *x.shape[1:]).to(x.dtype)
        noisy, predicted = self._predict(self.denoiser, x, t, noise, batch, known)
        loss = (self.weight[t] * self._errors(predicted, x, t, noise)).mean()
        terms = {"denoising": loss}
        if self.perceptual is not None:
            terms["perceptual"] = self._perceptual_distance(x, t, noisy, predicted)
            loss = loss + self.perceptual_weight * terms["perceptual"]
        if self.matcher is not None:  # reads all captions; some are hidden from the denoiser
            terms["matching"] = info_nce(self.matcher(batch["x"], text_of(self.denoiser)(batch["caption"])))
            loss = loss + terms["matching"]
        self.log_step({"loss": loss} if len(terms) == 1 else terms | {"loss": loss})
        return loss

    def _predict(
        self, network: Any, x: Tensor, t: Tensor, noise: Tensor, batch: Batch, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the noisy images at times `t`, and the network's prediction for these images."""
        noisy: Tensor = self.schedule.add_noise(x, noise, t)
        predicted: Tensor = network(noisy, t, batch[self.conditioned_on] if self.conditional else None, known)
        return noisy, predicted.float()

    def _errors(self, predicted: Tensor, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared error [B] of each image's prediction."""
        learnt = noise if self.schedule.config.prediction_type == "epsilon" else self.schedule.get_velocity(x, noise, t)
        return (predicted - learnt).square().flatten(1).mean(1)

    def _perceptual_distance(self, x: Tensor, t: Tensor, noisy: Tensor, predicted: Tensor) -> Tensor:
        """Return the mean perceptual distance of estimated and original images; noisier images have less weight.

        The distance is computed from a blend: a x estimated + (1 - a) x original, where a is the amplitude of the clean
        image in the noisy image. A squared error is thus weighted by a^2, and an estimate from almost pure noise cannot
        become huge.
        """
        assert self.perceptual is not None
        amplitude = self.alphas_cumprod[t].sqrt()[:, None, None, None]
        made = x + amplitude * (self._estimate(noisy, t, predicted) - x)
        distance: Tensor = self.perceptual(self._shown(made), self._shown(x))
        return distance.mean()

    def _shown(self, x: Tensor) -> Tensor:
        """Return images for the perceptual distance, without limiting them to [0, 1]."""
        return ((x if self.codec is None else self._codec.decode(x / self.scale)) + 1) / 2

    def _estimate(self, noisy: Tensor, t: Tensor, predicted: Tensor) -> Tensor:
        """Return the clean images that the predictions for noisy images at times `t` imply."""
        amplitude = self.alphas_cumprod[t].sqrt()[:, None, None, None]
        rest = (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]
        if self.schedule.config.prediction_type == "epsilon":
            return (noisy - rest * predicted) / amplitude
        return amplitude * noisy - rest * predicted

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Step the optimizer, then update the EMA, so that a checkpoint of this step contains the updated EMA."""
        super().optimizer_step(*args, **options)
        if self.average is not None:
            self.average.update_parameters(self.denoiser)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the error of each image, with the same time and noise in every epoch, and features of real images."""
        self._keep(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the same values as `validation_step`, for the test split."""
        self._keep(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the loss and, every `evaluate_every` epochs, the metrics of samples."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Log the loss and the metrics of samples."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and its schedule, stepped every batch."""
        trained = [self.denoiser] if self.matcher is None else [self.denoiser, self.matcher]
        optimizer = self.optimizer(chain.from_iterable(part.parameters() for part in trained))
        scheduler = self.scheduler(optimizer, planned_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _keep(self, batch: Batch, split: str) -> None:
        x, index = self._clean(batch), batch["index"]
        t, noise = counted(index, x, len(self.alphas_cumprod))
        _, predicted = self._predict(self.network, x, t, noise, batch)
        self._index.append(index)
        self._kept.append(self._errors(predicted, x, t, noise).double())
        room = -(-self.num_samples // self.trainer.world_size) - sum(map(len, self._seen))
        if room > 0 and self._evaluates(split):
            self._seen.append(self.evaluator(batch["x"][:room]))
            if self.conditional:
                self._conditions.append(batch[self.conditioned_on][:room])

    def _evaluates(self, split: str) -> bool:
        """Return whether to evaluate samples now: during training, only every `evaluate_every` epochs."""
        training = split == "val" and self.trainer.state.fn == TrainerFn.FITTING
        return self.num_samples > 0 and (not training or (self.current_epoch + 1) % self.evaluate_every == 0)

    def _finish(self, split: str) -> None:
        kept = self._index, self._kept, self._seen, self._conditions
        index, errors, real, condition = (torch.cat(parts) if parts else None for parts in kept)
        assert index is not None and errors is not None
        for parts in kept:
            parts.clear()
        figures = {"loss": float(self.gather(index, errors)[1].mean())}
        if real is not None:
            index = index[: len(real)]
            figures |= evaluate_samples(self, self.evaluator, index, real, condition, self.num_samples)
        self.record(split, Results(figures))


def loss_weights(alphas_cumprod: Tensor, kind: str, snr: float | None) -> Tensor:
    """Return loss weights [T], so that the squared error of the clean image is weighted by min(SNR, `snr`).

    This is min-SNR weighting (arXiv 2303.09556). `kind` says what the denoiser predicts: one of `KINDS`. If `snr` is
    None, all weights are 1.
    """
    if snr is None:
        return torch.ones_like(alphas_cumprod)
    if snr <= 0:
        raise ValueError(f"module.snr={snr}: expected a number above 0, such as 5, or null")
    ratio = alphas_cumprod.double() / (1 - alphas_cumprod.double())
    return (ratio.clamp(max=snr) / (ratio if kind == "epsilon" else ratio + 1)).to(alphas_cumprod)


def counted(index: Tensor, like: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Return a time [B] and noise [B, ...] for each sample, derived from its index; the times are evenly spread."""
    rows = index.tolist()
    t = [int((row + 1) * GOLDEN % 1 * times) for row in rows]
    noise = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows]
    return torch.tensor(t, device=like.device), torch.stack(noise).to(like.device)


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Return an EMA of a network's weights, which is updated by `ema_update`."""
    average = AveragedModel(network, multi_avg_fn=partial(ema_update, decay=decay))
    return average.requires_grad_(False)  # otherwise DDP would wait for its gradients


def ema_update(average: list[Tensor], current: list[Tensor], count: Tensor, decay: float) -> None:
    """Update an EMA in place, with decay min(`decay`, (1 + count) / (10 + count)) after `count` earlier updates."""
    done = int(count)
    torch._foreach_lerp_(average, current, 1 - min(decay, (1 + done) / (10 + done)))


def _check_sampling(kind: str, times: int, steps: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"module.schedule.prediction_type={kind}: expected one of {', '.join(KINDS)}")
    if not 1 <= steps <= times:
        raise ValueError(f"module.steps={steps}: expected 1 to {times}, the number of steps of module.schedule")


def _check_training(condition_dropout: float, ema: float) -> None:
    if not 0 <= condition_dropout <= 1 or not 0 <= ema < 1:
        raise ValueError(
            f"module.condition_dropout={condition_dropout}, module.ema={ema}: expected "
            "condition_dropout from 0 to 1, and ema from 0 to below 1"
        )


def text_of(denoiser: nn.Module) -> nn.Module:
    """Return the text encoder of a denoiser that is conditioned on captions."""
    return cast(nn.Module, denoiser.text)


def _check_matcher(denoiser: nn.Module, matcher: nn.Module | None) -> None:
    if matcher is None:
        return
    if denoiser.condition != "caption" or not any(p.requires_grad for p in text_of(denoiser).parameters()):
        raise ValueError("module.matcher: the denoiser has no text encoder to train; set module.matcher=null")


def _check_evaluation(num_samples: int, evaluate_every: int, monitor: str) -> None:
    if num_samples < 0 or num_samples == 1 or evaluate_every < 1:
        raise ValueError(
            f"module.num_samples={num_samples}, module.evaluate_every={evaluate_every}: "
            "expected num_samples of 0 or at least 2, and evaluate_every of at least 1"
        )
    if monitor != "val/loss" and (evaluate_every > 1 or not num_samples):
        raise ValueError(
            f"module.monitor={monitor} is not computed after every epoch; set module.evaluate_every=1 and "
            "module.num_samples above 1, or module.monitor=val/loss"
        )
