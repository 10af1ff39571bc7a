"""Face swapping, the network and its training: geometry by hand, identities, losses, steps, resuming, the preview."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import ModelCheckpoint
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, Dataset

from conftest import fit_quietly, unmask
from unmask.modules.faceswap import FaceSwap, inside
from unmask.networks.dcgan import DCGANDiscriminator
from unmask.networks.faceswap import FaceSwapNetwork
from unmask.provenance import read_marks
from unmask.runs.run import Run
from unmask.training.adversarial import CrossEntropy, WassersteinGP
from unmask.training.callbacks import SeedEachStep
from unmask.training.reconstruction import Reconstruction
from unmask.training.samples import SampleGrid, rows
from unmask.training.warp import RandomWarp, warp

SIDE = 16
adam = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.999))


def network(people=2):
    torch.manual_seed(0)
    return FaceSwapNetwork(SIDE, people, filters=4, latent=8)


# ---- the network ----


@pytest.mark.parametrize(("size", "people"), [(16, 2), (64, 3), (128, 2)])
def test_sizes(size, people):
    net = FaceSwapNetwork(size, people, filters=4, latent=8)
    picture, mask = net(torch.rand(3, 3, size, size), torch.tensor([0, people - 1, 0]))
    assert picture.shape == (3, 3, size, size) and mask.shape == (3, 1, size, size)
    assert 0 <= min(float(picture.min()), float(mask.min())) and max(float(picture.max()), float(mask.max())) <= 1


def test_weights_counted_by_hand():
    """At 16 px: 3 -> 4 -> 8 channels by 5x5, a bottleneck of 8 around 16 x 8, up by 3x3 to four times the channels."""
    down = 25 * 3 * 4 + 4 + 25 * 4 * 8 + 8
    middle = 128 * 8 + 8 + 8 * 128 + 128 + 9 * 8 * 32 + 32
    up = 9 * 8 * 16 + 16 + 25 * 4 * 4 + 4
    assert sum(p.numel() for p in network().parameters()) == down + middle + 2 * up


@pytest.mark.parametrize("training", [True, False])
def test_each_face_goes_through_its_own_decoder_whatever_is_beside_it(training):
    net, x, who = network(3).train(training), torch.rand(5, 3, SIDE, SIDE), torch.tensor([2, 0, 1, 0, 2])
    together = net(x, who)
    for at, person in enumerate(who.tolist()):
        z = net.encoder(x[at : at + 1])
        for joint, alone in zip(together, net.decoders[person](z), strict=True):
            assert torch.allclose(joint[at], alone[0], atol=1e-6)
    assert not torch.allclose(together[0], net(x, (who + 1) % 3)[0], atol=1e-3)


def test_a_decoder_learns_only_from_its_own_person():
    net = network()
    net(torch.rand(2, 3, SIDE, SIDE), torch.tensor([1, 1]))[0].sum().backward()
    assert all(p.grad is None for p in net.decoders[0].parameters())
    assert all(p.grad is not None for p in [*net.decoders[1].parameters(), *net.encoder.parameters()])


def test_first_weights_enlarge_without_a_chequerboard():
    net = network()
    made = net.encoder.up(torch.rand(1, 8, 4, 4))  # [1, 8, 8, 8]: each pixel four times
    assert torch.allclose(made, made[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="people=1"):
        FaceSwapNetwork(64, 1)
    with pytest.raises(ValueError, match="power of two"):
        FaceSwapNetwork(96, 2)
    with pytest.raises(ValueError, match="expected input"):
        network()(torch.rand(1, 3, 32, 32), torch.tensor([0]))


# ---- bent faces ----


def test_a_constant_shift_fetches_pixels_from_where_it_points():
    x = torch.rand(1, 3, 8, 8)
    knots = torch.zeros(1, 2, 3, 3)
    knots[:, 0] = 2 / 8  # two px to the right
    moved = warp(x, knots)
    assert torch.allclose(moved[..., :6], x[..., 2:], atol=1e-5)
    assert torch.allclose(moved[..., 6:], x[..., 7:].expand(1, 3, 8, 2), atol=1e-5)  # the edge goes on
    assert torch.allclose(warp(x, torch.zeros(1, 2, 4, 4)), x, atol=1e-5)


def test_each_face_is_bent_by_a_draw_of_its_own_and_the_seed_decides_it():
    x, bend = torch.rand(1, 3, 32, 32).expand(2, 3, 32, 32), RandomWarp(0.05)
    torch.manual_seed(1)
    one = bend(x)
    torch.manual_seed(1)
    assert torch.equal(one, bend(x)) and not torch.allclose(one[0], one[1], atol=0.01)
    assert RandomWarp(0.0)(x) is x
    with pytest.raises(ValueError, match="knots=1"):
        RandomWarp(0.1, 1)


# ---- the module ----


class Faces(LightningDataModule):
    """Two people: one reddish, one bluish, with a round mask; 20 of both for training and 8 held out."""

    class Drawn(Dataset):
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def __getitem__(self, index):
            who = index % 2
            noise = 0.2 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(index))
            noise[2 * who] += 0.7
            across = torch.arange(SIDE) - SIDE / 2 + 0.5
            mask = (across[:, None] ** 2 + across[None] ** 2 < 36).float()[None]
            return {"x": noise, "identity": who, "mask": mask, "y": 0, "index": index}

    def train_dataloader(self):
        return DataLoader(self.Drawn(20), 4)

    def val_dataloader(self):
        return DataLoader(self.Drawn(8), 4)

    test_dataloader = val_dataloader


def small(**options):
    return FaceSwap(network(), Reconstruction(0.0, 1.0, 1.0), adam, RandomWarp(), **options)


def against(loss=None, **options):
    torch.manual_seed(1)
    discriminator = DCGANDiscriminator(SIDE, filters=4, norm="none")
    return small(discriminator=discriminator, adversarial=loss or CrossEntropy(), optimizer_d=adam, **options)


def fit(module, data=None, **options):
    return fit_quietly(module, data or Faces(), **options)


def test_the_loss_by_hand():
    """All 0.5 off in a mask that is half of the picture: 0.5 (0.5 + 0.2 x 0.5) of L1 and 0.3 of the mask's 0.25."""

    class Grey(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.tensor(0.5))

        def forward(self, x, identity):
            return self.level.expand(x.shape), self.level.expand(len(x), 1, *x.shape[2:])

    module = FaceSwap(Grey(), Reconstruction(0.0, 1.0), adam, nn.Identity(), mask_weight=0.3, outside=0.2)
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[..., : SIDE // 2] = 1
    x, weight = torch.zeros(2, 3, SIDE, SIDE), 0.2 + 0.8 * mask
    module.log = lambda *_, **__: None
    made, drawn = module.network(x, None)
    loss = module._reconstruct(x, weight * made + (1 - weight) * x, mask, drawn)["loss"]
    assert float(loss) == pytest.approx(0.5 * (0.5 + 0.2 * 0.5) + 0.3 * 0.25)


@pytest.mark.parametrize("make", [small, against, partial(against, WassersteinGP())])
def test_a_step_is_a_batch_and_everybody_learns(make):
    module = make()
    before = {name: value.clone() for name, value in module.named_parameters()}
    trainer = fit(module, max_steps=10, limit_val_batches=0)
    assert trainer.global_step == 10 and trainer.current_epoch == 2
    still = {name for name, value in module.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"discriminator.last.bias"}  # of a difference of scores it is no part


def test_it_learns_faces_and_swaps_in_the_right_direction():
    module = small()
    fit(module, max_epochs=25)
    assert module.results.figures["psnr"] > 18 and module.results.figures["mask_iou"] > 0.9
    data = Faces.Drawn(8)
    red = torch.stack([data[at]["x"] for at in range(0, 8, 2)])
    for person, channel in ((0, 0), (1, 2)):
        picture, mask = module.swap(red, torch.full((4,), person))
        assert int(picture.mean((0, 2, 3)).argmax()) == channel
        # What lies beyond anything that blue's decoder has seen may have any mask.
        assert person or (float(mask[..., 8, 8].min()) > 0.8 and float(mask[..., 0, 0].max()) < 0.2)


def test_figures_are_those_of_the_pictures():
    module = small()
    fit(module, max_epochs=1)
    data = Faces.Drawn(8)
    x = torch.stack([data[at]["x"] for at in range(8)])
    made, _ = module.swap(x, torch.tensor([0, 1] * 4))
    error = (made - x).square().numpy()
    each = -10 * np.log10(error.mean((1, 2, 3)))
    assert module.results.figures["psnr_crop"] == pytest.approx(each.mean(), rel=1e-4)
    mask = data[0]["mask"][0].numpy() > 0
    face = np.array([-10 * np.log10(one[:, mask].mean()) for one in error])
    assert module.results.figures["psnr"] == pytest.approx(face.mean(), rel=1e-4)
    assert module.results.figures["psnr_1"] == pytest.approx(face[1::2].mean(), rel=1e-4)
    # A window of 11 px and deviation 1.5 of SciPy; SSIM of a pixel in the middle, whose window hangs over no border.
    blur = partial(gaussian_filter, sigma=1.5, truncate=5 / 1.5)
    one, other = made[0, 0].double().numpy(), x[0, 0].double().numpy()
    means = blur(one), blur(other)
    shared = blur(one * other) - means[0] * means[1]
    spread = blur(one**2) - means[0] ** 2 + blur(other**2) - means[1] ** 2
    ssim = (2 * means[0] * means[1] + 1e-4) * (2 * shared + 9e-4)
    ssim /= (means[0] ** 2 + means[1] ** 2 + 1e-4) * (spread + 9e-4)
    point = torch.zeros(1, 1, SIDE, SIDE)
    point[..., 8, 8] = 1
    grey = [t[:1, :1].expand(1, 3, SIDE, SIDE) for t in (made, x)]
    assert float(inside(*grey, point)[1]) == pytest.approx(ssim[8, 8], rel=1e-3)


def test_the_preview_shows_each_as_it_is_then_as_itself_then_as_the_other(tmp_path):
    module = small()
    assert module.preview() is None
    fit(module, max_epochs=4, callbacks=[SeedEachStep(0), SampleGrid(str(tmp_path), every_n_steps=10)])
    shown = module.preview()
    data = Faces.Drawn(8)
    assert shown.shape == (8, 3, 3, SIDE, SIDE)  # two batches with two of each person
    for row, (index, who) in enumerate([(0, 0), (2, 0), (4, 0), (6, 0), (1, 1), (3, 1), (5, 1), (7, 1)]):
        x = data[index]["x"]
        assert torch.equal(shown[row, 0], x)
        for column, person in ((1, who), (2, 1 - who)):
            assert torch.allclose(shown[row, column], module.swap(x[None], torch.tensor([person]))[0][0], atol=1e-5)
    made = sorted(path.name for path in tmp_path.iterdir())
    # Nothing was held out yet at step 0.
    assert made == ["reconstructed.png", "step-0000010.png", "step-0000020.png", "timelapse.mp4"]
    picture = np.asarray(Image.open(tmp_path / "reconstructed.png"))
    assert np.array_equal(picture, rows(shown)) and picture.shape[1] % (3 * SIDE) == 0
    assert read_marks(tmp_path / "reconstructed.png")["synthetic"] == "true"


@pytest.mark.parametrize("make", [small, against])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(make, tmp_path):
    whole = make()
    fit(whole, max_epochs=3)
    save = ModelCheckpoint(tmp_path, filename="last", every_n_epochs=1)
    fit(make(), max_epochs=1, callbacks=[SeedEachStep(0), save], enable_checkpointing=True)
    again = make()
    assert fit(again, ckpt_path=tmp_path / "last.ckpt", max_epochs=3).global_step == 15
    for (name, ours), theirs in zip(again.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_settings_that_cannot_work_are_named():
    with pytest.raises(ValueError, match=r"module\.outside=2"):
        small(outside=2)
    with pytest.raises(ValueError, match=r"module\.discriminator also needs"):
        small(discriminator=DCGANDiscriminator(SIDE))
    with pytest.raises(ValueError, match="data=people"):
        small().training_step({"x": torch.rand(1, 3, SIDE, SIDE)}, 0)


# ---- the verb ----


@pytest.mark.parametrize("more", [[], ["module/discriminator=dcgan", "module.discriminator.filters=4"]])
def test_through_the_verbs(people_place, more):
    place, here = people_place
    given = [*here, "experiment=faceswap/smoke", "trainer=smoke", "module.network.filters=4", *more]
    done = unmask("train", *given, cwd=place)
    folder = Path(done.stdout.split("\nrun: ")[1].split("\n")[0])
    run = Run(folder)
    assert {"psnr", "ssim", "psnr_crop", "mask_iou", "psnr_0", "psnr_1"} <= set(run.metrics["test"])
    picture, mask = run.module().swap(torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
    assert picture.shape == (2, 3, 64, 64) and mask.shape == (2, 1, 64, 64)
