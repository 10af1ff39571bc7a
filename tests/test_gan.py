"""GANs: the published network, losses by hand, update counts, seeds, resuming, and figures against other libraries."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import ModelCheckpoint
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, Dataset

from conftest import compose, fit_quietly, unmask
from unmask.evaluation.swaps import SwapFigures
from unmask.metrics import generation
from unmask.modules.faceswap import inside
from unmask.modules.gan import GAN
from unmask.modules.sample_metrics import figures
from unmask.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from unmask.networks.embeddings import ClassEmbedding
from unmask.networks.evaluators import RandomFeatures
from unmask.provenance import PAYLOAD, read_marks
from unmask.runs.run import Run
from unmask.training.adversarial import CrossEntropy, Hinge, WassersteinGP
from unmask.training.callbacks import SeedEachStep
from unmask.training.reconstruction import Reconstruction
from unmask.training.samples import grid

# ---- the networks ----


def test_dcgan_has_the_published_sizes():
    """Weights counted by hand from arXiv 1511.06434, figure 1: 4x4 kernels, 100 -> 512, 256, 128, 64, 3 channels."""
    made, discriminator = DCGANGenerator(), DCGANDiscriminator()
    kernels = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    norms = 2 * (512 + 256 + 128 + 64)
    assert sum(p.numel() for p in made.parameters()) == kernels + norms == 3_576_704
    kernels = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in discriminator.parameters()) == kernels + 2 * (128 + 256 + 512) == 2_765_568
    for network in (made, discriminator):
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert len(convolutions) == 5 and all(m.bias is None for m in convolutions)
    weight = torch.cat([p.flatten() for p in made.parameters() if p.ndim == 4])
    assert float(weight.std()) == pytest.approx(0.02, rel=0.01) and abs(float(weight.mean())) < 1e-4
    x = made(torch.randn(2, 100))
    assert x.shape == (2, 3, 64, 64) and x.abs().max() <= 1 and discriminator(x).shape == (2,)


def layer_by_layer() -> tuple[nn.Sequential, nn.Sequential]:
    """The study's generator and discriminator, written down layer by layer; the discriminator ends in a sigmoid."""
    generator = nn.Sequential(
        nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        nn.ConvTranspose2d(512, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2),
        nn.Conv2d(128, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.LeakyReLU(0.2),
        nn.Conv2d(256, 512, 4, 2, 1, bias=False), nn.BatchNorm2d(512), nn.LeakyReLU(0.2),
        nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten(), nn.Sigmoid(),
    )  # fmt: skip
    return generator, discriminator


@torch.no_grad()
def test_dcgan_computes_what_its_layers_compute_one_by_one():
    """With the same weights, in training mode (batch statistics): the same images, scores and losses."""
    generator, discriminator = layer_by_layer()
    made, judge = DCGANGenerator(), DCGANDiscriminator()
    for ours, theirs in ((made, generator), (judge, discriminator)):
        values = [v for v in ours.state_dict().values()]
        theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    z, real = torch.randn(4, 100), 2 * torch.rand(4, 3, 64, 64) - 1
    fake = generator(z[:, :, None, None])
    torch.testing.assert_close(made(z), fake)
    scores = [judge(x) for x in (real, fake)]
    p, q = (discriminator(x)[:, 0] for x in (real, fake))
    torch.testing.assert_close(scores[0].sigmoid(), p)
    bce = nn.functional.binary_cross_entropy
    expected = bce(p, torch.ones(4)) + bce(q, torch.zeros(4))
    torch.testing.assert_close(CrossEntropy().discriminator(*scores), expected)
    torch.testing.assert_close(CrossEntropy().generator(scores[1]), bce(q, torch.ones(4)))


def test_the_presets_are_the_study():
    for preset in ("celeba/dcgan", "celeba/cgan"):
        cfg = compose("train", [f"experiment={preset}", "paths.out=out"])
        assert (cfg.trainer.max_epochs, cfg.data.batch_size, cfg.image_size) == (100, 64, 64)
        for optimizer in (cfg.module.optimizer_g, cfg.module.optimizer_d):
            assert (optimizer.lr, list(optimizer.betas)) == (2e-4, [0.5, 0.999])
        assert (cfg.module.generator.latent, cfg.module.generator.filters) == (100, 64)
        assert cfg.module.discriminator.norm == "batch" and cfg.module.d_steps == 1


@pytest.mark.parametrize("condition", ["projection", "concat"])
def test_the_embedding_of_a_class_changes_the_image_and_learns_only_from_its_class(condition):
    """Two attributes make four classes; the class of (1, 0) is 1 and that of (0, 1) is 2."""
    torch.manual_seed(0)
    made = DCGANGenerator(8, latent=5, filters=4, attributes=2, embedding=3, embed=ClassEmbedding).eval()
    judge = DCGANDiscriminator(8, filters=4, attributes=2, condition=condition, norm="none", embed=ClassEmbedding)
    assert made.embed.weight.shape == (4, 3) and made.layers[0].weight.shape[:2] == (8, 4)
    combinations = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert torch.equal(made.embed(combinations), made.embed.weight)
    z = torch.randn(1, 5)
    images = made(z.expand(4, -1), combinations)
    scores = judge(images[:1].detach().expand(4, -1, -1, -1), combinations)
    for at in range(4):
        for other in range(at):
            assert not torch.allclose(images[at], images[other], atol=1e-4), "the same latent in another class"
            assert not torch.allclose(scores[at], scores[other], atol=1e-6), "the same image in another class"
    chosen = combinations[[1, 2]]
    judge(made(torch.randn(2, 5), chosen), chosen).sum().backward()
    table = judge.projected if condition == "projection" else judge.drawn
    for embedding in (made.embed, table):
        assert embedding.weight.grad.abs().sum(1).gt(0).tolist() == [False, True, True, False]


def test_a_class_is_embedded_where_the_latent_is():
    """The first layer sees latent and embedding side by side: by hand, one product with the joined vector."""
    made = DCGANGenerator(8, latent=5, filters=4, attributes=1, embedding=3, embed=ClassEmbedding).eval()
    seen = []
    made.layers[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    z = torch.randn(2, 5)
    made(z, torch.tensor([[1.0], [0.0]]))
    torch.testing.assert_close(seen[0][:, :, 0, 0], torch.cat([z, made.embed.weight[[1, 0]]], dim=1))
    with pytest.raises(ValueError, match="13 attributes make 2\\^13 classes"):
        ClassEmbedding(13, 2)


@pytest.mark.parametrize("size", [8, 32, 128])
@pytest.mark.parametrize("condition", ["projection", "concat"])
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_other_sizes_and_conditions(size, condition, norm):
    made = DCGANGenerator(size, latent=5, filters=4, attributes=2)
    discriminator = DCGANDiscriminator(size, filters=4, attributes=2, condition=condition, norm=norm, spectral=True)
    z, yes, no = torch.randn(3, 5), torch.ones(3, 2), torch.zeros(3, 2)
    x = made(z, yes)
    assert x.shape == (3, 3, size, size)
    assert not torch.allclose(x, made(z, no)) and not torch.allclose(discriminator(x, yes), discriminator(x, no))
    with pytest.raises(ValueError, match="pass 2 attributes"):
        made(z)
    with pytest.raises(ValueError, match="pass 2 attributes"):
        discriminator(x)


@pytest.mark.parametrize("size", [4, 48, 0])
def test_sizes_that_are_no_power_of_two_are_refused(size):
    with pytest.raises(ValueError, match="power of two"):
        DCGANGenerator(size)


# ---- the losses, by hand ----


def test_losses_by_hand():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    log = np.log1p
    bce = np.mean(log(np.exp([-2.0, 1.0]))) + np.mean(log(np.exp([0.5, -3.0])))
    assert float(CrossEntropy().discriminator(real, fake)) == pytest.approx(bce)
    assert float(CrossEntropy().generator(fake)) == pytest.approx(np.mean(log(np.exp([-0.5, 3.0]))))
    assert float(Hinge().discriminator(real, fake)) == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)
    assert float(Hinge().generator(fake)) == pytest.approx(1.25)
    assert float(WassersteinGP().discriminator(real, fake)) == pytest.approx(-1.25 - 0.5)
    smooth = np.mean(0.9 * log(np.exp([-2.0, 1.0])) + 0.1 * log(np.exp([2.0, -1.0])))
    assert float(CrossEntropy(0.1).discriminator(real, fake)) == pytest.approx(
        smooth + bce - np.mean(log(np.exp([-2.0, 1.0]))), rel=1e-5
    )


def test_the_penalty_of_a_linear_score_is_known():
    """The gradient of w . x is w everywhere: with |w| = 3 the penalty is 10 (3 - 1)^2."""
    weight = torch.zeros(3, 4, 4)
    weight[0, 0, 0] = 3.0
    x, y = torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    assert float(WassersteinGP(10.0).penalty(lambda v: (v * weight).sum((1, 2, 3)), x, y)) == pytest.approx(40.0)
    assert float(Hinge().penalty(lambda v: v.sum((1, 2, 3)), x, y)) == 0


# ---- the module ----


class Faces(LightningDataModule):
    """Pictures of noise in batches of 4, `count` in training and 8 in validation."""

    class Noise(Dataset):
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            x = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(index))
            return {"x": x, "y": 0, "index": index}

    def __init__(self, count=20):
        super().__init__()
        self.count = count

    def train_dataloader(self):
        return DataLoader(self.Noise(self.count), 4)

    def val_dataloader(self):
        return DataLoader(self.Noise(8), 4)


def small(accumulate=1, **options):
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.999))
    networks = DCGANGenerator(8, latent=6, filters=4), DCGANDiscriminator(8, filters=4)
    module = GAN(*networks, CrossEntropy(), adam, adam, RandomFeatures(4), **options)
    module.accumulate = accumulate
    return module


def fit(module, data=None, **options):
    return fit_quietly(module, data or Faces(), **options)


@pytest.mark.parametrize(
    ("options", "updates"),
    [
        ({}, [10, 10]),  # five batches an epoch, two epochs
        ({"d_steps": 2}, [5, 10]),
        ({"d_steps": 3}, [3, 10]),
        ({"accumulate": 2}, [6, 6]),  # batches 0-1, 2-3 and the last one alone
        ({"accumulate": 2, "d_steps": 2}, [3, 6]),
    ],
)
def test_updates_are_what_the_config_says_and_steps_are_batches(options, updates):
    module = small(**options)
    trainer = fit(module, max_epochs=2)
    assert module.updates.tolist() == updates and trainer.global_step == 10
    optimizers = trainer.optimizers
    for optimizer, count in zip(optimizers, updates, strict=True):
        assert {int(state["step"]) for state in optimizer.state.values()} == {count}


def test_max_steps_means_batches():
    module = small()
    trainer = fit(module, max_steps=7, max_epochs=-1)
    assert trainer.global_step == 7 and module.updates.tolist() == [7, 7]


def test_accumulated_batches_are_one_larger_batch():
    """Without batch norm, two batches of 4 whose gradients make one update equal one batch of 8."""

    def module(accumulate=1):
        torch.manual_seed(0)
        sgd = partial(torch.optim.SGD, lr=0.1)
        made = DCGANGenerator(8, latent=6, filters=4)
        discriminator = DCGANDiscriminator(8, filters=4, norm="none")
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
                layer.train = lambda mode=True: None
        gan = GAN(made, discriminator, Hinge(), sgd, sgd, RandomFeatures(4))
        gan.accumulate = accumulate
        gan._latents = lambda real: torch.ones(len(real), 6)
        return gan

    class Larger(Faces):
        def train_dataloader(self):
            return DataLoader(self.Noise(8), 8)

    two, one = module(accumulate=2), module()
    fit(two, Faces(8), max_epochs=1)
    fit(one, Larger(8), max_epochs=1)
    for ours, theirs in zip(two.discriminator.parameters(), one.discriminator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_only_its_own_loss_moves_a_network():
    module = small(d_steps=100)
    before = [p.clone() for p in module.generator.parameters()]
    fit(module, max_epochs=1)
    assert all(torch.equal(p, q) for p, q in zip(module.generator.parameters(), before, strict=True))


def test_clipping_bounds_each_update():
    module = small(clip=1e-3)
    sgd = partial(torch.optim.SGD, lr=1.0)
    module.optimizer_g = module.optimizer_d = sgd
    before = [p.clone() for p in module.discriminator.parameters()]
    fit(module, max_steps=1, max_epochs=-1)
    moved = torch.cat([(p - q).flatten() for p, q in zip(module.discriminator.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)


def test_a_seed_gives_its_picture_at_any_batch_size():
    module = small(ema=0.9)
    fit(module, max_epochs=1)
    together = module.sample(5, [3, 1, 4, 1, 5])
    assert together.shape == (5, 3, 8, 8) and 0 <= together.min() and together.max() <= 1
    for at, seed in enumerate([3, 1, 4, 1, 5]):
        assert (module.sample(1, [seed]) - together[at : at + 1]).abs().max() < 2 / 255
    assert torch.equal(together[1], together[3]) and not torch.allclose(together[0], together[1])
    assert module.generator.training, "sampling leaves the mode as it was"
    with pytest.raises(ValueError, match="2 seeds"):
        module.sample(2, [1])


def test_samples_come_from_the_running_average():
    module = small(ema=0.5)
    fit(module, max_steps=1, max_epochs=-1)
    torch.manual_seed(0)
    start = DCGANGenerator(8, latent=6, filters=4)
    # The first update copies; the average is then of what follows.
    for ours, theirs in zip(module.average.module.parameters(), module.generator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    fit(module, max_steps=1, max_epochs=-1)
    pairs = zip(module.average.module.parameters(), module.generator.parameters(), start.parameters(), strict=True)
    assert any(not torch.allclose(ours, theirs) for ours, theirs, _ in pairs)


def test_a_resumed_run_goes_on_as_the_uninterrupted_one(tmp_path):
    whole = small(d_steps=2, ema=0.9)
    fit(whole, max_epochs=3)
    save = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    fit(small(d_steps=2, ema=0.9), max_epochs=1, callbacks=[SeedEachStep(0), save], enable_checkpointing=True)
    again = small(d_steps=2, ema=0.9)
    trainer = fit(again, ckpt_path=tmp_path / "last.ckpt", max_epochs=3)
    assert trainer.global_step == 15
    for (name, ours), theirs in zip(again.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_collapsed_generator_is_told(recwarn):
    module = small()
    for parameter in module.generator.parameters():
        parameter.data.zero_()
    module.optimizer_g = partial(torch.optim.SGD, lr=0.0)
    fit(module, max_epochs=1)
    assert any("may have collapsed" in str(warning.message) for warning in recwarn)


# ---- the figures ----


def test_frechet_and_kernel_distance_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(0.3, 1.2, size=(150, 6))
    covariances = np.cov(a.T), np.cov(b.T)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(
        sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    assert generation.frechet(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-6)
    assert generation.frechet(torch.tensor(a), torch.tensor(a)) == pytest.approx(0, abs=1e-6)
    c = a[:150]
    k = [(x @ y.T / 6 + 1) ** 3 for x, y in ((c, c), (b, b), (c, b))]
    n = 150
    expected = (k[0].sum() - np.trace(k[0]) + k[1].sum() - np.trace(k[1])) / (n * (n - 1)) - 2 * k[2].mean()
    assert generation.kernel(torch.tensor(c), torch.tensor(b)) == pytest.approx(expected, rel=1e-6)


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """doi 10.1109/TIP.2003.819861, equation 13, by SciPy's Gaussian of 11 px; the border that it fills up is cut."""

    def blur(x):
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    c1, c2 = 0.01**2, 0.03**2
    ma, mb = blur(a), blur(b)
    va, vb, ab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return (((2 * ma * mb + c1) * (2 * ab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


def test_psnr_and_ssim_of_each_picture():
    rng = np.random.default_rng(0)
    a = gaussian_filter(rng.random((2, 3, 40, 48)), (0, 0, 2, 2))
    b = np.clip(a + rng.normal(0, [[[[0.02]]], [[[0.1]]]], a.shape), 0, 1)
    ours = generation.psnr(torch.tensor(b), torch.tensor(a)).numpy()
    np.testing.assert_allclose(ours, -10 * np.log10(np.square(a - b).mean((1, 2, 3))), atol=1e-3)
    by_hand = [np.mean([ssim_by_hand(x, y) for x, y in zip(p, q, strict=True)]) for p, q in zip(b, a, strict=True)]
    np.testing.assert_allclose(generation.ssim(torch.tensor(b), torch.tensor(a)).numpy(), by_hand, atol=1e-3)


def test_a_mean_psnr_is_finite_where_a_picture_equals_its_original():
    """Five frames, one of them identical: that one counts as 60 dB, libvmaf's bound for 8 bit."""
    a = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    b = a + torch.tensor([0.0, 0.1, 0.1, 0.1, 0.1])[:, None, None, None]
    found = generation.psnr(b, a)
    assert found.tolist() == pytest.approx([60, 20, 20, 20, 20], abs=1e-3)
    assert generation.psnr(a + 1e-6, a).tolist() == [60] * 5
    rounded = (a * 255).round() / 255
    assert generation.psnr(rounded, a).tolist() == pytest.approx([10 * np.log10(12 * 255**2)] * 5, abs=0.5)
    swapped = SwapFigures()
    for number, (made, was) in enumerate(zip(b, a, strict=True)):
        made, was = ((x.permute(1, 2, 0).numpy() * 255).clip(0, 255).round().astype(np.uint8) for x in (made, was))
        swapped.add(number, was, made)
    assert np.isfinite(swapped.means()["psnr"]) and swapped.means()["ssim"] < 1
    point = torch.ones(5, 1, 16, 16)
    assert inside(a, a, point)[0].tolist() == [60] * 5


def test_ssim_says_how_large_a_picture_it_needs():
    small = torch.rand(2, 3, 16, 10)
    for measure in (lambda: generation.ssim(small, small), lambda: Reconstruction(0.0, 0.0, 1.0)(small, small)):
        with pytest.raises(ValueError, match="SSIM needs pictures of at least 11 px on each side, got 10x16 px"):
            measure()
    assert generation.ssim(torch.rand(2, 3, 11, 11), torch.rand(2, 3, 11, 11)).isfinite().all()


@pytest.mark.parametrize("count", [0, 1])
def test_one_sample_has_no_spread_and_no_distance(count):
    rows, few = torch.rand(8, 3), torch.rand(count, 3)
    for pair in ((rows, few), (few, rows)):
        assert np.isnan(generation.frechet(*pair)) and np.isnan(generation.kernel(*pair))
        assert all(np.isnan(value) for value in figures(RandomFeatures(), *pair).values())
    assert np.isnan(generation.inception_score(few))
    assert generation.inception_score(200 * torch.eye(3)[[0, 1, 2, 0]], parts=10) == pytest.approx(2), "parts of two"


def test_the_stand_in_evaluator_tells_blur_from_faces_and_is_the_same_everywhere():
    evaluator = RandomFeatures()
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(x, 3, 1, 1)
    half, rest = evaluator(x[:32]), evaluator(x[32:])
    assert generation.frechet(half, evaluator(smooth[32:])) > 5 * generation.frechet(half, rest)
    assert not list(evaluator.parameters()) and not evaluator.state_dict()
    torch.testing.assert_close(evaluator(x[:2]), RandomFeatures()(x[:2]))


def test_a_grid_shows_each_picture_in_its_place():
    pictures = torch.arange(5).view(5, 1, 1, 1).expand(5, 3, 2, 4) / 5
    canvas = grid(pictures)
    assert canvas.shape == (4, 12, 3)
    assert canvas[0, ::4, 0].tolist() == [0, 51, 102] and canvas[2, ::4, 0].tolist() == [153, 204, 0]


# ---- the whole way ----


TINY = ("trainer=smoke", "data.batch_size=8", "module.generator.filters=4", "module.discriminator.filters=4")


def trained(portraits: tuple[Path, list[str]], preset: str) -> Path:
    """Train a preset, unless another test in this process has done so, and return the run folder."""
    place, here = portraits
    unmask("train", f"experiment={preset}", *here, *TINY, "callbacks.samples.every_n_steps=1", cwd=place)
    (folder,) = (place / "outputs" / preset).iterdir()
    return folder


@pytest.mark.parametrize("preset", ["celeba/dcgan", "celeba/cdcgan", "celeba/cgan"])
def test_a_preset_runs_to_its_end_and_leaves_marked_grids(portraits, preset):
    place, here = portraits
    folder = trained(portraits, preset)
    grids = sorted((folder / "samples").glob("step-*.png"))
    assert [path.name for path in grids] == ["step-0000000.png", "step-0000001.png", "step-0000002.png"]
    assert Image.open(grids[0]).size == (6 * 64, 6 * 64)
    for path in (*grids, folder / "samples/timelapse.mp4"):
        assert read_marks(path)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    run = Run(folder)
    assert run.metrics["test"]["frechet_random"] > 0 and run.metrics["monitor"] == "val/frechet_random"
    module = run.module()
    condition = {"celeba/cdcgan": torch.ones(1, 3), "celeba/cgan": torch.ones(1, 2)}.get(preset)
    assert module.sample(1, [0], condition).shape == (1, 3, 64, 64)
    assert (
        "already finished"
        in unmask("train", f"experiment={preset}", *here, *TINY, "callbacks.samples.every_n_steps=1", cwd=place).stdout
    )


@pytest.mark.slow
def test_two_processes_in_bf16_with_accumulation_count_as_the_config_says(portraits):
    place, here = portraits
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.precision=bf16-mixed", "report=false"]
    more = [
        "trainer.limit_train_batches=4",
        "trainer.max_steps=4",
        "trainer.accumulate_grad_batches=2",
        "module.d_steps=2",
        "data.batch_size=4",
        "name=ddp_gan",
    ]
    command = [sys.executable, "-m", "unmask.commands.train", "experiment=celeba/dcgan", *here, *TINY[:1], *TINY[2:]]
    done = subprocess.run(
        [*command, *two, *more], cwd=place, capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (place / "outputs/ddp_gan").iterdir()
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert state["state_dict"]["updates"].tolist() == [1, 2] and state["global_step"] == 4


def test_pictures_are_made_once_by_their_seeds_and_marked(portraits):
    place, _ = portraits
    folder = trained(portraits, "celeba/dcgan")
    unmask("sample", f"run={folder}", "count=5", "batch_size=2", "out=made", cwd=place)
    out = place / "made"
    files = sorted((out / "pictures").glob("*.png"))
    assert [path.name for path in files] == [f"{number:06d}.png" for number in range(5)]
    table = pd.read_parquet(out / "items.parquet")
    assert table["label"].tolist() == [1] * 5 and set(table["method"]) == {"dcgan"}
    assert set(table["marking.watermark"]) == {f"{PAYLOAD:08x} at 39.5 dB"}
    for path in files:
        assert read_marks(path)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    before = {path: (path.stat().st_mtime_ns, np.asarray(Image.open(path))) for path in files}
    files[3].unlink()
    (out / "pictures/.000003.png.1.part").write_bytes(b"half")
    printed = unmask("sample", f"run={folder}", "count=7", "batch_size=5", "out=made", cwd=place).stdout
    assert "dcgan: generating 3 of 7 pictures in made" in printed
    assert len(list((out / "pictures").iterdir())) == 7
    for path, (when, pixels) in before.items():
        assert path == files[3] or path.stat().st_mtime_ns == when
        assert np.abs(np.asarray(Image.open(path)).astype(int) - pixels).max() <= 2, "the same at another batch size"
    plain = unmask("sample", f"run={folder}", "count=1", "out=plain", "marking.watermark=false", cwd=place).stdout
    assert "these marks are switched off: watermark" in plain
    assert set(pd.read_parquet(place / "plain/items.parquet")["marking.watermark"]) == {"off"}


def test_sampling_is_refused_in_words(portraits):
    place, _ = portraits
    folder = trained(portraits, "celeba/cdcgan")
    unmask("sample", f"run={folder}", "count=1", "attributes=[Male]", "out=men", cwd=place)
    for wrong, said in (
        (["attributes=[Bald]", "out=x"], "was trained with Male, Smiling, Eyeglasses"),
        (["seed=1", "attributes=[Male]", "out=men"], "was made with other settings"),
        (["out=faces"], "is not empty"),
        (["count=0", "out=x"], "expected at least 1"),
    ):
        assert said in unmask("sample", f"run={folder}", *wrong, cwd=place, expect=1).stderr


def test_a_generator_is_asked_nothing(portraits):
    place, _ = portraits
    folder = trained(portraits, "celeba/dcgan")
    picture = next((place / "faces").glob("img_align_celeba/*"))
    asked = unmask("predict", str(picture), f"run={folder}", cwd=place, expect=1)
    assert "is a generator and has no scores" in asked.stderr
    assert "is a generator" in unmask("report", f"run={folder}", cwd=place, expect=1).stderr
