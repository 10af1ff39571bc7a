"""Autoencoders: the divergence against torch's, what is learnt, seeds, latents, and the presets to their end."""

from functools import partial

import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch.distributions import Normal, kl_divergence
from torch.utils.data import DataLoader, Dataset

from conftest import fit_quietly, unmask
from unmask.modules.autoencoder import Autoencoder, kl
from unmask.networks.autoencoder import ConvDecoder, ConvEncoder
from unmask.networks.evaluators import RandomFeatures
from unmask.provenance import read_marks
from unmask.runs.run import Run
from unmask.training.reconstruction import Reconstruction
from unmask.training.schedules import constant


def test_the_divergence_is_that_of_torchs_distributions():
    mean, logvar = torch.randn(5, 7), torch.randn(5, 7)
    expected = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl(mean, logvar), expected)


def test_reconstruction_by_hand():
    made, original = torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.25)
    assert float(Reconstruction(2.0, 3.0)(made, original)) == pytest.approx(2 * 0.0625 + 3 * 0.25)
    c1 = 0.01**2  # of flat pictures only the first factor of SSIM is left
    ssim = (2 * 0.5 * 0.25 + c1) / (0.25 + 0.0625 + c1)
    assert float(Reconstruction(0.0, 0.0, 4.0)(made, original)) == pytest.approx(4 * (1 - ssim), rel=1e-4)
    for weights in ((-1.0, 0.0, 0.0), (0.0, 0.0, 0.0)):
        with pytest.raises(ValueError, match="weights"):
            Reconstruction(*weights)


class Spots(LightningDataModule):
    """A bright spot somewhere on grey, 16 px: two numbers say everything of a picture."""

    class Set(Dataset):
        def __init__(self, count, first):
            self.count, self.first = count, first

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            at = torch.rand(2, generator=torch.Generator().manual_seed(self.first + index))
            across = torch.arange(16) / 15
            spot = torch.exp(-20 * ((across[:, None] - at[0]) ** 2 + (across - at[1]) ** 2))
            return {"x": (0.3 + 0.6 * spot).expand(3, 16, 16), "y": 0, "index": index}

    def train_dataloader(self):
        return DataLoader(self.Set(256, 0), 32)

    def val_dataloader(self):
        return DataLoader(self.Set(48, 1000), 32)


def small(variational=True, **options):
    torch.manual_seed(0)
    networks = ConvEncoder(16, 16 if variational else 8, filters=8), ConvDecoder(16, 8, filters=8)
    adam = partial(torch.optim.Adam, lr=3e-3)
    return Autoencoder(*networks, Reconstruction(), adam, constant, RandomFeatures(4), variational, **options)


def fit(module, epochs):
    fit_quietly(module, Spots(), max_epochs=epochs)
    return module.results.figures


@pytest.mark.slow
@pytest.mark.parametrize("variational", [True, False])
def test_unseen_pictures_come_back_better_than_their_mean(variational):
    module = small(variational, beta=1e-3)
    found = fit(module, 12)
    x = torch.stack([Spots.Set(48, 1000)[at]["x"] for at in range(48)])
    mean = -10 * torch.log10((x - x.mean(0)).square().mean((1, 2, 3)))
    assert found["psnr"] > float(mean.mean()) + 3
    with torch.no_grad():
        again = -10 * torch.log10((module.eval()(x) - x).square().mean((1, 2, 3)))
    assert found["psnr"] == pytest.approx(float(again.mean()), abs=1e-3), "every picture of validation once"
    assert module.shown.shape == (18, 2, 3, 16, 16)


def test_beta_rises_and_pulls_latents_to_the_normal():
    loose, tight = small(beta=0.0), small(beta=10.0, warmup=0.0)
    fit(loose, 2), fit(tight, 2)
    x = torch.stack([Spots.Set(8, 0)[at]["x"] for at in range(8)])
    assert tight.eval().encode(x).abs().mean() < 0.3 * loose.eval().encode(x).abs().mean()
    module = small(beta=1.0, warmup=0.5)
    weights = []
    step = module.training_step
    module.training_step = lambda *given: weights.append(module._weight()) or step(*given)
    fit(module, 1)
    assert weights == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0])


def test_a_seed_gives_its_picture_at_any_batch_size():
    for variational in (True, False):
        module = small(variational)
        fit(module, 1)
        together = module.sample(3, [5, 2, 5])
        assert torch.equal(together[0], together[2]) and not torch.allclose(together[0], together[1])
        assert (module.sample(1, [2]) - together[1:2]).abs().max() < 2 / 255
        assert module.decoder.training


def test_a_plain_one_samples_where_its_latents_lie():
    module = small(False)
    fit(module, 4)
    x = torch.stack([Spots.Set(256, 0)[at]["x"] for at in range(256)])
    z = module.eval().encode(x)
    assert (module.latent_mean - z.mean(0)).abs().max() < 1.5 * float(z.std(0).max())
    assert not torch.equal(module.latent_mean, torch.zeros(8))


def test_latents_are_walked_and_attributes_are_directions():
    module = small(beta=1e-3)
    fit(module, 8)
    module.eval()
    left, right = (torch.stack([Spots.Set(64, 0)[at]["x"] for at in range(64)]),) * 2
    walk = module.interpolate(left[0], right[1], 5)
    assert walk.shape == (5, 3, 16, 16)
    torch.testing.assert_close(walk[[0, -1]], module(torch.stack([left[0], right[1]])))
    across = left.mean(1) - 0.3
    where = (across * torch.arange(16)).sum((1, 2)) / across.sum((1, 2))  # the spot's column
    to_the_right = module.direction(left, (where > 7.5).float())
    moved = module.decode(module.encode(left) + to_the_right).mean(1) - 0.3
    assert ((moved * torch.arange(16)).sum((1, 2)) / moved.sum((1, 2))).mean() > where.mean() + 1
    with pytest.raises(ValueError, match="images with and without the attribute"):
        module.direction(left, torch.ones(64))


@pytest.mark.parametrize("preset", ["celeba/vae", "celeba/ae"])
def test_a_preset_runs_to_its_end_and_leaves_marked_grids(portraits, preset):
    place, here = portraits
    tiny = ("trainer=smoke", "data.batch_size=8", "module.encoder.filters=4", "module.decoder.filters=4")
    unmask("train", f"experiment={preset}", *here, *tiny, cwd=place)
    (folder,) = (place / "outputs" / preset).iterdir()
    names = {path.name for path in (folder / "samples").iterdir()}
    assert names == {"step-0000000.png", "step-0000002.png", "timelapse.mp4", "reconstructed.png"}
    assert Image.open(folder / "samples/reconstructed.png").size[0] % 64 == 0
    for name in names:
        assert read_marks(folder / "samples" / name)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    run = Run(folder)
    assert 5 < run.metrics["test"]["psnr"] < 40 and 0 < run.metrics["test"]["ssim"] < 1
    assert run.module().sample(2, [0, 1]).shape == (2, 3, 64, 64)
