"""Diffusion: a network learns to take noise off pictures, and makes them from noise alone."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from unmask.modules.by_hand import gather
from unmask.modules.latents import noise as noise_of
from unmask.modules.sample_metrics import check, evaluate_samples
from unmask.training.evaluation import Results, planned_steps
from unmask.training.module import Module

Batch = dict[str, Tensor]
GOLDEN = 0.6180339887498949  # multiples of it, less their whole part, are spread evenly however many are taken
KINDS = ("epsilon", "v_prediction")


class Diffusion(Module):
    """Train a denoiser (DDPM, arXiv 2006.11239) and sample by a solver (arXiv 2010.02502, 2211.01095).

    Args:
        denoiser: (noisy pictures [B, 3, S, S], time [B], attributes or None, whether they are told) -> prediction.
        schedule: diffusers' DDPMScheduler: how much noise at which time; `prediction_type` is `epsilon`, the noise, or
            `v_prediction` (arXiv 2202.00512).
        sampler: (what the schedule says) -> a scheduler of diffusers that goes from noise to pictures.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total steps) -> schedule of the rate, stepped every batch.
        evaluator: pictures in [0, 1] -> features [N, F], for the Frechet distance of samples; never trained.
        steps: of sampling.
        guidance: how far samples go from what is made without attributes through what is made with them; 1 takes the
            latter as it is and costs half as much (arXiv 2207.12598).
        condition_dropout: probability that a picture's attributes are not told in training, in [0, 1]; guidance
            wants some.
        snr: bound of the signal-to-noise ratio in the loss's weights (min-SNR, arXiv 2303.09556); null weighs alike.
        perceptual: (made, original), both [0, 1] -> distance, of the picture that the prediction amounts to.
        perceptual_weight: of it.
        ema: decay of the denoiser's running average, which samples come from and validation looks at; 0 for none. It
            rises to this value, so that a short training does not keep its beginning.
        num_samples: at most so many samples are evaluated, over all processes; 0 for none.
        evaluate_every: epochs between two evaluations in training.
        monitor: the figure that picks the best checkpoint; `val/loss`, or one of the evaluator's.
        mode: `min` where smaller is better.
    """

    kind = "generator"
    alphas_cumprod: Tensor  #: share of the variance that is the picture's, at each time [T]
    weight: Tensor  #: of each time in the loss [T]

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
    ) -> None:
        super().__init__()
        kind, times = schedule.config.prediction_type, len(schedule.betas)
        _check_sampling(kind, times, steps)
        _check_training(condition_dropout, ema)
        _check_evaluation(num_samples, evaluate_every, monitor)
        self.denoiser, self.schedule, self.evaluator = denoiser, schedule, evaluator
        self.optimizer, self.scheduler = optimizer, scheduler
        self.steps, self.guidance, self.condition_dropout = steps, guidance, condition_dropout
        self.perceptual = perceptual and perceptual.requires_grad_(False)
        self.perceptual_weight = perceptual_weight
        self.num_samples, self.evaluate_every, self.monitor, self.mode = num_samples, evaluate_every, monitor, mode
        self.solver: Any = sampler(
            num_train_timesteps=times, trained_betas=schedule.betas.tolist(), prediction_type=kind
        )
        self.register_buffer("alphas_cumprod", schedule.alphas_cumprod.clone(), persistent=False)
        self.register_buffer("weight", loss_weights(self.alphas_cumprod, kind, snr), persistent=False)
        self.average = AveragedModel(denoiser, multi_avg_fn=partial(ema_update, decay=ema)) if ema else None
        if self.average is not None:
            self.average.requires_grad_(False)  # else DDP would wait for its gradients
        self._kept, self._seen, self._conditions = list[Tensor](), list[Tensor](), list[Tensor]()

    @property
    def conditional(self) -> bool:  # type: ignore[override]
        """Whether pictures are made by attributes."""
        return bool(getattr(self.denoiser, "attributes", 0))

    @property
    def network(self) -> Any:
        """What samples come from."""
        return self.denoiser if self.average is None else self.average.module

    @torch.no_grad()
    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """New pictures [n, 3, S, S] in [0, 1]; a seed gives the same noise whatever else is in the batch.

        Args:
            n: how many.
            seeds: one a picture.
            condition: attributes [n, A] in [0, 1], where the denoiser is conditional; None tells it nothing.
        """
        return self.make(self.noise(n, seeds), condition, seeds)

    def preview(self, count: int, condition: Tensor | None) -> Tensor:
        """Samples of the seeds 0, 1, 2, ... [count, 1, 3, S, S] in [0, 1]."""
        return self.sample(count, range(count), condition)[:, None]

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """The noise [n, 3, S, S] that samples of these seeds are made from."""
        side = self.network.image_size
        return noise_of([3, side, side], n, seeds, self.device)

    @torch.no_grad()
    def make(self, z: Tensor, condition: Tensor | None = None, seeds: Sequence[int] | None = None) -> Tensor:
        """Noise [n, 3, S, S], attributes [n, A] where it is conditional -> pictures [n, 3, S, S] in [0, 1].

        Args:
            z: standard normal.
            condition: attributes.
            seeds: of a solver that draws on its way; the usual ones do not.
        """
        network, solver = self.network, self.solver
        # Drawn after the picture's own noise, as if from one source.
        draws = None if seeds is None else [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        for draw in draws or ():
            torch.randn(z.shape[1:], generator=draw)
        condition = None if condition is None else condition.to(self.device)
        training = network.training
        network.eval()
        solver.set_timesteps(self.steps, device=self.device)
        x = z * solver.init_noise_sigma
        for t in solver.timesteps:
            predicted = self._guided(solver.scale_model_input(x, t), t.expand(len(x)), condition)
            x = solver.step(predicted, t, x, generator=draws).prev_sample
        network.train(training)
        made: Tensor = (x + 1).clamp(0, 2) / 2
        return made

    def _guided(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """The prediction, led away from what is predicted without attributes."""
        if condition is None or self.guidance == 1 or not self.conditional:
            alone: Tensor = self.network(x, t, condition)
            return alone.float()
        known = torch.arange(2 * len(x), device=x.device) < len(x)
        both: Tensor = self.network(x.repeat(2, 1, 1, 1), t.repeat(2), condition.repeat(2, 1), known)
        told, untold = both.float().chunk(2)
        led: Tensor = untold + self.guidance * (told - untold)
        return led

    def on_fit_start(self) -> None:
        """Tell what the evaluator lacks before anything is learnt."""
        check(self.evaluator, self.monitor, ("loss",))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step at times and noise that are drawn; logs the loss and its parts."""
        x = 2 * batch["x"] - 1
        t = torch.randint(len(self.alphas_cumprod), (len(x),), device=x.device)
        known = torch.rand(len(x), device=x.device) >= self.condition_dropout
        noise = torch.randn_like(x)
        noisy, predicted = self._predict(self.denoiser, x, t, noise, batch, known)
        loss = (self.weight[t] * self._errors(predicted, x, t, noise)).mean()
        if self.perceptual is not None:
            distance = self._look(x, t, noisy, predicted)
            self.log("train/denoising", loss)
            self.log("train/perceptual", distance)
            loss = loss + self.perceptual_weight * distance
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _predict(
        self, network: Any, x: Tensor, t: Tensor, noise: Tensor, batch: Batch, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Noisy pictures, and what is predicted of them."""
        noisy: Tensor = self.schedule.add_noise(x, noise, t)
        predicted: Tensor = network(noisy, t, batch["attributes"] if self.conditional else None, known)
        return noisy, predicted.float()

    def _errors(self, predicted: Tensor, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of each picture [B]."""
        learnt = noise if self.schedule.config.prediction_type == "epsilon" else self.schedule.get_velocity(x, noise, t)
        return (predicted - learnt).square().flatten(1).mean(1)

    def _look(self, x: Tensor, t: Tensor, noisy: Tensor, predicted: Tensor) -> Tensor:
        """The perceptual distance, less of it where little of the picture is left.

        What is estimated is moved towards the original by the signal's amplitude: a squared error then counts by the
        share of the signal, and an estimate out of nearly nothing cannot blow up.
        """
        assert self.perceptual is not None
        amplitude = self.alphas_cumprod[t].sqrt()[:, None, None, None]
        rest = (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]
        if self.schedule.config.prediction_type == "epsilon":
            estimate = (noisy - rest * predicted) / amplitude
        else:
            estimate = amplitude * noisy - rest * predicted
        made = x + amplitude * (estimate - x)
        distance: Tensor = self.perceptual((made + 1) / 2, (x + 1) / 2)
        return distance.mean()

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Step, then move the running average: before any checkpoint of this step is written."""
        super().optimizer_step(*args, **options)
        if self.average is not None:
            self.average.update_parameters(self.denoiser)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep a batch's errors at fixed times and noise, and what the evaluator sees in real pictures."""
        self._keep(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same of the test split."""
        self._keep(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Gather, and evaluate samples where it is time."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Gather, and evaluate samples."""
        self._finish("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, its schedule stepped every batch."""
        optimizer = self.optimizer(self.denoiser.parameters())
        scheduler = self.scheduler(optimizer, planned_steps(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _keep(self, batch: Batch, split: str) -> None:
        x, index = 2 * batch["x"] - 1, batch["index"]
        t, noise = counted(index, x, len(self.alphas_cumprod))
        _, predicted = self._predict(self.network, x, t, noise, batch)
        self._kept.append(torch.stack([index.double(), self._errors(predicted, x, t, noise).double()]))
        room = -(-self.num_samples // self.trainer.world_size) - sum(map(len, self._seen))
        if room > 0 and self._evaluates(split):
            self._seen.append(self.evaluator(batch["x"][:room]))
            if self.conditional:
                self._conditions.append(batch["attributes"][:room])

    def _evaluates(self, split: str) -> bool:
        """Whether samples are evaluated this time: always outside of training."""
        training = split == "val" and self.trainer.state.fn == TrainerFn.FITTING
        return self.num_samples > 0 and (not training or (self.current_epoch + 1) % self.evaluate_every == 0)

    def _finish(self, split: str) -> None:
        rows, seen, conditions = torch.cat(self._kept, dim=1), [*self._seen], [*self._conditions]
        for kept in (self._kept, self._seen, self._conditions):
            kept.clear()
        rows = gather(self, rows)
        figures = {"loss": float(rows[1].mean())}
        if seen:
            figures |= evaluate_samples(
                self, self.evaluator, torch.cat(seen), torch.cat(conditions) if conditions else None
            )
        self.record(split, Results(figures))


def loss_weights(alphas_cumprod: Tensor, kind: str, snr: float | None) -> Tensor:
    """Weight of each time's squared error [T], such that it is min(SNR, snr) of the picture's (arXiv 2303.09556)."""
    if snr is None:
        return torch.ones_like(alphas_cumprod)
    if snr <= 0:
        raise ValueError(f"module.snr={snr}: expected a bound above 0, such as 5, or null")
    ratio = alphas_cumprod.double() / (1 - alphas_cumprod.double())
    return (ratio.clamp(max=snr) / (ratio if kind == "epsilon" else ratio + 1)).to(alphas_cumprod)


def counted(index: Tensor, like: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Time [B] and noise [B, ...] of each sample, by its index alone; times are spread evenly over the samples."""
    rows = index.tolist()
    t = [int((row + 1) * GOLDEN % 1 * times) for row in rows]
    noise = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows]
    return torch.tensor(t, device=like.device), torch.stack(noise).to(like.device)


def ema_update(average: list[Tensor], current: list[Tensor], count: Tensor, decay: float) -> None:
    """One update of a running average, after `count` others: its decay rises to `decay` as (1 + n) / (10 + n)."""
    done = int(count)
    torch._foreach_lerp_(average, current, 1 - min(decay, (1 + done) / (10 + done)))


def _check_sampling(kind: str, times: int, steps: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"module.schedule.prediction_type={kind}: expected one of {', '.join(KINDS)}")
    if not 1 <= steps <= times:
        raise ValueError(f"module.steps={steps}: expected 1 to {times}, the times of module.schedule")


def _check_training(condition_dropout: float, ema: float) -> None:
    if not 0 <= condition_dropout <= 1 or not 0 <= ema < 1:
        raise ValueError(
            f"module.condition_dropout={condition_dropout}, module.ema={ema}: expected a probability, and a decay "
            "from 0 to below 1"
        )


def _check_evaluation(num_samples: int, evaluate_every: int, monitor: str) -> None:
    if num_samples < 0 or num_samples == 1 or evaluate_every < 1:
        raise ValueError(
            f"module.num_samples={num_samples}, module.evaluate_every={evaluate_every}: "
            "expected 0 or 2 and more, 1 or more"
        )
    if monitor != "val/loss" and (evaluate_every > 1 or not num_samples):
        raise ValueError(
            f"module.monitor={monitor} is not known after each epoch; set module.evaluate_every=1 and "
            "module.num_samples above 1, or module.monitor=val/loss"
        )
