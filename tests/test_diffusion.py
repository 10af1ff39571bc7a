"""Diffusion: noise and weights by hand, samplers with oracles whose answer is known, averages, seeds, the preset."""

from functools import partial

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from conftest import compose, fit_quietly, unmask
from unmask.config.check import validate
from unmask.config.targets import ConfigError
from unmask.modules.diffusion import Diffusion, counted, loss_weights
from unmask.networks.denoiser import Denoiser
from unmask.networks.evaluators import RandomFeatures
from unmask.provenance import read_marks
from unmask.runs.run import Run
from unmask.training.callbacks import SeedEachStep
from unmask.training.reconstruction import Reconstruction
from unmask.training.schedules import constant

DDIM = partial(DDIMScheduler, timestep_spacing="trailing", clip_sample=False)
DPM = partial(DPMSolverMultistepScheduler, timestep_spacing="trailing", lambda_min_clipped=-5.1)
TINY = {"image_size": 8, "channels": (8, 16), "layers": 1, "attention": (4,), "groups": 4, "head": 8}


def schedule(kind="epsilon", betas="linear", times=1000):
    return DDPMScheduler(num_train_timesteps=times, beta_schedule=betas, prediction_type=kind)


def linear_alphas_cumprod(times=1000):
    """Share of the signal as arXiv 2006.11239 has it (section 4): betas from 1e-4 to 0.02, evenly."""
    return np.cumprod(1 - np.linspace(1e-4, 0.02, times))


def small(denoiser=None, kind="epsilon", sampler=DDIM, **options):
    torch.manual_seed(0)
    network = denoiser or Denoiser(**TINY, attributes=options.pop("attributes", 0))
    adam = partial(torch.optim.Adam, lr=options.pop("lr", 2e-3))
    return Diffusion(
        network, options.pop("schedule", schedule(kind)), sampler, adam, constant, RandomFeatures(4),
        **{"steps": 5, "num_samples": 4, "ema": 0.9, **options},
    )  # fmt: skip


class Faces(LightningDataModule):
    """A few pictures of coarse noise that come again and again, with one attribute: the first pixel is bright."""

    class Set(Dataset):
        def __init__(self, count, kinds=4):
            self.count, self.kinds = count, kinds

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            coarse = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(index % self.kinds))
            x = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)
            return {"x": x, "y": 0, "index": index, "attributes": (coarse[0, 0, :1] > 0.5).float()}

    def __init__(self, count=20, batch=4):
        super().__init__()
        self.count, self.batch = count, batch

    def train_dataloader(self):
        return DataLoader(self.Set(self.count), self.batch)

    def val_dataloader(self):
        return DataLoader(self.Set(8), self.batch)


def fit(module, data=None, **options):
    return fit_quietly(module, data or Faces(), **options)


class Oracle(nn.Module):
    """The best denoiser there is, in closed form, for pictures drawn from N(mean, deviation^2) pixel by pixel.

    Of x_t = a x_0 + s e, the expected noise is s (x_t - a mean) / (a^2 deviation^2 + s^2).
    """

    shape, condition = (3, 8, 8), None

    def __init__(self, kind, mean=0.3, deviation=0.0, alphas_cumprod=None):
        super().__init__()
        self.kind, self.mean, self.deviation = kind, mean, deviation
        self.alphas_cumprod = torch.tensor(linear_alphas_cumprod() if alphas_cumprod is None else alphas_cumprod)

    def forward(self, x, t, attributes=None, known=None):
        a2 = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        a, s2 = a2.sqrt(), 1 - a2
        noise = s2.sqrt() * (x - a * self.mean) / (a2 * self.deviation**2 + s2)
        picture = (x - s2.sqrt() * noise) / a
        return (noise if self.kind == "epsilon" else a * noise - s2.sqrt() * picture).float()


# ---- noise, targets and weights, by hand ----


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_pictures_are_noised_and_targets_are_those_of_the_formulas(kind):
    seen = {}

    class Watch(nn.Module):
        shape, condition = (3, 8, 8), None

        def forward(self, x, t, attributes=None, known=None):
            seen.update(x=x, t=t)
            return torch.zeros_like(x)

    module = small(Watch(), kind, ema=0.0)
    x, noise, t = torch.rand(3, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.tensor([0, 500, 999])
    noisy, predicted = module._predict(module.denoiser, x, t, noise, {})
    a = np.sqrt(linear_alphas_cumprod()[t.numpy()])[:, None, None, None]
    s = np.sqrt(1 - a**2)
    np.testing.assert_allclose(noisy, a * x.numpy() + s * noise.numpy(), atol=1e-4)
    assert torch.equal(seen["x"], noisy) and torch.equal(seen["t"], t)
    target = noise.numpy() if kind == "epsilon" else a * noise.numpy() - s * x.numpy()
    np.testing.assert_allclose(
        module._errors(predicted, x, t, noise), np.square(target).mean((1, 2, 3)), rtol=1e-4, atol=1e-5
    )


def test_the_weights_are_min_snr():
    alphas_cumprod = torch.tensor([0.99, 0.8, 0.1])  # signal to noise 99, 4, 1/9
    torch.testing.assert_close(loss_weights(alphas_cumprod, "epsilon", 5.0), torch.tensor([5 / 99, 1.0, 1.0]))
    torch.testing.assert_close(loss_weights(alphas_cumprod, "v_prediction", 5.0), torch.tensor([0.05, 0.8, 0.1]))
    assert torch.equal(loss_weights(alphas_cumprod, "epsilon", None), torch.ones(3))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_perceptual_term_counts_by_the_share_of_the_signal(kind):
    """Where all that is predicted is off by d, the estimate is off by s d / a, or s d; squares count by a^2."""
    module = small(kind=kind, perceptual=Reconstruction())
    x, noise, t = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([100, 999])
    noisy = module.schedule.add_noise(x, noise, t)
    right = noise if kind == "epsilon" else module.schedule.get_velocity(x, noise, t)
    found = module._perceptual_distance(x, t, noisy, right + 0.2)
    a2 = linear_alphas_cumprod()[t.numpy()]
    off = 0.2 * np.sqrt(1 - a2) / (np.sqrt(a2) if kind == "epsilon" else 1)
    assert float(found) == pytest.approx(float((a2 * (off / 2) ** 2).mean()), rel=1e-3)


# ---- sampling with denoisers whose answer is known ----


@pytest.mark.parametrize("sampler", [DDIM, DPM])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_perfect_denoiser_of_one_picture_gives_it(sampler, kind):
    made = small(Oracle(kind), kind, sampler, steps=10, ema=0.0).sample(4, range(4))
    torch.testing.assert_close(made, torch.full_like(made, 0.65), atol=2e-3, rtol=0)  # 0.3 in [-1, 1]


@pytest.mark.parametrize(("sampler", "steps"), [(DDIM, 500), (DPM, 200)])
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
def test_a_perfect_denoiser_of_a_gaussian_gives_its_mean_and_deviation(sampler, steps, betas):
    """The flow between N(0, 1) and N(m, d) is linear: a picture is m + d x its noise.

    The last step goes to the expected picture, which takes the noise that is left there for none of the deviation: by
    few steps it would come out too small.
    """
    noised = schedule("v_prediction", betas)
    alphas_cumprod = linear_alphas_cumprod()
    if betas != "linear":  # arXiv 2102.09672, equation 17, betas cut at 0.999
        f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
        alphas_cumprod = np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))
    oracle = Oracle("v_prediction", 0.1, 0.2, alphas_cumprod)
    made = small(oracle, sampler=sampler, schedule=noised, steps=steps, ema=0.0).sample(16, range(16))
    noise = torch.stack([torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(16)])
    expected = (0.1 + 0.2 * noise + 1) / 2
    assert (made - expected).abs().mean() < 0.004  # of a deviation of 0.1
    assert float((2 * made - 1).std()) == pytest.approx(0.2, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [DDIM, DPM, partial(DPM, algorithm_type="sde-dpmsolver++"), DDPMScheduler])
def test_a_seed_gives_its_picture_at_any_batch_size(sampler):
    module = small(kind="v_prediction", sampler=sampler)
    fit(module, max_epochs=1)
    before = torch.get_rng_state()
    together = module.sample(5, [3, 1, 4, 1, 2**63 - 1])
    assert torch.equal(before, torch.get_rng_state()), "training draws as if nothing had been sampled"
    assert together.shape == (5, 3, 8, 8) and 0 <= together.min() and together.max() <= 1
    for at, seed in enumerate([3, 1, 4, 1, 2**63 - 1]):
        assert (module.sample(1, [seed]) - together[at : at + 1]).abs().max() < 2 / 255
    assert torch.equal(together[1], together[3]) and (together[0] - together[1]).abs().mean() > 0.02
    with pytest.raises(ValueError, match="2 seeds"):
        module.sample(2, [1])


# ---- attributes ----


def test_guidance_is_a_step_from_what_is_untold_through_what_is_told():
    class Told(nn.Module):
        shape, condition = (3, 8, 8), "attributes"

        def forward(self, x, t, attributes=None, known=None):
            told = attributes.sum(1) if attributes is not None else torch.zeros(len(x))
            return (10 + (told if known is None else told * known)).view(-1, 1, 1, 1).expand_as(x)

    module = small(Told(), guidance=3.0, ema=0.0)
    x, t, attributes = torch.randn(2, 3, 8, 8), torch.tensor([5, 5]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    led = module._guided(x, t, attributes)
    assert led[:, 0, 0, 0].tolist() == [10 + 3 * 2, 10 + 3 * 1]
    assert module._guided(x, t, None)[:, 0, 0, 0].tolist() == [10, 10]
    module.guidance = 1.0
    assert module._guided(x, t, attributes)[:, 0, 0, 0].tolist() == [12, 11]


def test_the_network_looks_at_attributes_and_at_whether_they_are_told():
    torch.manual_seed(0)
    network = Denoiser(**TINY, attributes=2).eval()
    nn.init.normal_(network.unknown)
    x, t = torch.randn(1, 3, 8, 8).expand(3, -1, -1, -1), torch.full((3,), 7)
    attributes = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    told = network(x, t, attributes)
    assert min((told[0] - told[1]).abs().mean(), (told[1] - told[2]).abs().mean()) > 1e-4
    hidden = network(x, t, attributes, torch.tensor([True, False, False]))
    torch.testing.assert_close(hidden[0], told[0])
    torch.testing.assert_close(hidden[1], hidden[2])
    torch.testing.assert_close(hidden[1:], network(x, t)[1:])
    assert (hidden[1] - told[1]).abs().mean() > 1e-4, "no attribute is not the same as nothing told"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_attributes_are_dropped_as_often_as_the_config_says(share):
    module = small(attributes=1, condition_dropout=share)
    kept, forward = [], module.denoiser.forward

    def watch(x, t, attributes=None, known=None):
        if module.trainer.training:  # the average is another object
            kept.append(known)
        return forward(x, t, attributes, known)

    module.denoiser.forward = watch
    fit(module, Faces(640, 64), max_epochs=1)
    told = float(torch.cat(kept).float().mean())
    assert told == pytest.approx(1 - share, abs=0 if share in (0, 1) else 0.08) and len(kept) == 10


@pytest.mark.slow
def test_what_is_asked_for_is_made():
    """Pictures whose attribute says that the first pixel is bright are brighter there."""
    module = small(
        attributes=1, kind="v_prediction", sampler=DPM, steps=10, guidance=2.0, lr=5e-3, snr=None, num_samples=0
    )
    fit(module, Faces(640, 16), max_epochs=2)
    made = [module.sample(8, range(8), torch.full((8, 1), value))[:, 0, :4, :4].mean() for value in (0.0, 1.0)]
    assert made[1] > made[0] + 0.1


# ---- the network ----


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("attention", [(), (8,)])
def test_every_weight_of_the_network_learns(patch, attention):
    network = Denoiser(16 * patch, (8, 16), 1, attention, patch, groups=4, head=8, attributes=3)
    x = torch.randn(2, 3, 16 * patch, 16 * patch)
    found = network(x, torch.tensor([0, 9]), torch.rand(2, 3), torch.tensor([True, False]))
    assert found.shape == x.shape
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert any("attentions" in name for name, _ in network.named_parameters()) == bool(attention)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 9}, "image_size=9.*multiple of 2"),
        ({"patch": 0}, "patch=0"),
        ({"channels": ()}, "0 entries in channels"),
        ({"attention": (5,)}, r"attention=\[5\].*8, 4,"),
        ({"groups": 5}, r"channels=\[8, 16\].*groups=5"),
        ({"head": 6}, r"channels=\[16\].*head=6"),
        ({"layers": 0}, "layers=0"),
    ],
)
def test_a_network_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Denoiser(**{**TINY, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "sample"}, r"module\.schedule\.prediction_type=sample"),
        ({"steps": 0}, r"module\.steps=0: expected 1 to 1000"),
        ({"steps": 1001}, r"module\.steps=1001"),
        ({"condition_dropout": 1.5}, r"module\.condition_dropout=1\.5"),
        ({"ema": 1.0}, r"module\.ema=1\.0"),
        ({"snr": 0.0}, r"module\.snr=0\.0"),
        ({"num_samples": 1}, r"module\.num_samples=1"),
        ({"evaluate_every": 2, "monitor": "val/frechet_random"}, r"set module\.evaluate_every=1"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        small(**options)


def test_a_monitor_that_will_not_be_there_is_told_before_training():
    with pytest.raises(ValueError, match="val/loss"):
        fit(small(monitor="val/psnr"), max_epochs=1)


# ---- training ----


@pytest.mark.slow
def test_a_few_pictures_are_learnt_by_heart():
    module = small(kind="v_prediction", sampler=DPM, steps=15, lr=5e-3, num_samples=0)
    Trainer(logger=False, enable_progress_bar=False, accelerator="cpu").validate(module, Faces(), verbose=False)
    first = module.results.figures["loss"]
    trainer = fit(module, Faces(2400, 16), max_epochs=1)
    assert trainer.global_step == 150 and module.results.figures["loss"] < 0.75 * first
    known = torch.stack([Faces.Set(4)[at]["x"] for at in range(4)])
    made, noise = module.sample(16, range(16)), torch.rand(16, 3, 8, 8)
    nearest = [(x[:, None] - known).square().mean((2, 3, 4)).min(1).values.mean() for x in (made, noise)]
    assert nearest[0] < 0.35 * nearest[1]


def test_the_loss_of_validation_is_at_fixed_times_and_noise():
    module = small()
    fit(module, max_epochs=1)
    x = torch.stack([Faces.Set(8)[at]["x"] for at in range(8)]) * 2 - 1
    golden = (np.arange(1, 9) * (np.sqrt(5) - 1) / 2 % 1 * 1000).astype(int)
    noise = torch.stack([torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(at)) for at in range(8)])
    alphas_cumprod = torch.tensor(linear_alphas_cumprod()[golden], dtype=torch.float32)[:, None, None, None]
    noisy = alphas_cumprod.sqrt() * x + (1 - alphas_cumprod).sqrt() * noise
    with torch.no_grad():
        predicted = module.average.module.eval()(noisy, torch.tensor(golden))
    assert module.results.figures["loss"] == pytest.approx(float((predicted - noise).square().mean()), rel=1e-3)
    before = module.results.figures["loss"]
    Trainer(logger=False, enable_progress_bar=False, accelerator="cpu").validate(module, Faces(batch=3), verbose=False)
    assert module.results.figures["loss"] == pytest.approx(before, rel=1e-5), "whatever the batch"
    t, _ = counted(torch.arange(100), x, 10)
    assert torch.bincount(t, minlength=10).tolist() == pytest.approx([10] * 10, abs=1)


def test_samples_are_evaluated_as_often_and_as_many_as_the_config_says():
    module = small(num_samples=6, evaluate_every=2)
    asked, sample = [], module.sample
    module.sample = lambda n, seeds, condition=None: asked.append(list(seeds)) or sample(n, seeds, condition)
    trainer = fit(module, max_epochs=3)
    assert asked == [[0, 1, 2, 3, 4, 5]] and set(module.results.figures) == {"loss"}
    trainer.validate(module, Faces(), verbose=False)
    assert len(asked) == 2 and {"loss", "frechet_random", "std_ratio"} <= set(module.results.figures)


def test_the_running_average_is_that_of_the_formula():
    """Of the weights p1, p2, p3 after three steps; decays are 2 / 11 and 3 / 12, below 0.9."""
    module = small(ema=0.9)
    weights, step = [], module.average.update_parameters
    module.average.update_parameters = lambda network: (
        weights.append([p.detach().double().clone() for p in network.parameters()]) or step(network)
    )
    trainer = fit(module, max_steps=3, max_epochs=-1, accumulate_grad_batches=2)
    assert trainer.global_step == len(weights) == 3, "once an update, not once a batch"
    for ours, one, two, three in zip(module.average.module.parameters(), *weights, strict=True):
        expected = (one * 2 / 11 + two * 9 / 11) * 3 / 12 + three * 9 / 12
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)
        assert not ours.requires_grad
    moved = small(ema=0.15)
    seen = []
    step_of = moved.average.update_parameters
    moved.average.update_parameters = lambda network: (
        seen.append([p.detach().clone() for p in network.parameters()]) or step_of(network)
    )
    fit(moved, max_steps=2, max_epochs=-1)
    for ours, one, two in zip(moved.average.module.parameters(), *seen, strict=True):
        torch.testing.assert_close(ours, 0.15 * one + 0.85 * two, rtol=1e-4, atol=1e-6)


def test_samples_come_from_the_running_average():
    module = small(ema=0.9)
    fit(module, max_epochs=1)
    plain = module.sample(2, [0, 1])
    for parameter in module.denoiser.parameters():
        parameter.data.zero_()
    assert torch.equal(module.sample(2, [0, 1]), plain)
    for parameter in module.average.module.parameters():
        parameter.data.zero_()
    assert not torch.allclose(module.sample(2, [0, 1]), plain)


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_the_uninterrupted_one(tmp_path):
    def fresh():
        torch.manual_seed(1)
        network = Denoiser(**TINY, attributes=1, dropout=0.2)
        return small(network, lr=1e-3, perceptual=Reconstruction(), num_samples=0)

    whole = fresh()
    fit(whole, max_epochs=3, gradient_clip_val=0.5)
    save = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    fit(fresh(), max_epochs=1, gradient_clip_val=0.5, callbacks=[SeedEachStep(0), save], enable_checkpointing=True)
    again = fresh()
    trainer = fit(again, ckpt_path=tmp_path / "last.ckpt", max_epochs=3, gradient_clip_val=0.5)
    assert trainer.global_step == 15
    for (name, ours), theirs in zip(again.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_half_precision_learns_and_keeps_its_losses_exact():
    module = small(kind="v_prediction", perceptual=Reconstruction(), attributes=1)
    fit(module, max_epochs=2, precision="bf16-mixed", gradient_clip_val=1.0, log_every_n_steps=1)
    assert (
        np.isfinite(module.results.figures["loss"])
        and module.trainer.callback_metrics["train/loss"].dtype == torch.float32
    )
    assert all(p.dtype == torch.float32 for p in module.parameters())


# ---- the whole way ----

SHORT = (
    "trainer=smoke", "data.batch_size=8", "module.denoiser.channels=[16,32]", "module.denoiser.attention=[16]",
    "module.denoiser.groups=8", "module.denoiser.head=16", "module.steps=3", "module.num_samples=8",
)  # fmt: skip


@pytest.mark.parametrize("group", ["denoiser", "sampler", "schedule"])
def test_options_are_valid_and_wrong_ones_are_named(group):
    options = {
        "denoiser": (["module/denoiser=unet"], "module.denoiser.channel=[8]", "did you mean 'channels'"),
        "sampler": (["module/sampler=ddim"], "module.sampler.clip=true", "module.sampler.clip"),
        "schedule": (["module.schedule.beta_schedule=linear"], "module.schedule.beta=1", "module.schedule.beta"),
    }
    good, wrong, said = options[group]
    base = [
        "module=diffusion",
        "paths.out=out",
        "data.root=somewhere",
        "+module/reconstruction@module.perceptual=pixels",
    ]
    validate(compose("train", [*base, *good]))
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        validate(compose("train", [*base, *good, f"+{wrong}"]))


@pytest.mark.slow
def test_a_preset_runs_to_its_end_and_its_samples_are_made_by_seeds(portraits):
    place, here = portraits
    unmask("train", "experiment=celeba/diffusion", *here, *SHORT, cwd=place)
    (folder,) = (place / "outputs/celeba/diffusion").iterdir()
    names = {path.name for path in (folder / "samples").iterdir()}
    assert names == {"step-0000000.png", "step-0000002.png", "timelapse.mp4"}
    for name in names:
        assert read_marks(folder / "samples" / name)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    run = Run(folder)
    assert run.metrics["monitor"] == "val/loss" and run.metrics["test"]["frechet_random"] > 0
    assert run.module().sample(2, [0, 1]).shape == (2, 3, 64, 64)
    unmask("sample", f"run={folder}", "count=3", "batch_size=2", "out=diffused", cwd=place)
    assert len(list((place / "diffused/pictures").glob("*.png"))) == 3


@pytest.mark.slow
def test_by_attributes_in_bf16_with_accumulation_an_update_moves_the_average_once(portraits):
    place, here = portraits
    more = [
        "trainer.precision=bf16-mixed", "data.loader.attributes=[Male]",
        "+trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=4", "data.batch_size=4",
        "name=diffusion_by", "module/sampler=ddim", "module.guidance=2", "callbacks.samples.count=4",
    ]  # fmt: skip
    unmask("train", "experiment=celeba/diffusion", *here, *SHORT, *more, cwd=place)
    (folder,) = (place / "outputs/diffusion_by").iterdir()
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 2 and int(state["state_dict"]["average.n_averaged"]) == 2
