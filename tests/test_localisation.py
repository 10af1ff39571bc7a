"""Localisation: figures of pixels against scikit-learn, the loss, the network, and the whole way to the report."""

import json
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from hydra.utils import instantiate
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn
from safetensors.torch import save_file
from torch import nn

from conftest import compose, unmask
from datamodules import DataOf
from test_pictures import noise, save
from unmask.config.check import resolved
from unmask.data.manifest import Item
from unmask.data.prepare import prepare
from unmask.data.source import Source
from unmask.demo.paintings import render_paintings
from unmask.media.pictures import WholePictures
from unmask.metrics import localisation
from unmask.modules.segmenter import Segmenter
from unmask.networks.encoders import SmallEncoder, TimmEncoder
from unmask.networks.layout import of_pictures
from unmask.networks.unet import UNet
from unmask.runs.identity import run_id
from unmask.runs.run import Run
from unmask.training.losses import BCEDice
from unmask.training.schedules import constant

TINY_MODEL = "test_resnet"


def pictures(seed=0, count=6, side=24):
    """Logits and masks; the first picture is untouched, the second manipulated everywhere."""
    rng = np.random.default_rng(seed)
    mask = rng.random((count, side, side)) < rng.random((count, 1, 1)) * 0.6
    mask[0], mask[1] = False, True
    logit = rng.normal(2.0 * mask - 1.2, 2.5)
    return logit, mask


# ---- figures ----


def test_figures_of_pixels_are_scikit_learns():
    """Up to 1024 pixels of a class are kept as they are: 576 in a picture."""
    logit, mask = pictures()
    found = localisation.figures(localisation.summarise(logit, mask))
    fakes = [number for number in range(len(mask)) if mask[number].any()]
    assert len(fakes) == 5
    auc = sk.roc_auc_score(mask[fakes].ravel(), logit[fakes].ravel())
    assert found["pixel_auroc"] == pytest.approx(auc, abs=1e-12)
    for name, score in (("pixel_f1", sk.f1_score), ("iou", sk.jaccard_score)):
        each = [score(mask[number].ravel(), logit[number].ravel() >= 0) for number in fakes]
        assert found[name] == pytest.approx(np.mean(each), abs=1e-12)


def many(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Float32 logits of four pictures of 160 px, of several thousand pixels each class, and their masks."""
    rng = np.random.default_rng(5)
    mask = rng.random((4, 160, 160)) < np.array([0.5, 0.1, 0.3, 0.9])[:, None, None]
    logit = {
        "normal": rng.normal(1.5 * mask),
        "two values": np.where(rng.random(mask.shape) < 0.3 + 0.4 * mask, 5.001, 5.0),
        "all equal": np.full(mask.shape, -3.0),
        "far off": 1000 + rng.normal(mask),
        "pictures apart": rng.normal(mask) + 50 * np.arange(4)[:, None, None],
        "saturated": np.clip(rng.normal(2 * mask, 3), -1, 1) * 1e4,
    }[kind]
    return logit.astype(np.float32), mask


@pytest.mark.parametrize("kind", ["normal", "two values", "all equal", "far off", "pictures apart", "saturated"])
@pytest.mark.parametrize("scale", [1, 20, 100, 1000])
def test_the_auc_of_many_pixels_holds_at_any_scale(kind, scale):
    logit, mask = many(kind)
    logit = logit * np.float32(scale)
    expected = 0.5 if kind == "all equal" else sk.roc_auc_score(mask.ravel(), logit.ravel())
    kept = localisation.summarise(logit, mask)
    assert localisation.auroc(kept) == pytest.approx(expected, abs=0 if kind == "all equal" else 1e-4)
    assert sum(part.nbytes for part in kept) < 9000 * len(mask), "of a picture at most 9 kB"
    for number in range(len(mask)):
        truth, called = mask[number].ravel(), logit[number].ravel() >= 0
        assert localisation.f1(kept)[number] == pytest.approx(sk.f1_score(truth, called), abs=1e-12)
        assert localisation.iou(kept)[number] == pytest.approx(sk.jaccard_score(truth, called), abs=1e-12)


def test_one_class_has_no_figure():
    nothing = localisation.figures(localisation.summarise(np.zeros((3, 4, 4)), np.zeros((3, 4, 4))))
    assert all(math.isnan(value) for value in nothing.values()) and len(nothing) == 3
    everything = localisation.figures(localisation.summarise(np.ones((2, 4, 4)), np.ones((2, 4, 4))))
    assert math.isnan(everything["pixel_auroc"]) and everything["pixel_f1"] == everything["iou"] == 1


def test_by_hand_and_at_the_ends():
    # Of four pixels two are manipulated; one of them is called, and one more: 1 TP, 1 FP, 1 FN.
    kept = localisation.summarise([[[900.0, -900.0], [0.0, -0.1]]], [[[1, 1], [0, 0]]])
    assert kept.total.sum() == 4 and localisation.iou(kept) == pytest.approx(1 / 3)
    assert localisation.f1(kept) == pytest.approx(0.5)
    assert localisation.auroc(kept) == pytest.approx(0.5), "of four pairs two are in order"
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"a pixel's logit is {value}"):
            localisation.summarise(np.full((1, 2, 2), value), np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="the same shape"):
        localisation.summarise(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)))


# ---- loss ----


def test_bce_dice_by_hand():
    # Two pixels at p = 1/2 and 3/4, the second manipulated: entropy (log 2 - log 3/4) / 2,
    # Dice (2 * 3/4 + 1) / (1/4 + 9/16 + 1 + 1).
    logit, mask = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2), torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    entropy, dice = (math.log(2) - math.log(0.75)) / 2, 2.5 / 2.8125
    assert BCEDice()(logit, mask).item() == pytest.approx(entropy + 1 - dice, abs=1e-6)
    assert BCEDice(dice=0.0)(logit, mask).item() == pytest.approx(entropy, abs=1e-6)
    with pytest.raises(ValueError, match=r"dice=-1"):
        BCEDice(dice=-1)


def test_untouched_pictures_train_towards_empty_maps():
    logit = torch.zeros(2, 1, 4, 4, requires_grad=True)
    (BCEDice()(logit, torch.zeros_like(logit)) - BCEDice(dice=0.0)(logit, torch.zeros_like(logit))).backward()
    assert (logit.grad > 0).all(), "Dice alone pushes every pixel down"


# ---- network ----


@pytest.mark.parametrize("name,size", [(TINY_MODEL, 70), ("convnext_atto", 96), ("vit_tiny_patch16_224", 64)])
def test_a_unet_on_any_model_of_timm_gives_maps_of_the_inputs_size(name, size):
    net = UNet(partial(TimmEncoder, name, image_size=size), width=4)
    logit = net(torch.rand(2, 3, size, size))
    assert logit.shape == (2, 1, size, size)
    logit.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters()), "a part that nothing trains"


def test_a_unet_takes_a_picture_that_is_not_square():
    net = UNet(partial(TimmEncoder, TINY_MODEL)).eval()
    assert net(torch.rand(1, 3, 50, 83)).shape == (1, 1, 50, 83)


def test_a_unet_normalises_for_its_encoder():
    """The network of timm gets what its weights were trained with: (x - mean) / std."""
    net = UNet(partial(TimmEncoder, TINY_MODEL)).eval()
    seen = []
    net.encoder.network.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.rand(1, 3, 32, 32)
    net(x)
    mean, std = (torch.tensor(net.encoder.network.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(seen[0], (x - mean) / std)


def test_a_unet_takes_local_weights(tmp_path):
    trained = TimmEncoder(TINY_MODEL)
    save_file(trained.network.state_dict(), tmp_path / "w.safetensors")
    net = UNet(partial(TimmEncoder, TINY_MODEL, weights=str(tmp_path / "w.safetensors")))
    torch.testing.assert_close(net.encoder.network.layer1[0].conv1.weight, trained.network.layer1[0].conv1.weight)


def test_a_unet_says_what_it_wants():
    with pytest.raises(ValueError, match="set module/network/encoder=timm"):
        UNet(SmallEncoder)
    with pytest.raises(ValueError, match="add _partial_: true"):
        UNet(TimmEncoder(TINY_MODEL))
    with pytest.raises(ValueError, match="set frames=null"):
        UNet(partial(TimmEncoder, TINY_MODEL))(torch.rand(1, 4, 3, 32, 32))


# ---- training ----


class Ten(Source):
    """Ten paintings, ten copies that were painted over in bright green; four on the test list."""

    def find_items(self):
        real = [Item(f"p/real/{n}", f"{n}.png", 0, "real", groups=(f"{n}",), official_test=n > 5) for n in range(10)]
        fake = [
            Item(f"p/paint/{n}", f"{n}f.png", 1, "paint", f"p/real/{n}", (f"{n}",), n > 5, mask=f"{n}m.png")
            for n in range(10)
        ]
        return real + fake


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp("painted")
    for n in range(10):
        pixels, mask = noise(32, 32, n) // 2, np.zeros((32, 32), np.uint8)
        mask[4 : 14 + n, 8 + n : 24] = 255
        save(root / f"raw/{n}.png", pixels)
        save(root / f"raw/{n}f.png", np.where(mask[..., None] > 0, np.uint8([0, 255, 0]), pixels))
        save(root / f"raw/{n}m.png", mask)
    data = DataOf(
        Ten("p", root / "raw"), root / "prepared", WholePictures(32, masks=True), val_fraction=0.4, frames_per_video=1,
        image_size=32, masks=True, batch_size=3,
    )  # fmt: skip
    prepare(data.manifest(), data.root, data.folder, data.recipe, num_workers=0)
    return data


def segmenter(**changes) -> Segmenter:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    return Segmenter(network, BCEDice(), partial(torch.optim.Adam, lr=0.03), constant, **changes)


@pytest.fixture(scope="module")
def trained(painted, tmp_path_factory):
    module = segmenter()
    trainer = Trainer(
        accelerator="cpu", max_epochs=8, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=tmp_path_factory.mktemp("out"),
    )  # fmt: skip
    trainer.fit(module, painted)
    (scores,) = trainer.test(module, painted, verbose=False)
    return module, scores


def test_a_segmenter_learns_and_its_figures_are_those_of_its_maps(trained, painted):
    module, scores = trained
    data = painted.samples["test"]
    batch = painted.on_after_batch_transfer(data.__getitems__([(0, row) for row in range(len(data))]), 0)
    with torch.no_grad():
        maps = module.eval().maps(batch["x"])
    fakes = batch["y"].numpy() == 1
    truth, logit = batch["mask"][fakes, 0].numpy() > 0.5, maps[fakes, 0].numpy()
    auc = sk.roc_auc_score(truth.ravel(), logit.ravel())
    iou = np.mean([sk.jaccard_score(one.ravel(), two.ravel() >= 0) for one, two in zip(truth, logit, strict=True)])
    assert scores["test/pixel_auroc"] == pytest.approx(auc, abs=2e-3) and auc > 0.95
    assert scores["test/iou"] == pytest.approx(iou, abs=1e-5) and iou > 0.6
    assert {"pixel_auroc", "pixel_f1", "iou", "video_auroc"} <= module.results.figures.keys()
    table = module.results.table.set_index("item")
    assert table.loc[table["label"] == 1, "logit"].min() > table.loc[table["label"] == 0, "logit"].max()
    logits = dict(zip(data.table["item"], of_pictures(maps).tolist(), strict=True))
    assert all(table.loc[item, "logit"] == pytest.approx(value, abs=1e-4) for item, value in logits.items())


def test_a_pictures_score_is_the_mean_of_its_highest_hundredth():
    maps = torch.zeros(2, 1, 20, 20)
    maps[0, 0, 3, :5] = torch.tensor([4.0, 8.0, 1.0, 6.0, 2.0])
    assert of_pictures(maps).tolist() == [5.0, 0.0], "of 400 pixels the highest four"
    assert of_pictures(torch.full((1, 1, 2, 2), 3.0)).tolist() == [3.0]


def test_pictures_count_once_on_several_devices(monkeypatch):
    """Two devices that both scored pictures 0 and 1 give the figures of one that scored them once."""
    maps, mask = (torch.from_numpy(part)[1:3, None].float() for part in pictures(seed=3))
    one, two = segmenter(), segmenter()
    table = pd.DataFrame({"item": ["a", "b"], "label": [0, 1], "logit": [0.0, 1.0], "method": ["real", "fake"]})
    table = table.assign(track=0, frame=0, time=0.0, dataset="art", split="val")
    data, state = SimpleNamespace(predictions=lambda *_: table), SimpleNamespace(fn=TrainerFn.FITTING)
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: 2 * value if reduce_op == "sum" else value)
    about = {"sanity_checking": False, "state": state, "datamodule": data, "strategy": strategy}
    for module, world in ((one, 1), (two, 2)):
        module._trainer = SimpleNamespace(world_size=world, **about)
        module.counts = 2, 2 * world
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
        monkeypatch.setattr(module, "all_gather", lambda part: torch.stack([part, part]))
        monkeypatch.setattr(module, "maps", lambda x: maps)
        module._keep({"x": maps, "index": torch.tensor([5, 2]), "y": torch.ones(2), "mask": mask})
        module._finish("val")
    assert one.results.figures == two.results.figures and not math.isnan(one.results.figures["iou"])


def test_a_segmenter_says_what_it_wants():
    x = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"data\.loader\.masks=true and data\.recipe\.masks=true"):
        segmenter().training_step({"x": x, "y": torch.ones(2)}, 0)
    classifier = segmenter()
    classifier.network = nn.Sequential(nn.Flatten(), nn.Linear(768, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match="a network that returns maps, such as unet"):
        classifier(x)
    with pytest.raises(ValueError, match="expected a metric of the validation split"):
        segmenter(monitor="test/iou")


# ---- the whole way ----


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with eight rendered paintings, prepared with masks."""
    place = tmp_path_factory.mktemp("localise")
    render_paintings(place / "data", paintings=8, difficulty=0.0, workers=1)
    return place


ARGUMENTS = (
    "experiment=demo_deepfakeart/segmenter", "data.root=data", "image_size=64", "data.recipe.crop_size=64",
    "data.split.val_fraction=0.3", "trainer=cpu", "augment@data.augment=light",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(place) -> Run:
    unmask("prepare", *ARGUMENTS, "prepare.num_workers=0", cwd=place)
    unmask("train", *ARGUMENTS, "trainer.max_epochs=2", cwd=place)
    (folder,) = (place / "outputs/demo_deepfakeart/segmenter").iterdir()
    return Run(folder)


def test_metrics_hold_the_figures_of_pixels_and_the_score_is_the_monitors(run):
    for split in ("val", "test"):
        assert 0 <= run.metrics[split]["pixel_auroc"] <= 1 and "video_auroc" in run.metrics[split]
    assert run.metrics["monitor"] == "val/iou" and run.metrics["score"] == run.metrics["val"]["iou"]


def test_maps_of_fakes_are_kept_beside_their_masks_and_the_report_shows_them(run, place):
    about = json.loads((run.folder / "explain/explain.json").read_text())
    assert about["localiser"] and len(list(run.folder.glob("explain/*.png"))) == len(about["items"]) > 0
    item = about["items"][0]["item"]
    labels = run.predictions("test").set_index("item")["label"]
    assert all(labels[entry["item"]] == 1 for entry in about["items"])
    unmask("report", f"run={run.folder}", "resamples=20", cwd=place)
    page = (run.folder / "report.html").read_text()
    assert "Predicted manipulation masks" in page and "the true mask" in page and item in page
    assert f"IoU {run.metrics['test']['iou']:.3f}" in page


def test_a_localiser_is_evaluated_and_asked_like_any_detector(run, place):
    before = run.predictions("test")["logit"].to_numpy()
    unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=place)
    np.testing.assert_allclose(run.predictions("test")["logit"], before, atol=1e-5)
    picture = next(place.glob("data/similar/inpainting/*/inpainting.png"))
    assert "(0: real, 1: fake)" in unmask("predict", str(picture), f"run={run.folder}", cwd=place, expect=20).stdout


def test_heat_maps_are_no_part_of_a_runs_identity():
    base = ["experiment=demo_deepfakeart/segmenter", "paths.out=out"]
    plain, without = (resolved(compose("train", [*base, *more])) for more in ((), ("explain=0",)))
    assert plain != without and run_id(plain, "") == run_id(without, "")


def test_the_preset_of_deepfakeart_builds():
    cfg = compose("train", ["experiment=deepfakeart/segmenter", "paths.out=out"])
    cfg.module.network.encoder.pretrained = False
    assert isinstance(instantiate(cfg.module, _convert_="all"), Segmenter)
