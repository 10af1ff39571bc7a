"""The style-based generator: convolutions against loops, penalties by hand, resuming, truncation, sampling."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from scipy.signal import convolve2d
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import conv2d, conv_transpose2d, interpolate

from conftest import fit_quietly, unmask
from test_gan import Faces
from unmask.modules.gan import GAN
from unmask.modules.latents import lines
from unmask.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from unmask.networks.embeddings import AttributeEmbedding, ClassEmbedding
from unmask.networks.equalised import EqualisedConv, EqualisedLinear, activate, smooth
from unmask.networks.evaluators import RandomFeatures
from unmask.networks.stylegan2 import ModulatedConv, StyleGAN2Generator
from unmask.networks.stylegan2_discriminator import StyleGAN2Discriminator, with_spread
from unmask.runs.run import Run
from unmask.training.ada import ADA
from unmask.training.adversarial import CrossEntropy, Hinge
from unmask.training.draws import Draws
from unmask.training.penalties import R1, PathLength

KERNEL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def generator(size=8, **options) -> StyleGAN2Generator:
    torch.manual_seed(0)
    return StyleGAN2Generator(size, **{"latent": 6, "mapping": 2, "filters": 4, "most": 8, **options})


def discriminator(size=8, **options) -> StyleGAN2Discriminator:
    torch.manual_seed(1)
    return StyleGAN2Discriminator(size, **{"filters": 4, "most": 8, **options})


# ---- layers ----


@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize(("kernel", "up"), [(1, False), (3, False), (3, True)])
def test_a_modulated_convolution_is_a_loop_over_samples_with_explicit_weights(kernel, demodulate, up):
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, kernel, 6, demodulate=demodulate, up=up)
    x, style = torch.randn(4, 5, 8, 8), torch.randn(4, 6)
    expected = []
    for one, own in zip(x, style, strict=True):
        scales = layer.affine.weight @ own / math.sqrt(6) + layer.affine.bias
        weight = layer.weight / math.sqrt(5 * kernel**2) * scales[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if not up:
            expected.append(conv2d(one[None], weight, padding=kernel // 2)[0])
            continue
        large = conv_transpose2d(one[None], weight.transpose(0, 1), stride=2)[0].detach().numpy()
        maps = [4 * convolve2d(np.pad(m, 1), KERNEL, mode="valid") for m in large]
        expected.append(torch.tensor(np.stack(maps), dtype=torch.float32))
    found = layer(x, style)
    assert found.shape == (4, 7, 16, 16) if up else (4, 7, 8, 8)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_demodulation_keeps_the_size_of_normal_values():
    """As the paper derives: for normal inputs, the outputs have the standard deviation 1 whatever the style."""
    torch.manual_seed(0)
    layer = ModulatedConv(32, 16, 3, 6)
    found = layer(torch.randn(8, 32, 16, 16), 10 * torch.randn(8, 6)).detach()[:, :, 1:-1, 1:-1]
    assert float(found.std()) == pytest.approx(1, abs=0.05)


def test_smoothing_is_scipys_convolution_and_down_and_up_keep_the_grid():
    x = torch.randn(2, 3, 9, 12)
    expected = [[convolve2d(np.pad(m, 2), KERNEL, mode="valid") for m in one] for one in x.numpy()]
    torch.testing.assert_close(smooth(x, 2), torch.tensor(np.array(expected), dtype=torch.float32))
    torch.testing.assert_close(smooth(x, 2, stride=2), smooth(x, 2)[:, :, ::2, ::2])
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    with torch.no_grad():
        one = EqualisedConv(1, 1, 1, down=True, bias=False)
        one.weight.fill_(1)
        torch.testing.assert_close(one(ramp)[0, 0, 3, 1:-1], torch.arange(2.5, 14, 2), msg="the mean of two pixels")
        # Upsampling by bilinear interpolation is the same filter, except at the border.
        larger = conv_transpose2d(x[:, :1], torch.tensor(4 * KERNEL, dtype=torch.float32)[None, None], None, 2, 1)
    torch.testing.assert_close(
        interpolate(x[:, :1], scale_factor=2, mode="bilinear")[..., 1:-1, 1:-1], larger[..., 1:-1, 1:-1]
    )


@pytest.mark.parametrize(
    ("make", "inside"), [(partial(EqualisedLinear, 50, 70), 50), (lambda: EqualisedConv(6, 70, 3), 54)]
)
def test_the_learning_rate_of_an_equalised_layer_does_not_depend_on_its_size(make, inside):
    """Stored weights have the deviation 1; He's factor is applied when they are used."""
    torch.manual_seed(0)
    layer = make()
    assert float(layer.weight.detach().std()) == pytest.approx(1, abs=0.05)
    shape = (4000, 50) if layer.weight.ndim == 2 else (30, 6, 14, 14)
    found = layer(torch.randn(shape))
    assert float(found.std()) == pytest.approx(1, abs=0.08), "a little less at the border"
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    before, x = layer.weight.detach().clone(), torch.randn(shape)[:2]
    layer(x).square().sum().backward()
    optimizer.step()
    moved = ((layer.weight - before) / before.std()).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=0.06, atol=0)
    assert float(activate(torch.randn(10000)).square().mean()) == pytest.approx(1.04, abs=0.05), "(1 + 0.04) / 2 x 2"
    assert inside == layer.weight[0].numel()


def test_a_slow_layer_computes_the_same_and_learns_a_hundred_times_slower():
    torch.manual_seed(0)
    fast, slow = EqualisedLinear(5, 7, bias=0.3), EqualisedLinear(5, 7, 0.01, bias=0.3)
    with torch.no_grad():
        slow.weight.copy_(fast.weight * 100)
    x = torch.randn(3, 5)
    torch.testing.assert_close(slow(x), fast(x))
    torch.testing.assert_close(fast(x), x @ (fast.weight / math.sqrt(5)).T + 0.3)
    before = fast(x).detach()
    for layer in (fast, slow):
        layer(x).sum().backward()
        torch.optim.Adam(layer.parameters(), lr=0.01).step()
    torch.testing.assert_close((slow(x) - before) * 100, fast(x) - before, rtol=2e-3, atol=2e-3)


# ---- networks ----


@pytest.mark.slow
def test_the_networks_have_the_published_sizes():
    """The totals that the program of arXiv 2006.06676 prints for 1024 px, with two layers in the mapping network."""
    sizes = [
        sum(p.numel() for p in network.parameters())
        for network in (StyleGAN2Generator(1024, mapping=2, filters=32), StyleGAN2Discriminator(1024, filters=32))
    ]
    assert sizes == [28_794_124, 29_012_513]


@pytest.mark.parametrize("size", [8, 32, 256])
def test_images_have_the_size_asked_for(size):
    made, judge = generator(size), discriminator(size)
    z = torch.randn(2, made.inputs)
    x = made(z)
    assert x.shape == (2, 3, size, size) and judge(x).shape == (2,)
    assert sum(side**2 for side in made.sides) == 16 + 2 * sum(4**at for at in range(3, int(math.log2(size)) + 1))
    assert float(x.std()) < 5, "the scales of all layers multiply to a sensible one"
    with pytest.raises(ValueError, match="power of two"):
        generator(size + 1)


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"mixing": 1.5}, {"mapping": 0}, {"scale": 0}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected numbers of 1 or more"):
        generator(**wrong)


@pytest.mark.parametrize("embed", [AttributeEmbedding, ClassEmbedding])
def test_both_networks_are_conditional(embed):
    made, judge = generator(attributes=2, embed=embed), discriminator(attributes=2, embed=embed, group=1)
    z, combinations = torch.randn(1, made.inputs).expand(4, -1), torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    images = made.eval()(z, combinations)
    scores = judge(images[:1].expand(4, -1, -1, -1), combinations)
    assert len({tuple(image.flatten().tolist()) for image in images}) == 4 == len(set(scores.tolist()))
    for network, x in ((made, z), (judge, images)):
        with pytest.raises(ValueError, match="pass 2 attributes"):
            network(x)


def test_styles_of_a_second_latent_begin_at_a_layer_that_is_drawn_evenly():
    made = generator(mixing=0.6)
    z = torch.randn(20000, made.inputs)
    with torch.no_grad():
        first, second = made.mapping(z[:, :6]), made.mapping(z[:, 6:12])
        codes = made.train().codes(z)
        assert torch.equal(made.eval().codes(z), first[:, None].expand_as(codes)), "not while sampling"
    own, other = (torch.isclose(codes, w[:, None]).all(2) for w in (first, second))
    assert (own ^ other).all() and own[:, 0].all()
    assert (own[:, :-1] | ~own[:, 1:]).all(), "after the change, all layers have the second style"
    starts = other.float().argmax(1)[other.any(1)]
    assert len(starts) / len(z) == pytest.approx(0.6, abs=0.02)
    counts = torch.bincount(starts, minlength=made.layers)[1:] / len(starts)
    assert made.layers == 4 and counts.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert torch.equal(generator(mixing=0.0).train().codes(z[:5]), generator(mixing=0.0).eval().codes(z[:5]))


@torch.no_grad()
def test_the_scale_multiplies_the_images():
    made = []
    for scale in (1.0, 0.25):
        torch.manual_seed(0)
        network = generator(scale=scale).eval()
        made.append(network(torch.randn(2, network.inputs)))
    torch.testing.assert_close(made[1], made[0] / 4)


def test_each_layer_has_its_own_style_and_noise():
    made = generator(16).eval()
    with torch.no_grad():
        for layer in made.convs:
            layer.strength.fill_(0.5)
        z = torch.randn(1, made.inputs)
        codes = made.codes(z)
        image = made.render(codes, z)
        assert torch.equal(image, made(z))
        for at in range(made.layers):
            changed = codes.clone()
            changed[:, at] += 1
            assert not torch.allclose(made.render(changed, z), image), f"style {at}"
        start = 2 * made.latent + 1
        for side in made.sides:
            other = z.clone()
            other[:, start : start + side**2] += 1
            assert not torch.allclose(made.render(codes, other), image), "noise"
            start += side**2
    assert start == made.inputs


def test_the_standard_deviation_of_a_group_by_hand_and_the_same_in_two_processes():
    x = torch.randn(8, 5, 4, 4)
    found = with_spread(x, 4)
    assert found.shape == (8, 6, 4, 4) and torch.equal(found[:, :5], x)
    for at in range(8):
        group = x[at % 2 :: 2].numpy()
        np.testing.assert_allclose(found[at, 5], group.std(0).mean(), rtol=1e-4)
    for rank in (0, 1):  # rows are distributed in turn
        torch.testing.assert_close(with_spread(x[rank::2], 4), found[rank::2])
    assert len(with_spread(x[:6], 4)[:, 5, 0, 0].unique()) == 2, "two groups of 3"
    for count in (1, 7):
        torch.testing.assert_close(with_spread(x[:count], 4)[:, 5], torch.full((count, 4, 4), 1e-4), msg="groups of 1")


# ---- penalties ----


class Quadratic(nn.Module):
    """score = sum of a x^2, so that the gradient at x is 2 a x."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, x):
        return (self.a * x.square()).sum((1, 2, 3))


def test_r1_and_its_gradient_by_hand():
    torch.manual_seed(0)
    network, x = Quadratic(), torch.randn(5, 3, 4, 4)
    penalty = R1(weight=0.7, every=16)(network, x)
    slope = 2 * network.a.detach() * x
    expected = 16 * 0.7 / 2 * slope.square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty.detach(), expected)
    penalty.backward()
    torch.testing.assert_close(network.a.grad, 16 * 0.7 * (4 * network.a.detach() * x.square()).mean(0))


def test_r1_of_the_discriminator_is_that_of_functional_gradients():
    """The gradient of the penalty with respect to all weights, by torch.func instead of a double backward pass."""
    judge, x = discriminator(group=1), torch.randn(3, 3, 8, 8)
    weights = {name: value.detach() for name, value in judge.named_parameters()}

    def penalty(parameters):
        slopes = vmap(grad(lambda one: functional_call(judge, parameters, (one[None],))[0]))(x)
        return 1.5 / 2 * slopes.square().sum((1, 2, 3)).mean()

    found = R1(weight=1.5, every=1)(judge, x)
    torch.testing.assert_close(found.detach(), penalty(weights))
    found.backward()
    for name, expected in grad(penalty)(weights).items():
        given = judge.get_parameter(name).grad
        torch.testing.assert_close(torch.zeros_like(expected) if given is None else given, expected, msg=name)


def test_path_lengths_by_hand():
    """For images A w, a path of random images y has the length |A^T y|, per layer the root of the mean square."""
    torch.manual_seed(0)
    matrix = torch.randn(3 * 2 * 2, 5, requires_grad=True)
    codes = torch.randn(4, 3, 5, requires_grad=True)
    penalty = PathLength(weight=2.0, every=4, decay=0.9)
    found = penalty(lambda c: (c.sum(1) @ matrix.T).view(-1, 3, 2, 2), codes, Draws(seed=5))
    y = Draws(seed=5).normal(codes, 3, 2, 2).flatten(1) / 2
    lengths = (y @ matrix.detach()).norm(dim=1)
    assert float(penalty.mean) == pytest.approx(0.1 * float(lengths.mean()))
    assert float(found) == pytest.approx(8 * float((lengths - penalty.mean).square().mean()), rel=1e-5)
    found.backward()
    assert matrix.grad.abs().sum() > 0
    images = generator().train()
    PathLength()(lambda c: images.render(c, z), images.codes(z := torch.randn(3, images.inputs))).backward()
    assert all(p.grad is not None for name, p in images.named_parameters() if name.startswith("mapping"))


@pytest.mark.parametrize("make", [partial(R1, -1.0), partial(R1, 1.0, 0), partial(PathLength, 1.0, 4, 1.0)])
def test_penalties_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"module\.penalty_[dg]\.(weight|decay)="):
        make()


# ---- training ----


def small(accumulate=1, **options) -> GAN:
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=2e-3, betas=(0.0, 0.99))
    given = {
        "augment": ADA(target=-0.9, images=100, every=1),
        "penalty_d": R1(0.1, 2),
        "penalty_g": PathLength(every=3),
        "ema": 0.9,
    }
    networks = generator(), discriminator(group=2)
    module = GAN(*networks, CrossEntropy(), adam, adam, RandomFeatures(4), **(given | options))
    module.accumulate = accumulate
    return module


def counted(penalty):
    """Count the calls of a penalty."""
    calls, forward = [], penalty.forward
    penalty.forward = lambda *arguments: calls.append(1) or forward(*arguments)
    return calls


@pytest.mark.parametrize("accumulate", [1, 2])
def test_penalties_are_computed_at_every_few_updates(accumulate):
    module = small(accumulate)
    r1, path = counted(module.penalty_d), counted(module.penalty_g)
    fit_quietly(module, Faces(32), max_epochs=1)  # 8 batches
    assert module.updates.tolist() == [8 // accumulate] * 2
    assert (len(r1), len(path)) == {1: (4, 3), 2: (4, 4)}[accumulate], (
        "updates 0, 2, 4, 6 and 0, 3, 6; or 0, 2 and 0, 3"
    )


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = small()
    fit_quietly(whole, Faces(), max_epochs=3)
    save = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    from unmask.training.callbacks import SeedEachStep

    options = {"callbacks": [SeedEachStep(0), save], "enable_checkpointing": True}
    fit_quietly(small(), Faces(), max_epochs=1, **options)
    again = small()
    fit_quietly(again, Faces(), ckpt_path=tmp_path / "last.ckpt", max_epochs=3)
    state = whole.state_dict()
    for name, ours in again.state_dict().items():
        assert torch.equal(ours, state[name]), name
    moved = {"augment.p", "augment.sign", "penalty_g.mean", "generator.mean", "average.module.mean"}
    assert moved <= state.keys() and all(state[name].abs().sum() > 0 for name in moved)


def kernels(module: GAN) -> list[torch.Tensor]:
    """The weights of the discriminator's convolutions of 3 x 3 px."""
    return [value for value in module.discriminator.parameters() if value.ndim == 4 and value.shape[-1] == 3]


def test_the_layout_of_the_weights_changes_only_the_rounding():
    """Both layouts compute the same gradients, also those of R1 and of the path lengths."""
    sgd = partial(torch.optim.SGD, lr=0.01)
    modules = []
    for channels_last in (True, False):
        modules.append(small(channels_last=channels_last))
        modules[-1].optimizer_g = modules[-1].optimizer_d = sgd
        fit_quietly(modules[-1], Faces(8), max_epochs=1)
    layouts = [
        [value.is_contiguous(memory_format=torch.channels_last) for value in kernels(module)] for module in modules
    ]
    assert layouts[0] and all(layouts[0]) and not any(layouts[1])
    start = small(channels_last=False)
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(kernels(modules[1]), kernels(start), strict=True)), "it moves"
    for (name, ours), theirs in zip(modules[0].named_parameters(), modules[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text, at=name: f"{at}: {text}")


def test_accumulated_batches_are_one_larger_batch():
    """Two batches of 4 whose gradients make one update equal one batch of 8; R1 is part of both."""

    def module(accumulate=1):
        sgd = partial(torch.optim.SGD, lr=0.01)
        torch.manual_seed(0)
        made = GAN(
            generator(mixing=0.0), discriminator(group=1), Hinge(), sgd, sgd, RandomFeatures(4), penalty_d=R1(0.1, 1)
        )
        made.accumulate = accumulate
        z = torch.randn(1, made.generator.inputs)
        made._latents = lambda real: z.expand(len(real), -1)
        return made

    class Larger(Faces):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(self.Noise(8), 8)

    two, one = module(accumulate=2), module()
    fit_quietly(two, Faces(8), max_epochs=1)
    fit_quietly(one, Larger(8), max_epochs=1)
    for ours, theirs in zip(two.discriminator.parameters(), one.discriminator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_mean_of_styles_is_that_of_all_batches_at_first():
    module, means = small(ema=0.0, penalty_g=None), []
    module.generator.mixing = 0.0  # one call of the mapping network for each image

    def note(network, _, styles):
        if torch.is_grad_enabled():  # not while the discriminator is trained
            means.append(styles.detach().mean(0))

    module.generator.mapping.register_forward_hook(note)
    fit_quietly(module, Faces(), max_epochs=1)
    assert len(means) == 5
    torch.testing.assert_close(module.generator.mean, torch.stack(means).mean(0))


def test_bfloat16_trains_and_its_styles_stay_in_float32():
    module = small()
    fit_quietly(module, Faces(8), max_epochs=1, precision="bf16-mixed")
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    with torch.autocast("cpu", torch.bfloat16):
        z = torch.randn(2, module.generator.inputs)
        codes = module.generator.codes(z)
        assert codes.dtype == torch.float32 and module.generator.render(codes, z).dtype == torch.float32


def test_path_lengths_need_styles():
    networks = DCGANGenerator(8, latent=6, filters=4), DCGANDiscriminator(8, filters=4)
    with pytest.raises(ValueError, match=r"module\.penalty_g needs a style-based generator"):
        GAN(*networks, CrossEntropy(), None, None, RandomFeatures(4), penalty_g=PathLength())


# ---- sampling ----


def test_a_samples_latent_and_noise_depend_only_on_its_seed():
    module = small()
    with torch.no_grad():
        for layer in module.average.module.convs:
            layer.strength.fill_(0.3)
    together = module.sample(4, [3, 1, 4, 1])
    assert torch.equal(together[1], together[3])
    for at, seed in enumerate([3, 1, 4]):
        torch.testing.assert_close(module.sample(1, [seed])[0], together[at], rtol=0, atol=1e-4)
    assert len({tuple(image.flatten().tolist()) for image in together[:3]}) == 3


def test_truncation_moves_styles_to_their_mean_and_0_makes_one_image():
    module = small()
    fit_quietly(module, Faces(8), max_epochs=1)
    with torch.no_grad():
        for layer in module.average.module.convs:
            layer.strength.zero_()  # the noise is not truncated
    whole = module.sample(5, range(5))
    spread = [float(whole.std(0).mean())]
    for truncation in (0.5, 0.0):
        module.truncate(truncation)
        spread.append(float(module.sample(5, range(5)).std(0).mean()))
    assert spread[0] > spread[1] > spread[2] and spread[2] == pytest.approx(0, abs=1e-6)
    module.truncate(1)
    assert torch.equal(module.sample(5, range(5)), whole)
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"truncation=.*expected a number from 0"):
            module.truncate(wrong)


def test_a_walk_goes_through_styles_with_the_noise_of_its_first_image():
    module = small()
    with torch.no_grad():
        for layer in module.average.module.convs:
            layer.strength.fill_(0.3)
    frames = torch.cat([*module.walk([5, 7], steps=4, size=3)])
    assert frames.shape == (8, 3, 8, 8)
    torch.testing.assert_close(frames[0], module.sample(1, [5])[0], rtol=0, atol=1e-5)
    network, z = module.average.module, module.noise(2, [5, 7])
    codes = network.eval().codes(z)
    half = network.render(codes.mean(0, keepdim=True), z[:1])
    torch.testing.assert_close(frames[2], (half[0] + 1).clamp(0, 2) / 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(lines(codes, 4)[4], codes[1])
    torch.testing.assert_close(lines(codes, 4)[7], codes[1] * 0.25 + codes[0] * 0.75)


def test_a_walk_of_a_dcgan_is_the_one_of_its_latents():
    networks = DCGANGenerator(8, latent=6, filters=4), DCGANDiscriminator(8, filters=4)
    module = GAN(*networks, CrossEntropy(), None, None, RandomFeatures(4))
    frames = torch.cat([*module.walk([5, 7], steps=4, size=3)])
    torch.testing.assert_close(frames[[0, 4]], module.sample(2, [5, 7]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="only style-based generators"):
        module.truncate(0.5)


# ---- the whole way ----

TINY = (
    "trainer=smoke", "data.batch_size=8", "module.generator.filters=4", "module.generator.most=8",
    "module.generator.latent=8", "module.generator.mapping=2", "module.discriminator.filters=4",
    "module.discriminator.most=8", "callbacks.samples.count=4",
)  # fmt: skip


def trained(portraits: tuple[Path, list[str]], *more: str) -> Path:
    """Train the preset, unless another test in this process has done so, and return the run folder."""
    place, here = portraits
    unmask("train", "experiment=celeba/stylegan2_64", *here, *TINY, "name=style", *more, cwd=place)
    (folder,) = (place / "outputs/style").iterdir()
    return folder


@pytest.mark.slow
def test_a_run_samples_truncates_and_walks(portraits):
    place, _ = portraits
    run = trained(portraits)
    assert Run(run).metrics["test"]["frechet_random"] > 0
    unmask("sample", f"run={run}", "count=3", "truncation=0.5", "walk=2", "out=styles", cwd=place)
    assert len(list((place / "styles/pictures").glob("*.png"))) == 3
    film = place / "styles/walk-2.mp4"
    assert film.is_file() and film.stat().st_size > 1000
    again = ["count=3", "out=styles"]
    assert "was made with other settings" in unmask("sample", f"run={run}", *again, cwd=place, expect=1).stderr
    for number in (0, 1):
        unmask("sample", f"run={run}", "count=1", f"seed={number}", "truncation=0", f"out=one{number}", cwd=place)
    one, other = (np.asarray(Image.open(place / f"one{number}/pictures/000000.png")).astype(int) for number in (0, 1))
    assert np.abs(one - other).mean() < 4, "the average image, apart from noise and marks"
    wrong = unmask("sample", f"run={run}", "count=1", "truncation=2", "out=two", cwd=place, expect=1)
    assert "truncation=2: expected a number from 0" in wrong.stderr


@pytest.mark.slow
def test_hinge_path_lengths_and_attributes_train_from_the_command_line(portraits):
    more = (
        "module/adversarial@module.loss=hinge", "module/penalty_g=path_length", "module.augment.cutout=0.5",
        "module/embed@module.generator.embed=classes", "data.loader.attributes=[Male,Smiling]", "name=conditional",
    )  # fmt: skip
    place, here = portraits
    unmask("train", "experiment=celeba/stylegan2_64", *here, *TINY, *more, cwd=place)
    (folder,) = (place / "outputs/conditional").iterdir()
    module = Run(folder).module()
    made = [module.sample(1, [0], torch.tensor([[a, b]])) for a, b in ((0.0, 0.0), (1.0, 0.0))]
    assert made[0].shape == (1, 3, 64, 64) and not torch.equal(*made)


@pytest.mark.slow
def test_the_log_shows_the_augmentation(portraits):
    place, here = portraits
    more = ("trainer.log_every_n_steps=1", "module.augment.every=1", "name=logged")
    unmask("train", "experiment=celeba/stylegan2_64", *here, *TINY, *more, cwd=place)
    (folder,) = (place / "outputs/logged").iterdir()
    table = pd.read_csv(folder / "metrics.csv")
    assert table["train/ada_p"].dropna().between(0, 1).all() and table["train/ada_sign"].dropna().between(-1, 1).all()
