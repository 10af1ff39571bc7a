"""Adversarial training of one generator against one discriminator."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unmask.modules.by_hand import count_batch, learn, updates_now
from unmask.modules.latents import lines, noise, walk
from unmask.modules.sample_metrics import check, evaluate_samples
from unmask.networks.generators import GeneratorNetwork
from unmask.networks.layout import use_channels_last
from unmask.training.adversarial import Adversarial
from unmask.training.diffaug import Augment
from unmask.training.evaluation import Results
from unmask.training.module import Batch, Module
from unmask.training.penalties import R1, PathLength

COLLAPSED = 0.25  # a std_ratio (see sample_metrics) below this value suggests mode collapse
NEWEST = 0.005  # weight of the newest batch in the running mean of styles, after the first 200 updates


class GAN(Module):
    """Train a generator with an adversarial loss (arXiv 1406.2661).

    Optimization is manual. A batch counts as one step, whichever networks it updates, so that `max_steps` counts
    batches.

    Args:
        generator: a `networks.generators.GeneratorNetwork`, which makes images [B, 3, S, S] in about [-1, 1].
        discriminator: (images, attributes or None) -> score [B]; larger means real.
        loss: a `training.adversarial.Adversarial`.
        optimizer_g: parameters -> optimizer, for the generator.
        optimizer_d: parameters -> optimizer, for the discriminator.
        evaluator: images in [0, 1] -> features [N, F], for the Frechet distance in validation; never trained.
        d_steps: number of discriminator updates per generator update.
        clip: maximum gradient norm of an update; null for no clipping.
        ema: decay of the EMA of the generator's weights (arXiv 1806.04498), used for all samples; 0 for no EMA.
        augment: differentiable augmentation of real and fake images before the discriminator, of fixed strength
            (`training.diffaug.DiffAugment`) or adaptive (`training.ada.ADA`).
        penalty_d: penalty on the discriminator's gradient at real images, computed at every few updates; null for none.
        penalty_g: penalty on the path lengths of a style-based generator, computed at every few updates; null for none.
        monitor: the metric that selects the best checkpoint, such as `val/frechet_NAME` (NAME is the evaluator's name)
            or, if the evaluator is the published network, `val/fid`.
        mode: `min` if smaller values of `monitor` are better, else `max`.
        channels_last: use the channels-last layout for convolution weights, which is faster on most devices (both
            networks of StyleGAN2 on a CPU, forward and backward: 0.8 of the time); results differ by rounding only.
    """

    kind = "generator"
    one_pass = True  #: whether the network runs once per image
    unused_parameters = True  #: DDP must expect that each backward pass reaches only one of the two networks
    updates: Tensor  #: number of updates of the generator, number of updates of the discriminator [2]

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Adversarial,
        optimizer_g: Callable[[Iterator[Parameter]], Optimizer],
        optimizer_d: Callable[[Iterator[Parameter]], Optimizer],
        evaluator: nn.Module,
        d_steps: int = 1,
        clip: float | None = None,
        ema: float = 0.0,
        augment: Augment | None = None,
        monitor: str = "val/frechet_random",
        mode: str = "min",
        penalty_d: R1 | None = None,
        penalty_g: PathLength | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if d_steps < 1:
            raise ValueError(f"module.d_steps={d_steps}: expected 1 or more")
        if not 0 <= ema < 1:
            raise ValueError(f"module.ema={ema}: expected a decay from 0 to below 1, such as 0.999")
        self.automatic_optimization = False
        self.generator, self.discriminator, self.loss, self.evaluator = generator, discriminator, loss, evaluator
        self.optimizer_g, self.optimizer_d = optimizer_g, optimizer_d
        self.d_steps, self.clip, self.augment = d_steps, clip, augment
        if channels_last:
            use_channels_last(generator)
            use_channels_last(discriminator)
        self.penalty_d, self.penalty_g, self.truncation = penalty_d, penalty_g, 1.0
        if penalty_g is not None and self._trained.mean is None:
            raise ValueError("module.penalty_g needs a style-based generator, such as module/generator=stylegan2")
        decay = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(generator, multi_avg_fn=decay, use_buffers=True) if ema else None
        self.monitor, self.mode = monitor, mode
        self.register_buffer("updates", torch.zeros(2, dtype=torch.int64))
        self._losses: dict[str, Tensor] = {}  # of the last batch that trained each network, times its `share`
        self._index, self._seen, self._conditions = list[Tensor](), list[Tensor](), list[Tensor]()

    @property
    def conditional(self) -> bool:  # type: ignore[override]
        """Whether generation is conditioned on attributes."""
        return self._trained.attributes > 0

    @property
    def _trained(self) -> GeneratorNetwork:
        """The generator that is trained."""
        return cast(GeneratorNetwork, self.generator)

    @property
    def _averaged(self) -> GeneratorNetwork:
        """The generator of all samples: the EMA if there is one, else the generator that is trained."""
        return self._trained if self.average is None else cast(GeneratorNetwork, self.average.module)

    @torch.no_grad()
    def sample(self, n: int, seeds: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1]; all random numbers of an image depend only on its seed.

        Args:
            n: number of images.
            seeds: one seed per image.
            condition: attributes [n, A] in [0, 1] for a conditional generator.
        """
        return self.make(self.noise(n, seeds), condition)

    def preview(self, count: int, condition: Tensor | None) -> Tensor:
        """Generate images [count, 1, 3, S, S] in [0, 1], one from each of the seeds 0 to count - 1."""
        return self.sample(count, range(count), condition)[:, None]

    def truncate(self, truncation: float) -> None:
        """Move the styles of all later samples towards their mean; see `Module.truncate`."""
        if self._trained.mean is None:
            super().truncate(truncation)
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation={truncation}: expected a number from 0 (the average image) to 1 (as trained)")
        self.truncation = truncation

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Return the random numbers [n, inputs] from which samples with these seeds are generated."""
        return noise([self._trained.inputs], n, seeds, self.device)

    @torch.no_grad()
    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from random numbers [n, inputs] and, if conditional, attributes."""
        condition = None if condition is None else condition.to(self.device)
        network = self._averaged
        training = network.training
        network.train(False)
        made = network.render(self._codes(network, z, condition), z, condition)
        network.train(training)
        return _in_unit_range(made)

    @torch.no_grad()
    def walk(self, seeds: Sequence[int], steps: int, size: int, condition: Tensor | None = None) -> Iterator[Tensor]:
        """Yield batches of a film that interpolates the codes of samples, with the noise of the first sample.

        Args:
            seeds: one seed for each sample; from the last one, the film returns to the first.
            steps: number of images from each sample to the next.
            size: number of images in a batch.
            condition: attributes [1, A] of all images, for a conditional generator.
        """
        z = self.noise(len(seeds), seeds)
        condition = None if condition is None else condition.to(self.device)
        with _in_eval_mode(self._averaged) as network:
            stops = self._codes(network, z, _repeated(condition, len(z)))
            between = walk if network.mean is None else lines
            for part in torch.split(between(stops, steps), size):
                fixed = z[:1].expand(len(part), -1)
                yield _in_unit_range(network.render(part, fixed, _repeated(condition, len(part))))

    def _codes(self, network: GeneratorNetwork, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return the codes of samples; styles are moved towards their mean (arXiv 1812.04948, appendix B)."""
        codes = network.codes(z, condition)
        return codes if network.mean is None else network.mean + self.truncation * (codes - network.mean)

    def on_fit_start(self) -> None:
        """Check before training that the evaluator's weights file and the monitored metric exist."""
        check(self.evaluator, self.monitor)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Train the discriminator; at every `d_steps`-th update of the discriminator, also train the generator."""
        both: Any = self.optimizers()
        last = updates_now(self, batch_idx)
        turn = (int(self.updates[1]) + 1) % self.d_steps == 0
        real, attributes = 2 * batch["x"] - 1, batch.get("attributes")
        found = {"loss_d": learn(self, both[1], lambda: self._discriminate(real, attributes), last, self.clip)}
        if turn:
            found["loss_g"] = learn(self, both[0], lambda: self._generate(real, attributes), last, self.clip)
        if last:
            self.updates[1] += 1
            self.updates[0] += turn
        if last and turn and self.average is not None:
            self.average.update_parameters(self.generator)
        self._losses |= {name: loss * self.share for name, loss in found.items()}
        self.log_step(self._losses | ({} if self.augment is None else self.augment.state()), self._losses, share=1.0)
        count_batch(self)
        return torch.stack([*found.values()]).sum()

    def _discriminate(self, real: Tensor, attributes: Tensor | None) -> Tensor:
        with torch.no_grad():
            fake = self._trained(self._latents(real), attributes)
        # Real and fake images are separate batches, as in the paper; in one batch, batch norm would mix statistics.
        shown = self._augmented(real)
        scores = [self.discriminator(x, attributes) for x in (shown, self._augmented(fake))]
        loss = self.loss.discriminator(*scores)
        loss = loss + self.loss.penalty(lambda x: self.discriminator(x, attributes), real, fake, self.random)
        if self.augment is not None:
            self.augment.watch(self.across(scores[0].detach().float().sign().mean()), self.counts[1])
        if self.penalty_d is not None and int(self.updates[1]) % self.penalty_d.every == 0:
            loss = loss + self.penalty_d(lambda x: self.discriminator(x, attributes), shown)
        return loss

    def _generate(self, real: Tensor, attributes: Tensor | None) -> Tensor:
        network, z = self._trained, self._latents(real)
        codes = network.codes(z, attributes)
        if network.mean is not None:
            weight = max(NEWEST, 1 / (1 + int(self.updates[0])))
            network.mean.lerp_(self.across(codes[:, 0].detach().mean(0)), weight)
        fake = network.render(codes, z, attributes)
        loss = self.loss.generator(self.discriminator(self._augmented(fake), attributes))
        if self.penalty_g is not None and int(self.updates[0]) % self.penalty_g.every == 0:
            z = self._latents(real)
            codes = network.codes(z, attributes)
            loss = loss + self.penalty_g(lambda c: network.render(c, z, attributes), codes, self.random, self.across)
        return loss

    def _latents(self, real: Tensor) -> Tensor:
        """Draw the random numbers of a generated image for each real image."""
        return self.random.normal(real, self._trained.inputs)

    def _augmented(self, x: Tensor) -> Tensor:
        return x if self.augment is None else self.augment(x, self.random)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the evaluator's features of the real images and, if conditional, the attributes of the real images."""
        self._keep(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Store the same values as `validation_step`, for the test split."""
        self._keep(batch)

    def _keep(self, batch: Batch) -> None:
        self._index.append(batch["index"])
        self._seen.append(self.evaluator(batch["x"]))
        if self.conditional:
            self._conditions.append(batch["attributes"])

    def on_validation_epoch_end(self) -> None:
        """Generate one image per real image and log the metrics of the generated images."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Generate one image per real image of the test split and log the metrics of the generated images."""
        self._finish("test")

    def _finish(self, split: str) -> None:
        kept = self._index, self._seen, self._conditions
        index, real, condition = (torch.cat(parts) if parts else None for parts in kept)
        assert index is not None and real is not None
        for parts in kept:
            parts.clear()
        figures = evaluate_samples(self, self.evaluator, index, real, condition)
        self.record(split, Results(figures))
        std_ratio = figures["std_ratio"]
        if split == "val" and std_ratio < COLLAPSED and self.updates[0] > 0:
            warnings.warn(
                f"samples vary only {std_ratio:.0%} as much as real images (epoch {self.current_epoch}): the "
                "generator may have collapsed; try module/diffaug@module.augment=all, or a lower learning rate",
                stacklevel=2,
            )

    def configure_optimizers(self) -> list[Optimizer]:
        """Build the optimizers of the generator and the discriminator."""
        return [self.optimizer_g(self.generator.parameters()), self.optimizer_d(self.discriminator.parameters())]


@contextmanager
def _in_eval_mode(network: GeneratorNetwork) -> Iterator[GeneratorNetwork]:
    """Switch a network to evaluation mode, and back to its former mode."""
    training = network.training
    network.train(False)
    try:
        yield network
    finally:
        network.train(training)


def _in_unit_range(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to [0, 1]."""
    return (images.float() + 1).clamp(0, 2) / 2


def _repeated(condition: Tensor | None, count: int) -> Tensor | None:
    """Repeat the attributes [1, A] of one image for several images."""
    return None if condition is None else condition.expand(count, -1)
