"""A support vector machine on frozen features: scikit-learn's decisions, honest folds, the whole way."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from conftest import unmask
from unmask.evaluation.loading import data_of
from unmask.modules import cross_validation as cv
from unmask.modules.svm import SVM
from unmask.networks.baselines import PixelEncoder, SpectrumEncoder
from unmask.networks.classifier import FrameClassifier
from unmask.networks.cnn import ResidualCnn
from unmask.networks.encoders import SmallEncoder, TimmEncoder
from unmask.networks.front_ends import FrontEnd, HighPass
from unmask.networks.meso import Meso4
from unmask.networks.svm import FeatureSVM
from unmask.reporting.gather import _network
from unmask.runs.checkpoints import load_weights
from unmask.runs.encoder import TrainedEncoder
from unmask.runs.run import Run


def blobs(count: int = 300, width: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two classes that overlap, of unlike scales."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    features = rng.normal(size=(count, width)) + 0.6 * label[:, None] * (np.arange(width) < 5)
    return (features * np.logspace(-2, 2, width) + 3).astype(np.float32), label


class Width(nn.Module):
    """Stands for an encoder."""

    def __init__(self, channels: int, width: int = 20) -> None:
        super().__init__()
        self.channels, self.num_features = channels, width


MODELS = {
    "linear": SVC(kernel="linear", C=0.5, class_weight="balanced"),
    "rbf": SVC(kernel="rbf", C=3.0, gamma=0.04, class_weight="balanced"),
    "logistic": LogisticRegression(C=0.5, class_weight="balanced", max_iter=2000),
}


@pytest.mark.parametrize("name", MODELS)
def test_decisions_are_scikit_learns(name):
    features, label = blobs()
    theirs = make_pipeline(StandardScaler(), MODELS[name]).fit(features.astype(np.float64), label)
    net = FeatureSVM(Width)
    net.fill(**cv.tensors(theirs), slope=2.0)
    fresh = blobs(seed=1)[0]
    expected = theirs.decision_function(fresh.astype(np.float64))
    decided = net.decision(torch.from_numpy(fresh))
    np.testing.assert_allclose(decided.numpy(), expected, atol=1e-5 * max(1, np.abs(expected).max()), rtol=1e-5)
    torch.testing.assert_close(net.head(torch.from_numpy(fresh)), 2 * decided)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(net.decision(torch.from_numpy(fresh)).numpy(), decided.numpy(), atol=1e-6)
    # Ours, built from its settings, is the same model.
    settings = {key: value for key, value in MODELS[name].get_params().items() if key == "C"}
    settings |= {"gamma": 0.04} if name == "rbf" else {}
    ours = cv.build(name, **settings).fit(features.astype(np.float64), label)
    np.testing.assert_allclose(ours.decision_function(fresh), theirs.decision_function(fresh), atol=1e-6)


def test_a_state_dict_brings_its_own_number_of_support_vectors(tmp_path):
    features, label = blobs()
    model = cv.build("rbf", C=1.0, gamma=0.05).fit(features.astype(np.float64), label)
    net = FeatureSVM(Width)
    net.fill(**cv.tensors(model), slope=1.5)
    assert net.support.shape == (len(model[-1].support_vectors_), 20) and len(net.dual) > 100
    torch.save(nn.ModuleDict({"network": net}).state_dict(), tmp_path / "weights.pt")
    fresh = FeatureSVM(Width)
    nn.ModuleDict({"network": fresh}).load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.from_numpy(features)
    assert torch.equal(fresh.head(x), net.head(x))
    fresh.load_state_dict(FeatureSVM(Width).state_dict())  # and back to a linear one
    assert not fresh.head(x).any()
    with pytest.raises(RuntimeError, match="size mismatch"):
        FeatureSVM(partial(Width, width=19)).load_state_dict(net.state_dict())


def test_the_encoder_is_frozen_and_in_eval_mode():
    torch.manual_seed(0)
    net = FeatureSVM(partial(TimmEncoder, "test_resnet")).train()
    x = torch.rand(2, 3, 32, 32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.fill(support=np.ones((1, net.num_features)), dual=[1.0])
    logit = net(x)
    assert logit.shape == (2,) and logit.isfinite().all() and not logit.requires_grad
    assert torch.equal(logit, net.head(net.encode(x))) and not any(part.training for part in net.encoder.modules())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items() if "encoder" in name)
    with pytest.raises(ValueError, match="frames=null"):
        net(torch.rand(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match="_partial_"):
        FeatureSVM(Width(3))


def test_the_choice_is_grid_searchs():
    """GridSearchCV with the same folds: the same settings, and every figure by scikit-learn's own functions."""
    features, label = blobs(200)
    features = features.astype(np.float64)
    groups = np.arange(200) // 2
    splits = cv.folds(label, groups, 4, seed=0)
    tried = cv.candidates("rbf", [0.1, 1.0], [0.3, 3.0], 20, None, 0)
    assert len(tried) == 4 and {entry["gamma"] for entry in tried} == {0.3 / 20, 3.0 / 20}
    choice = cv.choose("rbf", features, label, splits, tried)
    pipeline = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    search = GridSearchCV(pipeline, {"svc__C": [0.1, 1.0], "svc__gamma": [0.015, 0.15]}, scoring="roc_auc", cv=splits)
    search.fit(features, label)
    assert choice.settings == {"C": search.best_params_["svc__C"], "gamma": search.best_params_["svc__gamma"]}
    summary = choice.summary()
    assert summary["auroc"]["mean"] == pytest.approx(search.best_score_, abs=1e-9)
    theirs = {"accuracy": accuracy_score, "precision": precision_score, "recall": recall_score, "f1": f1_score}
    for name, score in theirs.items():
        values = [score(label[held], choice.decisions[held] > 0) for _, held in splits]
        assert summary[name]["mean"] == pytest.approx(np.mean(values), abs=1e-9), name
        assert summary[name]["deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-9), name
    areas = [roc_auc_score(label[held], choice.decisions[held]) for _, held in splits]
    np.testing.assert_allclose(choice.figures["auroc"], areas, atol=1e-9)


def test_a_grid_search_tries_all_values_and_a_random_search_draws_between_them():
    assert cv.candidates("linear", [1, 2, 3], [9], 10, None, 0) == [{"C": 1}, {"C": 2}, {"C": 3}]
    drawn = cv.candidates("rbf", [0.01, 1, 100], [0.1, 10], 10, 400, seed=0)
    assert len(drawn) == 400 and drawn == cv.candidates("rbf", [0.01, 1, 100], [0.1, 10], 10, 400, seed=0)
    assert drawn != cv.candidates("rbf", [0.01, 1, 100], [0.1, 10], 10, 400, seed=1)
    for name, low, high in (("C", 0.01, 100), ("gamma", 0.01, 1)):
        values = np.array([entry[name] for entry in drawn])
        assert low <= values.min() and values.max() <= high and len(set(values)) == 400, name
        share = (values < np.sqrt(low * high)).mean()  # log-uniform: half of them below the geometric mean
        assert share == pytest.approx(0.5, abs=0.08), name
    assert {entry["C"] for entry in cv.candidates("rbf", [3], [1, 2], 10, 5, seed=0)} == {3}, "one value is fixed"


def test_the_random_choice_is_randomized_searchs():
    """RandomizedSearchCV with scipy's log-uniform distributions, the same folds and the same seed."""
    features, label = blobs(200)
    features = features.astype(np.float64)
    splits = cv.folds(label, np.arange(200) // 2, 4, seed=0)
    choice = cv.choose("rbf", features, label, splits, cv.candidates("rbf", [0.1, 10.0], [0.1, 3.0], 20, 5, seed=3))
    pipeline = make_pipeline(StandardScaler(), SVC(class_weight="balanced"))
    ranges = {"svc__C": loguniform(0.1, 10), "svc__gamma": loguniform(0.005, 0.15)}
    search = RandomizedSearchCV(pipeline, ranges, n_iter=5, scoring="roc_auc", cv=splits, random_state=3)
    search.fit(features, label)
    assert choice.settings["C"] == pytest.approx(search.best_params_["svc__C"], rel=1e-9)
    assert choice.settings["gamma"] == pytest.approx(search.best_params_["svc__gamma"], rel=1e-9)
    assert choice.summary()["auroc"]["mean"] == pytest.approx(search.best_score_, abs=1e-9)


def test_no_group_is_in_two_folds():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 400).astype(str).astype(object)
    label = rng.integers(0, 2, 400)
    splits = cv.folds(label, groups, 5, seed=0)
    where = pd.DataFrame({"group": groups, "fold": -1})
    for number, (fitted, held) in enumerate(splits):
        assert not set(groups[fitted]) & set(groups[held]) and len(fitted) + len(held) == 400
        where.loc[held, "fold"] = number
    assert (where["fold"] >= 0).all() and where.groupby("group")["fold"].nunique().max() == 1
    with pytest.raises(ValueError, match=r"module\.folds=5: one of the classes has only 3 groups"):
        cv.folds(label, groups.astype(int) % 3, 5, seed=0)


def test_the_slope_makes_probabilities():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=4000) * 2
    label = (rng.random(4000) < 1 / (1 + np.exp(-logit))).astype(int)
    assert cv.slope(logit / 3, label) == pytest.approx(3.0, rel=0.1)
    assert cv.slope(-logit, label) == 1.0, "worse than chance: nothing to learn from"


# ---- baselines ----


def test_pixels_are_the_shrunk_picture():
    x = torch.rand(2, 3, 8, 8)
    small = PixelEncoder(side=4)(x)
    assert small.shape == (2, 48) and PixelEncoder(side=8)(x).equal(x.flatten(1))
    flat = PixelEncoder(side=4)(torch.full((1, 3, 100, 60), 0.25))
    torch.testing.assert_close(flat, torch.full((1, 48), 0.25))


def test_a_wave_lies_in_the_ring_of_its_frequency():
    """A plane wave of 12 periods in 64 px lies at 12/32 of half the sampling rate; and against numpy's transform."""
    encoder = SpectrumEncoder(bins=16)
    place = torch.arange(64) / 64
    wave = 0.5 + 0.3 * torch.cos(2 * torch.pi * 12 * place)
    for picture in (wave.expand(64, 64), wave[:, None].expand(64, 64)):  # whatever its direction
        rings = encoder(picture.expand(1, 3, 64, 64))[0]
        assert rings.shape == (16,) and int(rings[1:].argmax()) + 1 == int(16 * 12 / 32 / 2**0.5)
    noise = torch.rand(1, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    grey = np.tensordot([0.299, 0.587, 0.114], noise[0].double().numpy(), 1)
    power = np.log(np.abs(np.fft.fft2(grey, norm="ortho")) ** 2 + 1e-8)
    radius = np.hypot(np.fft.fftfreq(40)[:, None], np.fft.fftfreq(64)[None]) / np.hypot(0.5, 0.5)
    ring = np.minimum(np.floor(16 * radius + 1e-9), 15)
    by_hand = [power[ring == n].mean() for n in range(16)]
    np.testing.assert_allclose(encoder(noise)[0].numpy(), by_hand, atol=1e-4)
    with pytest.raises(ValueError, match="lower bins"):
        encoder(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match="multiple of 3"):
        SpectrumEncoder(channels=4)


# ---- the whole way ----

SVM_RUN = (
    "module=svm",
    "data=folder",
    "data/recipe=pictures",
    "data.name=tiny",
    "data.recipe.crop_size=32",
    "data.sampling.frames_per_video=1",
    "data.split.val_fraction=0.3",
    "data.sampling.balance=none",
    "augment@data.augment=none",
    "image_size=32",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "module.folds=3",
    "explain=0",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Smooth pictures, and copies of them with more noise: what a spectrum sees at once."""
    place = tmp_path_factory.mktemp("svm")
    down, across = np.mgrid[:32, :32]
    for n in range(24):
        rng = np.random.default_rng(n)
        smooth = 120 + 60 * np.sin((down * rng.normal() + across * rng.normal()) / 6)[..., None] * rng.random(3)
        real = smooth + rng.normal(0, 4, smooth.shape)
        fake = real + rng.normal(0, 4, smooth.shape)
        for folder, pixels in (("real", real), ("fake/noise", fake)):
            (place / "raw" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / "raw" / folder / f"{n:02d}.png")
    unmask("prepare", *SVM_RUN, f"data.root={place / 'raw'}", "prepare.num_workers=0", cwd=place)
    return place


def train(place: Path, name: str, *extra: str) -> tuple[Run, str]:
    printed = unmask("train", *SVM_RUN, f"data.root={place / 'raw'}", f"name={name}", *extra, cwd=place).stdout
    (folder,) = (place / "outputs" / name).iterdir()
    return Run(folder), printed


@pytest.fixture(scope="module")
def run(place) -> tuple[Run, str]:
    small = ("module/network/encoder=spectrum", "module.network.encoder.bins=8")
    return train(place, "rings", *small, "module.C=[0.1,1]", "module.gamma=[1.0]")


def test_an_svm_is_a_run_like_any_other(run, place):
    run, printed = run
    assert "cross-validation" in printed and "groups are each in one fold" in printed and "±" in printed
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    found = run.metrics["cv"]
    assert found["folds"] == 3 and found["tried"] == 2 and set(found["settings"]) == {"C", "gamma"}
    assert found["groups"] * 2 == found["samples"], "a picture and its copy are one group"
    assert found["auroc"]["mean"] > 0.9 and run.metrics["test"]["frame_auroc"] > 0.9
    assert run.metrics["flops"] == 0 and run.metrics["parameters"] == 0
    before = run.predictions("test")
    module = run.module()
    assert isinstance(module, SVM) and len(module.network.dual) > 1
    unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=place)
    pd.testing.assert_frame_equal(run.predictions("test"), before, check_exact=False, atol=1e-4)
    item = before[before["label"] == 1].iloc[0]
    file = place / "raw" / "fake" / "noise" / f"{item['item'].split('/')[-1]}.png"
    said = unmask("predict", str(file), f"run={run.folder}", cwd=place, expect=20).stdout  # small changes change it
    prob = 1 / (1 + np.exp(-item["logit"]))
    assert f"{prob:.2f}" in said
    said = unmask("report", f"run={run.folder}", cwd=place).stdout
    assert "Parameters 0; " in said and "; Classifier rbf, C " in said and "Cross-validation accuracy " in said
    assert "3 folds" in (run.folder / "report.html").read_text()


def test_augmented_copies_are_fitted_beside_the_stored_crops(run, place):
    small = ("module/network/encoder=spectrum", "module.network.encoder.bins=8", "module.C=[1]", "module.gamma=[1.0]")
    copies, _ = train(place, "copies", *small, "module.copies=2", "augment@data.augment=saved_again")
    plain, found = run[0].metrics["cv"], copies.metrics["cv"]
    assert found["samples"] == 3 * plain["samples"] and found["groups"] == plain["groups"]
    assert not np.allclose(copies.predictions("test")["logit"], run[0].predictions("test")["logit"], atol=1e-3)


def test_the_checkpoint_holds_tensors_and_plain_values_only(run):
    state = torch.load(run[0].checkpoint, weights_only=True)
    assert state["cv"] == run[0].metrics["cv"] and "network.support" in load_weights(run[0].checkpoint)


def test_the_logits_are_scikit_learns_on_those_features(run, place):
    """Independent of the recipe: features by hand, fitted again at the settings that were chosen."""
    run, _ = run
    encoder = SpectrumEncoder(8)

    def read(table):
        folder = {"real": "real", "noise": "fake/noise"}
        names = zip(table["item"], table["method"], strict=True)
        files = [place / "raw" / folder[method] / f"{item.split('/')[-1]}.png" for item, method in names]
        pixels = np.stack([np.array(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
        return encoder(torch.from_numpy(pixels).float() / 255).double().numpy()

    test, data = run.predictions("test"), data_of(run)
    ((prepared, split),) = data.members
    items = prepared.manifest(split)
    training = items[items["split"] == "train"]
    model = make_pipeline(StandardScaler(), SVC(class_weight="balanced", **run.metrics["cv"]["settings"]))
    model.fit(read(training), training["label"])
    slope = float(load_weights(run.checkpoint)["network.slope"])
    np.testing.assert_allclose(test["logit"], slope * model.decision_function(read(test)), rtol=1e-3, atol=1e-3)


def test_a_killed_run_goes_on_with_what_was_fitted(run, place, monkeypatch):
    folder, metrics = run[0].folder, run[0].metrics
    (folder / "metrics.json").unlink()
    before = {name: value.clone() for name, value in load_weights(folder / "checkpoints/last.ckpt").items()}
    monkeypatch.setattr(cv, "choose", lambda *_: pytest.fail("fitted again"))
    small = ("module/network/encoder=spectrum", "module.network.encoder.bins=8")
    again, printed = train(place, "rings", *small, "module.C=[0.1,1]", "module.gamma=[1.0]")
    assert "resuming from" in printed
    told = json.loads((again.folder / "metrics.json").read_text())
    assert told["cv"] == metrics["cv"] and told["test"] == metrics["test"]
    after = load_weights(folder / "checkpoints/last.ckpt")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.slow
def test_logistic_regression_on_a_network_and_its_cached_features(place, monkeypatch):
    small = ("module.classifier=logistic", "module.network.encoder.name=test_resnet", "module.C=[0.01,1]")
    first, _ = train(place, "net", *small, "explain=2")
    assert len(list((first.folder / "explain").glob("*.png"))) == 2, "heat maps, though the training read no pixel"
    encoder = sum(value.numel() for value in first.network().encoder.parameters())
    assert first.metrics["parameters"] >= encoder > 0, "the encoder counts, although it is not trained"
    assert first.metrics["flops"] > encoder, "a convolution uses each of its weights more than once"
    made = {path: path.stat().st_mtime_ns for path in place.glob("outputs/prepared/tiny/*/features/*.npy")}
    second, _ = train(place, "net2", *small)
    after = {path: path.stat().st_mtime_ns for path in place.glob("outputs/prepared/tiny/*/features/*.npy")}
    assert after == made, "the same random weights by the same seed: nothing is computed again"
    assert second.metrics["val"] == first.metrics["val"]
    third, _ = train(place, "net3", *small, "seed=1")
    assert len(list(place.glob("outputs/prepared/tiny/*/features/*.npy"))) == len(made) + 1
    assert third.metrics["cv"] != first.metrics["cv"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["trainer.max_epochs=2"], "trainer.max_epochs=1"),
        (["augment@data.augment=light"], "augment@data.augment=none"),
        (["module.copies=1"], "augment@data.augment=saved_again"),
        (["module.copies=1", "augment@data.augment=light", "blend@data.blend=parts"], "blend@data.blend=none"),
        (["module.classifier=tree"], "linear, rbf, logistic"),
        (["module.folds=1"], "cross-validation needs at least 2"),
        (["module.folds=40"], r"module.folds=40: one of the classes has only"),
        (["frames=2"], "frames=null"),
    ],
)
def test_what_cannot_be_says_so(place, extra, reason):
    small = ("module/network/encoder=pixels", "module.network.encoder.side=4", "name=refused")
    done = unmask("train", *SVM_RUN, f"data.root={place / 'raw'}", *small, *extra, cwd=place, expect=1)
    assert reason in done.stderr and "Traceback" not in done.stderr


# ---- the chain: a CNN, then an SVM on its features

CNN_RUN = ("module=detector", "module/network=cnn", "module.network.width=4", "trainer.max_epochs=2")
CHAIN = ("module/network/encoder=run", "module.C=[1]", "module.gamma=[1.0]")


@pytest.fixture(scope="module")
def cnn(place) -> Run:
    """A run of a CNN on the pictures."""
    ours = [argument for argument in SVM_RUN if not argument.startswith(("module", "trainer.max"))]
    unmask("train", *ours, *CNN_RUN, f"data.root={place / 'raw'}", "name=cnn", cwd=place)
    (folder,) = (place / "outputs" / "cnn").iterdir()
    return Run(folder)


@pytest.fixture(scope="module")
def chain(place, cnn) -> tuple[Run, str]:
    return train(place, "chain", *CHAIN, f"module.network.encoder.run={cnn.folder}")


def test_the_svm_is_fitted_to_the_features_of_the_trained_cnn(chain, cnn, place):
    """By hand: the CNN's own features of the files, scikit-learn at the chosen settings, the same logits."""
    run, printed = chain
    assert "cross-validation figures are too good" in printed
    network = cnn.network()

    def read(table):
        names = zip(table["item"], table["method"], strict=True)
        folder = {"real": "real", "noise": "fake/noise"}
        files = [place / "raw" / folder[method] / f"{item.split('/')[-1]}.png" for item, method in names]
        pixels = np.stack([np.array(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            return network.encode(torch.from_numpy(pixels).float() / 255).double().numpy()

    ((prepared, split),) = data_of(run).members
    items = prepared.manifest(split)
    training, test = items[items["split"] == "train"], run.predictions("test")
    model = make_pipeline(StandardScaler(), SVC(class_weight="balanced", **run.metrics["cv"]["settings"]))
    model.fit(read(training), training["label"])
    slope = float(load_weights(run.checkpoint)["network.slope"])
    np.testing.assert_allclose(test["logit"], slope * model.decision_function(read(test)), rtol=1e-3, atol=1e-3)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(network.state_dict(), type(network)(width=4).state_dict())  # it was trained


def test_the_run_of_the_svm_does_not_need_the_folder_of_the_cnn(chain, cnn, place):
    run, _ = chain
    inside = run.config["module"]["network"]["encoder"]
    assert inside["run"] is None and inside["network"] == cnn.config["module"]["network"]
    hidden = cnn.folder.rename(cnn.folder.with_name("hidden"))
    try:
        before = run.predictions("test")
        unmask("evaluate", f"run={run.folder}", "trainer=cpu", cwd=place)
        after = run.predictions("test")
    finally:
        hidden.rename(cnn.folder)
    pd.testing.assert_frame_equal(after, before, check_exact=False, atol=1e-4)


def test_augmented_copies_go_through_the_trained_cnn(chain, cnn, place):
    given = (*CHAIN, f"module.network.encoder.run={cnn.folder}", "module.copies=1", "augment@data.augment=saved_again")
    copies, _ = train(place, "chain_copies", *given)
    assert copies.metrics["cv"]["samples"] == 2 * chain[0].metrics["cv"]["samples"]


def test_a_search_in_a_run_is_counted(place):
    small = ("module/network/encoder=spectrum", "module.network.encoder.bins=8", "module.draws=5")
    run, _ = train(place, "drawn", *small)
    assert run.metrics["cv"]["tried"] == 5
    assert 0.1 < run.metrics["cv"]["settings"]["C"] < 10 and run.metrics["cv"]["settings"]["C"] != 1


def test_test_items_that_the_cnn_was_trained_on_are_refused(place, cnn):
    given = (*SVM_RUN, *CHAIN, f"data.root={place / 'raw'}", f"module.network.encoder.run={cnn.folder}", "name=leak")
    done = unmask("train", *given, "data.split.seed=1", cwd=place, expect=1)
    assert "test items, such as tiny/" in done.stderr and "were in the training or validation split" in done.stderr
    assert "Traceback" not in done.stderr and not list(place.glob("outputs/leak/*/metrics.json"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "not finished"),
        (lambda folder: _edit(folder / "metrics.json", '"detector"', '"generator"'), "is a generator; expected a run"),
        (
            lambda folder: _edit(folder / ".hydra/config.yaml", "networks.cnn.ResidualCnn", "runs.run.Run"),
            "not an allowed target",
        ),
        (lambda folder: _edit(folder / ".hydra/config.yaml", "width: 4", "width: 400000"), "much larger module"),
        (lambda folder: _edit(folder / ".hydra/config.yaml", "width: 4", "width: ${oc.env:HOME}"), "calls a resolver"),
        (lambda folder: (folder / "checkpoints/best.ckpt").write_bytes(b"cos\nsystem\n"), "is refused"),
        (lambda folder: shutil.rmtree(folder / ".hydra"), "not a run folder"),
    ],
)
def test_a_run_that_is_no_safe_detector_is_refused_as_an_encoder(place, cnn, tmp_path, edit, said):
    """The rules for foreign run folders hold for the encoder of another run: nothing of it is run or downloaded."""
    shutil.copytree(cnn.folder, tmp_path / "foreign")
    edit(tmp_path / "foreign")
    given = (*SVM_RUN, *CHAIN, f"data.root={place / 'raw'}", "name=foreign")
    done = unmask("train", *given, f"module.network.encoder.run={tmp_path / 'foreign'}", cwd=place, expect=1)
    assert said in done.stderr and "Traceback" not in done.stderr


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_missing_run_is_one_problem(place):
    done = unmask("train", *SVM_RUN, "module/network/encoder=run", f"data.root={place / 'raw'}", cwd=place, expect=1)
    assert "1 problem" in done.stderr and "pass module.network.encoder.run=" in done.stderr


def test_networks_of_all_kinds_become_encoders():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for network in (ResidualCnn(4), FrameClassifier(partial(SmallEncoder, width=4)), Meso4(image_size=32)):
        network.eval()
        encoder = TrainedEncoder(network)
        features = encoder(x)
        assert features.shape == (2, encoder.num_features)
        torch.testing.assert_close(network.head(features), network(x))
    with pytest.raises(ValueError, match="FrontEnd does not separate an encoder from a classifier"):
        TrainedEncoder(FrontEnd(HighPass(), ResidualCnn(4)))
    with pytest.raises(ValueError, match="3 channels, but 6"):
        TrainedEncoder(ResidualCnn(4), channels=6)


def test_runs_from_before_flops_were_counted_are_told_of():
    assert _network({"parameters": 27_977}) == {"Parameters": "27,977"}
    assert _network({"parameters": 1, "flops": None}) == {"Parameters": "1"}
    assert _network({"parameters": 1, "flops": 5_173_447_168})["GFLOPs per sample"] == "5.17"
