"""Evaluators of generated pictures: figures by hand and by SciPy, the published networks, files that are not there."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models.inception as tv
from PIL import Image
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import alexnet

from conftest import compose, unmask
from unmask.config.check import validate
from unmask.evaluation.loading import data_of
from unmask.metrics import generation
from unmask.modules import sample_metrics
from unmask.modules.gan import GAN
from unmask.modules.latents import seed_of
from unmask.networks import evaluators, perceptual, weights
from unmask.networks.evaluators import Inception, RandomFeatures, resize_corners
from unmask.networks.perceptual import LPIPS
from unmask.networks.weights import WeightsNotFound
from unmask.provenance import read_marks
from unmask.runs.run import Run
from unmask.training.reconstruction import Reconstruction

# ---- figures of sets, by hand ----


def test_frechet_distance_is_scipys_in_float64():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)), rng.normal(0.4, 1.5, size=(200, 8))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert generation.frechet(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-6)
    low = torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)
    assert generation.frechet(*low) == pytest.approx(expected, abs=1e-3)


def test_kernel_distance_is_the_double_sum(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(11, 5)), rng.normal(0.5, 1, size=(7, 5))

    def k(x, y):
        return (float(np.dot(x, y)) / 5 + 1) ** 3

    own = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    expected = sum(own) - 2 * np.mean([k(x, y) for x in a for y in b])
    monkeypatch.setattr(generation, "BLOCK", 4)  # blocks that do not divide the sets
    assert generation.kernel(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)


def test_inception_score_by_hand():
    sure = 200 * torch.eye(4)  # each picture a class of its own, for certain: exp(log 4)
    assert generation.inception_score(sure, parts=1) == pytest.approx(4, rel=1e-6)
    assert generation.inception_score(torch.zeros(8, 4), parts=1) == pytest.approx(1)
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])

    def score(part):
        return np.exp(np.mean([sum(q * np.log(q / m)) for q in part for m in [part.mean(0)]]))

    logits = torch.tensor(np.log(p)) + torch.tensor([[3.0], [-1.0], [0.0], [7.0]])  # the same classes
    assert generation.inception_score(logits, parts=1) == pytest.approx(score(p), rel=1e-9)
    assert generation.inception_score(logits, parts=2) == pytest.approx((score(p[:2]) + score(p[2:])) / 2, rel=1e-9)


def test_precision_and_recall_of_points_on_a_line():
    """Real 0, 1, 2, 10 reach 1, 1, 1, 8 to their nearest: balls [-1, 1], [0, 2], [1, 3], [2, 18]."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    made = torch.tensor([[-1.5], [0.5], [17.0], [40.0]])  # out, in, in, out; they reach 2, 2, 16.5, 23
    assert generation.precision_recall(real, made, neighbours=1) == (0.5, 1.0)
    # Balls of the made ones without the two far ones, 0.5 and -1.5 with 2 each: [-3.5, 2.5]: 0, 1, 2 lie in it.
    assert generation.precision_recall(real, made[:2], neighbours=1) == (0.5, 0.75)
    assert generation.precision_recall(real, real + 0.0) == (1.0, 1.0)
    assert generation.precision_recall(real, real + 1000) == (0.0, 0.0)
    assert all(np.isnan(generation.precision_recall(real[:3], made)))


def test_collapse_is_precise_and_recalls_little():
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(400, 3, generator=rng)
    precision, recall = generation.precision_recall(real, 0.05 * torch.randn(400, 3, generator=rng))
    assert precision > 0.95 and recall < 0.1


def test_neighbours_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(generation, "BLOCK", 5)
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(13, 4)), rng.normal(size=(9, 4))
    far = np.sqrt(np.square(a[:, None] - b).sum(2))
    distance, index = generation.nearest(torch.tensor(a), torch.tensor(b), 3)
    np.testing.assert_array_equal(index.numpy(), far.argsort(1)[:, :3])
    np.testing.assert_allclose(distance.numpy(), np.sort(far, 1)[:, :3], rtol=1e-9)


def test_identity_is_the_cosine():
    a, b = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0], [-5.0, 0.0]])
    torch.testing.assert_close(generation.identity(a, b), torch.tensor([0.96, 0.0, -1.0]))


def test_flicker_is_what_changes_more_than_in_the_original():
    original = torch.tensor([0.0, 0.25, 0.5]).view(3, 1, 1, 1).expand(3, 3, 4, 4)
    dark = torch.tensor([0.5, -0.5, 0.5]).view(3, 1, 1, 1)
    assert float(generation.flicker(original + 0.1, original)) == pytest.approx(0, abs=1e-6)
    assert float(generation.flicker(original.flip(0), original)) == pytest.approx(0, abs=1e-6)
    # Changes of 1 and 1 where the original has 0.25 and 0.25; a still copy has none.
    videos = torch.stack([dark.expand(3, 3, 4, 4), torch.zeros(3, 3, 4, 4)])
    found = generation.flicker(videos, original.expand(2, 3, 3, 4, 4))
    torch.testing.assert_close(found, torch.tensor([0.75, -0.25]))
    with pytest.raises(ValueError, match="at least 2 frames"):
        generation.flicker(original[:1], original[:1])


# ---- the published Inception network ----


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of random weights in the published naming, which is torchvision's without its second head."""
    torch.manual_seed(0)
    network = tv.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1), nn.init.uniform_(module.running_var, 0.1, 0.5)
            nn.init.uniform_(module.bias, -0.1, 0.1), nn.init.uniform_(module.weight, 0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path, network


def as_published(monkeypatch, path):
    """Let a file pass for the published one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(evaluators, "INCEPTION_URLS", (f"https://example.org/inception-{digest}.pth",))


def test_the_graph_is_torchvisions_with_the_published_pools(published, monkeypatch):
    """torchvision's own forward, its nine average pools exchanged: eight leave padding out, the last is a maximum."""
    path, network = published
    x = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0))
    calls, average = [], nn.functional.avg_pool2d

    def pool(x, **how):
        calls.append(how)
        if len(calls) < 9:
            windows = nn.functional.unfold(nn.functional.pad(x, (1, 1, 1, 1), value=float("nan")), 3)
            return windows.unflatten(1, (x.shape[1], 9)).nanmean(2).unflatten(2, x.shape[2:])
        windows = nn.functional.unfold(nn.functional.pad(x, (1, 1, 1, 1), value=float("-inf")), 3)
        return windows.unflatten(1, (x.shape[1], 9)).amax(2).unflatten(2, x.shape[2:])

    with torch.no_grad():
        theirs = network((255 * x).round() / 128 - 1)
        monkeypatch.setattr(tv.F, "avg_pool2d", pool)
        expected = network((255 * x).round() / 128 - 1)
        monkeypatch.setattr(tv.F, "avg_pool2d", average)
    assert calls == 9 * [{"kernel_size": 3, "stride": 1, "padding": 1}]
    evaluator = Inception(str(path))
    features = evaluator(x)
    assert features.shape == (2, evaluator.num_features)
    scale = float(expected.std())
    found = evaluator.logits(features) + network.fc.bias
    assert (found - expected).abs().max() < 1e-3 * scale < 0.1 * (theirs - expected).abs().max()


def test_every_published_tensor_is_used(published):
    path, _ = published
    state = torch.load(path, weights_only=True)
    bare = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.bn.running_mean": (64,),
        "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
        "Mixed_7c.branch3x3dbl_3b.bn.running_var": (384,),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }
    assert shapes.items() <= {name: tuple(value.shape) for name, value in bare.items()}.items()
    assert len(bare) == 94 * 5 + 2  # 94 convolutions, each with a norm of four, and the classes
    ours = evaluators.build_inception(bare, "file").state_dict()  # files without counters are as good
    ours = {name.replace("classes.", "fc."): value for name, value in ours.items()}
    assert bare.keys() <= ours.keys() and all(torch.equal(ours[name], value) for name, value in bare.items())
    with pytest.raises(ValueError, match=r"1 of \d+ tensors are missing.*Mixed_7c"):
        evaluators.build_inception({k: v for k, v in bare.items() if k != "Mixed_7c.branch1x1.conv.weight"}, "file")


def test_resizing_is_tensorflows():
    row = torch.tensor([[[[0.0, 8.0]]]])
    torch.testing.assert_close(resize_corners(row, 4)[0, 0, 0], torch.tensor([0.0, 4.0, 8.0, 8.0]))
    x = torch.rand(1, 1, 5, 7, dtype=torch.float64)
    expected = np.zeros((9, 9))
    for i, j in np.ndindex(9, 9):
        y, x_ = i * 5 / 9, j * 7 / 9
        t, left = int(y), int(x_)
        b, right = min(t + 1, 4), min(left + 1, 6)
        upper = x[0, 0, t, left] * (1 - x_ + left) + x[0, 0, t, right] * (x_ - left)
        lower = x[0, 0, b, left] * (1 - x_ + left) + x[0, 0, b, right] * (x_ - left)
        expected[i, j] = upper * (1 - y + t) + lower * (y - t)
    np.testing.assert_allclose(resize_corners(x, 9)[0, 0].numpy(), expected, atol=1e-12)
    torch.testing.assert_close(resize_corners(x.expand(1, 1, 5, 7)[..., :5], 5), x[..., :5])


def test_half_precision_is_the_trainers_not_the_evaluators(published):
    x = torch.rand(1, 3, 40, 40)
    evaluator = Inception(str(published[0]))
    with torch.autocast("cpu", torch.bfloat16):
        half = evaluator(x)
    torch.testing.assert_close(half, evaluator(x))


def test_figures_are_called_fid_only_with_the_published_weights(published, monkeypatch):
    path, _ = published
    real, made = torch.randn(20, 2048), torch.randn(20, 2048)
    other = sample_metrics.figures(Inception(str(path)), real, made)
    assert set(other) == {
        "frechet_inception", "kernel_inception", "precision_inception", "recall_inception", "class_score_inception",
        "std_ratio",
    }  # fmt: skip
    assert {"frechet_random", "kernel_random", "precision_random"} < set(
        sample_metrics.figures(RandomFeatures(), real, made)
    )
    as_published(monkeypatch, path)
    evaluator = Inception(str(path))
    found = sample_metrics.figures(evaluator, real, made)
    assert set(found) == {"fid", "kid", "precision_inception", "recall_inception", "inception_score", "std_ratio"}
    assert found["fid"] == other["frechet_inception"] and found["kid"] == other["kernel_inception"]
    weight = torch.load(path, weights_only=True)["fc.weight"]
    assert found["inception_score"] == pytest.approx(generation.inception_score(made @ weight.T))
    sample_metrics.check(evaluator, "val/fid")
    with pytest.raises(ValueError, match=r"module.monitor=val/frechet_random: .* val/fid"):
        sample_metrics.check(evaluator, "val/frechet_random")
    sample_metrics.check(RandomFeatures(), "val/frechet_random")
    sample_metrics.check(RandomFeatures(), "train/loss")


def test_the_file_of_either_port_is_the_published_one():
    """Both name the SHA-256 that is told of both, 6726825d0af5f729...9129b2."""
    assert {weights.digest_of(url) for url in evaluators.INCEPTION_URLS} == {"6726825d"}
    assert weights.digest_of(perceptual.URLS["vgg"]) == "397923af"


def test_missing_weights_are_told_at_first_use_with_file_source_and_place(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for evaluator, file in (
        (Inception(), "weights-inception-2015-12-05-6726825d.pth"),
        (Inception(download=True), "weights-inception-2015-12-05-6726825d.pth"),
    ):
        with pytest.raises(WeightsNotFound) as told:
            evaluator(torch.rand(1, 3, 32, 32))
        for part in (file, "torch-fidelity", "pytorch-fid", str(tmp_path / "hub/checkpoints" / file), "weights=PATH"):
            assert part in str(told.value)
    assert "HF_HUB_OFFLINE is set" in str(told.value), "why the download failed"
    with pytest.raises(WeightsNotFound, match=r"nowhere\.pth"):
        sample_metrics.check(Inception(str(tmp_path / "nowhere.pth")), "val/fid")


@pytest.mark.parametrize("url", evaluators.INCEPTION_URLS)
def test_the_usual_place_is_asked_for_the_names_of_both_ports(published, monkeypatch, tmp_path, url):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub/checkpoints" / url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    shutil.copy(published[0], place)
    assert Inception()(torch.rand(1, 3, 32, 32)).shape == (1, 2048)
    assert not Inception().published, "a file of that name with other bytes is none of the published ones"


class Code:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_files_that_are_code_are_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(nn.Linear(2, 2)).save("archive.pt")
    Path("pickled.pth").write_bytes(pickle.dumps(Code()))
    torch.save({"fc.weight": Code()}, "zipped.pth")
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, "other.pth")
    for name, said in (
        (
            "archive.pt",
            "TorchScript archive, which is code, and is refused: use a state dict from https://github.com/toshas",
        ),
        ("pickled.pth", "refused"),
        ("zipped.pth", "needs unpickling, which can run code, and is refused"),
        ("other.pth", "does not fit Inception3"),
    ):
        with pytest.raises(ValueError, match=said):
            Inception(name)(torch.rand(1, 3, 32, 32))
    assert not Path("ran").exists()


@pytest.mark.parametrize("evaluator", [Inception("nowhere.pth"), LPIPS("squeeze", "nowhere.pth")])
def test_what_only_looks_is_neither_trained_nor_saved(evaluator):
    assert not list(evaluator.parameters()) and not evaluator.state_dict() and not list(evaluator.buffers())
    nn.Sequential(evaluator).load_state_dict({})


# ---- LPIPS ----


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Files of random backbones in torchvision's naming, and torchmetrics' networks that hold the same weights."""
    place, found = tmp_path_factory.mktemp("backbones"), {}
    import torchvision

    for net, name in (("alex", "alexnet"), ("squeeze", "squeezenet1_1"), ("vgg", "vgg16")):
        torch.manual_seed(1)
        backbone = getattr(torchvision.models, name)(weights=None).features.eval()
        torch.save({f"features.{key}": value for key, value in backbone.state_dict().items()}, place / f"{net}.pth")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", lambda *_, b=backbone: b)
            found[net] = place / f"{net}.pth", _LPIPS(net=net)
    return found


@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_lpips_is_torchmetrics_with_the_same_backbone(backbones, net):
    path, theirs = backbones[net]
    a, b = torch.rand(3, 3, 64, 64), torch.rand(3, 3, 64, 64)
    b[2] = a[2]
    found = LPIPS(net, str(path))(a, b)
    expected = theirs(2 * a - 1, 2 * b - 1).flatten()
    assert found.shape == (3,) and (found[:2] > 1e-4).all() and float(found[2]) == 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_lpips_by_hand(backbones):
    """arXiv 1801.03924, equation 1, from the stages' maps: the squares of unit differences, weighted and averaged."""
    path, theirs = backbones["alex"]
    a, b = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    maps = [theirs.net((2 * x - 1 - shift.view(3, 1, 1)) / scale.view(3, 1, 1)) for x in (a, b)]
    heads = torch.load(Path(tv.__file__).parents[2] / "torchmetrics/functional/image/lpips_models/alex.pth", "cpu")
    total = 0.0
    for at, (p, q) in enumerate(zip(*maps, strict=True)):
        p, q = (m[0].double().detach().numpy() for m in (p, q))
        unit = [m / np.sqrt((m**2).sum(0) + 1e-8) for m in (p, q)]
        weight = heads[f"lin{at}.model.1.weight"].double().numpy().reshape(-1, 1, 1)
        total += (weight * (unit[0] - unit[1]) ** 2).sum(0).mean()
    assert float(LPIPS("alex", str(path))(a, b)) == pytest.approx(total, abs=1e-5)


def test_lpips_is_a_loss_whose_gradient_reaches_the_picture(backbones):
    path, _ = backbones["squeeze"]
    network = LPIPS("squeeze", str(path))
    original, made = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32, requires_grad=True)
    loss = Reconstruction(0.0, 1.0, 0.0, network, 0.5)
    value = loss(made, original)
    value.backward()
    assert made.grad is not None and bool((made.grad.abs().sum((1, 2, 3)) > 0).all())
    by_parts = (made - original).abs().mean() + 0.5 * network(made, original).mean()
    assert value.item() == pytest.approx(by_parts.item()) and not loss.state_dict()
    for wrong in ((1.0, 0.0, 0.0, network, 0.0), (1.0, 0.0, 0.0, None, 0.5), (1.0, 0.0, 0.0, network, -1.0)):
        with pytest.raises(ValueError, match="perceptual_weight"):
            Reconstruction(*wrong)


def test_lpips_is_refused_in_words(backbones, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFound, match=r"squeezenet1_1-b8a52dc0.pth\n.*download.pytorch.org.*\n.*checkpoints"):
        LPIPS("squeeze")(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="alex, vgg, squeeze"):
        LPIPS("resnet")
    with pytest.raises(ValueError, match="does not fit"):
        LPIPS("vgg", str(backbones["alex"][0]))(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="16x64 px is too small"):
        LPIPS("squeeze")(torch.rand(1, 3, 16, 64), torch.rand(1, 3, 16, 64))
    path = backbones["squeeze"][0]
    assert LPIPS("squeeze", str(path)).name == "perceptual_squeeze", "random weights are not LPIPS"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(perceptual.URLS, "squeeze", f"https://example.org/squeezenet1_1-{digest}.pth")
    assert LPIPS("squeeze", str(path)).name == "lpips_squeeze"


# ---- configs, and the whole way ----


@pytest.mark.parametrize("evaluator", ["random", "inception"])
def test_an_evaluator_is_one_choice_in_training_and_evaluation(evaluator):
    given = compose("evaluate", [f"evaluator={evaluator}"])
    validate(given, "evaluator", "lpips")
    for module in ("gan", "autoencoder"):
        assert (
            compose("train", [f"module={module}", f"module/evaluator={evaluator}", "paths.out=out"]).module.evaluator
            == given.evaluator
        )


TINY = ("trainer=smoke", "data.batch_size=8", "image_size=32")


@pytest.fixture(scope="module")
def runs(portraits):
    """Runs of two steps: a conditional GAN and an autoencoder."""
    place, here = portraits
    for preset, parts in (("cdcgan", ("generator", "discriminator")), ("vae", ("encoder", "decoder"))):
        sizes = [f"module.{part}.filters=4" for part in parts]
        unmask("train", f"experiment=celeba/{preset}", *here, *TINY, *sizes, f"name=evaluated/{preset}", cwd=place)
    return place, *(next((place / "outputs/evaluated" / preset).iterdir()) for preset in ("cdcgan", "vae"))


def test_samples_are_evaluated_and_their_nearest_training_pictures_shown(runs):
    place, gan, _ = runs
    printed = unmask("evaluate", f"run={gan}", "count=9", cwd=place).stdout
    assert "demo metrics of cdcgan: 9 samples compared with" in printed
    assert "frechet_random: " in printed and "fid" not in printed
    (entry,) = json.loads((gan / "generation.json").read_text()).values()
    found = entry["random"]
    assert found["samples"] == 9 and found["real"] > 1 and not found["published"] and entry["demo"]
    assert found["frechet_random"] > 0 and 0 <= found["precision_random"] <= 1
    assert found["pairwise_lpips_alex"].startswith("not run: weights not found")
    near = found["nearest_training"]
    assert 0 < near["closest sample"] <= near["samples"] and near["test pictures"] > 0
    shown = Image.open(gan / "nearest.png")
    assert shown.width == 6 * 96 and shown.height > 6 * 96
    assert read_marks(gan / "nearest.png")["digitalSourceType"].endswith("/trainedAlgorithmicMedia")


@pytest.mark.slow
def test_lpips_of_samples_is_the_mean_over_pairs(runs, tmp_path, monkeypatch):
    """Samples that are all the same picture lie at 0; others where LPIPS itself puts each pair."""
    place, gan, _ = runs
    monkeypatch.chdir(place)
    torch.save(alexnet().state_dict(), tmp_path / "alex.pth")
    given = ["evaluate", f"run={gan}", "count=5", f"lpips.weights={tmp_path}/alex.pth"]
    drawn = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    number = {seed_of(0, at): at for at in range(5)}
    for pictures in (drawn, drawn[:1].expand(5, -1, -1, -1)):
        monkeypatch.setattr(
            GAN, "sample", lambda self, n, seeds, condition=None, x=pictures: x[[number[seed] for seed in seeds]]
        )
        unmask(*given, cwd=place)
        (entry,) = json.loads((gan / "generation.json").read_text()).values()
        measure = LPIPS("alex", str(tmp_path / "alex.pth"))
        pairs = [float(measure(pictures[at : at + 1], pictures[at + 2 : at + 3])) for at in (0, 1)]
        assert entry["random"]["pairwise_perceptual_alex"] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert pairs == [0, 0]


def test_copies_of_training_pictures_are_seen(runs, monkeypatch):
    """A generator that gives training pictures back lies at distance 0, where test pictures do not."""
    place, gan, _ = runs
    monkeypatch.chdir(place)
    data = data_of(Run(gan))
    data.setup("test")
    batch = data.samples["train"].__getitems__([(0, row) for row in range(4)])
    stored = data.on_after_batch_transfer(batch, 0)["x"]
    monkeypatch.setattr(GAN, "sample", lambda self, n, seeds, condition=None: stored[[s % 4 for s in seeds]])
    unmask("evaluate", f"run={gan}", "count=8", cwd=place)
    (entry,) = json.loads((gan / "generation.json").read_text()).values()
    near = entry["random"]["nearest_training"]
    assert near["samples"] < 1e-3 < near["test pictures"]
    shown = np.asarray(Image.open(gan / "nearest.png"))[-6 * (96 + 18) :].astype(int)
    left, right = shown[:96, :96], shown[:96, 96:192]
    assert np.abs(left - right).max() <= 1, "the nearest training picture is the copied one"


def test_an_inception_evaluator_adds_its_figures_and_sampling_never_needs_it(runs, published, monkeypatch):
    place, _, vae = runs
    path, _ = published
    monkeypatch.setattr(evaluators, "INCEPTION_SIDE", 80)  # px; a fourteenth of the work
    unmask("evaluate", f"run={vae}", "count=4", cwd=place)
    asked = unmask("evaluate", f"run={vae}", "evaluator=inception", "evaluator.weights=gone.pth", cwd=place, expect=1)
    assert "weights not found: gone.pth" in asked.stderr
    as_published(monkeypatch, path)
    unmask("evaluate", f"run={vae}", "evaluator=inception", f"evaluator.weights={path}", "count=4", cwd=place)
    (entry,) = json.loads((vae / "generation.json").read_text()).values()
    assert entry["inception"]["fid"] > 0 and entry["inception"]["inception_score"] >= 1
    assert "frechet_random" in entry["random"], "what was there stays"
    back, trained = entry["reconstruction"], json.loads((vae / "metrics.json").read_text())["test"]
    assert back["psnr"] == pytest.approx(trained["psnr"], abs=1e-3)
    assert back["ssim"] == pytest.approx(trained["ssim"], abs=1e-4)
    assert back["lpips_alex"].startswith("not run: weights not found: alexnet-owt-7be5be79.pth")


def test_a_run_whose_evaluators_file_is_gone_still_samples(portraits, published, monkeypatch):
    place, here = portraits
    monkeypatch.setattr(evaluators, "INCEPTION_SIDE", 80)  # px; a fourteenth of the work
    file = place / "inception.pth"
    shutil.copy(published[0], file)
    evaluator = ["module/evaluator=inception", f"module.evaluator.weights={file}", "name=evaluated/gone"]
    small = ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1"]
    small += ["module.generator.filters=4", "module.discriminator.filters=4"]
    chosen = ["experiment=celeba/dcgan", *here, *TINY, *evaluator, *small]
    refused = unmask("train", *chosen, cwd=place, expect=1)
    assert "module.monitor=val/frechet_random: expected one of val/frechet_inception" in refused.stderr
    unmask("train", *chosen, "module.monitor=val/frechet_inception", cwd=place)
    (run,) = (folder for folder in (place / "outputs/evaluated/gone").iterdir() if (folder / "metrics.json").is_file())
    file.unlink()
    unmask("sample", f"run={run}", "count=1", f"out={place / 'gone'}", cwd=place)
    assert (place / "gone/pictures/000000.png").is_file()


def test_evaluation_is_refused_in_words(runs):
    place, gan, _ = runs
    for wrong, said in (
        ("count=1", "expected at least 2"),
        ("split=train", "split=train: expected one of val, test"),
    ):
        assert said in unmask("evaluate", f"run={gan}", wrong, cwd=place, expect=1).stderr
    asked = unmask("evaluate", f"run={gan}", "identity.weights=x.pt", cwd=place, expect=1).stderr
    assert "identity.weights: has no effect on the evaluation of a generator" in asked
