"""The evaluation of face swappers: figures by hand, names that say what they are of, and what is not run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.models import alexnet

from conftest import compose, unmask
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.evaluation.swappers import Measurement, Tools, find_tools
from unmask.metrics import generation
from unmask.modules.sample_metrics import figures
from unmask.networks.encoders import FacenetEncoder
from unmask.networks.evaluators import RandomFeatures
from unmask.networks.lite0 import Lite0Features
from unmask.networks.packaged import PACKAGED
from unmask.networks.weights import read_state_dict
from unmask.runs.run import Run

DAISY, PALACE = 985, 698  # classes of ImageNet-1k


# ---- figures by hand ----


class Painter(nn.Module):
    """Renders each person in one colour, and predicts a mask of one half everywhere."""

    def __init__(self, colours):
        super().__init__()
        self.colours = torch.tensor(colours)

    def swap(self, x, identity):
        return self.colours[identity][:, :, None, None].expand(x.shape), torch.full_like(x[:, :1], 0.5)


def colour(x):
    """Embed a face as its mean colour."""
    return x.mean((2, 3))


def plain(colours):
    return torch.tensor(colours)[:, :, None, None].expand(-1, 3, 16, 16).clone()


def batch(x, who):
    count = len(who)
    numbers = torch.arange(count)
    return {"x": x, "identity": torch.tensor(who), "mask": torch.ones(count, 1, 16, 16), "number": numbers}


def test_a_swap_is_compared_with_its_target_and_its_source():
    """Red is A and blue is B. A mask of one half leaves half of the original, which the angles between colours show."""
    x = plain([[1.0, 0, 0], [0, 0, 1.0]])
    lpips = "distance", lambda made, was: (made - was).abs().amax((1, 2, 3))
    tools = Tools(RandomFeatures(4), colour, "identity", lpips, ({}, {"more": "not run: x"}, {}))
    found = Measurement(Painter([[1.0, 0, 0], [0, 1.0, 1.0]]), 2, tools).of([batch(x, [0, 1])])
    back, swap = found["reconstruction"], found["swap"]
    # A -> A is red as before. B -> B is (0, 0.5, 1) beside (0, 0, 1): the cosine is 1 / sqrt(1.25).
    assert back["identity"] == pytest.approx((1 + 1 / np.sqrt(1.25)) / 2, abs=1e-5)
    assert back["distance"] == pytest.approx((0 + 0.5) / 2) and back["faces"] == 2
    # The output itself is not blended: B's output is (0, 1, 1), a squared error of 1 / 3; A's is exact, at most 60 dB.
    assert back["psnr_crop"] == pytest.approx((60 - 10 * np.log10(1 / 3)) / 2, abs=1e-4)
    # A -> B is (0.5, 0.5, 0.5): 1 / sqrt(3) from both; B -> A is (0.5, 0, 0.5): 1 / sqrt(2) from both.
    expected = (1 / np.sqrt(3) + 1 / np.sqrt(2)) / 2
    assert swap["identity_target"] == pytest.approx(expected, abs=1e-5)
    assert swap["identity_source"] == pytest.approx(expected, abs=1e-5)
    assert swap["more"] == "not run: x" and swap["faces"] == 2


def test_three_people_in_two_batches_make_two_swaps_per_face():
    """Each person's colour is a corner of the cube; the output is pure, so only the masks' other half is the source."""
    corners = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
    who = [0, 2, 1, 1, 0]
    x = plain([corners[person] for person in who])
    tools = Tools(RandomFeatures(4), colour, "similarity_tiny", ("none", None), ({}, {}, {}))
    first, second = batch(x[:2], who[:2]), batch(x[2:], who[2:])
    second["number"] = second["number"] + 2
    module = Painter(corners)
    found = Measurement(module, 3, tools).of([first, second])
    assert found["reconstruction"]["faces"] == 5 and found["swap"]["faces"] == found["random"]["faces"] == 10
    assert found["swap"]["similarity_tiny_target"] == pytest.approx(1 / np.sqrt(2), abs=1e-5)
    assert found["swap"]["similarity_tiny_source"] == pytest.approx(1 / np.sqrt(2), abs=1e-5)
    # The features of the evaluator are those of the blended faces, in any order.
    targets = [(person + step) % 3 for step in (1, 2) for person in who]
    shown = (plain([corners[t] for t in targets]) + x.repeat(2, 1, 1, 1)) / 2
    by_hand = generation.frechet(RandomFeatures(4)(x), RandomFeatures(4)(shown))
    assert found["random"]["frechet_random"] == pytest.approx(by_hand, rel=1e-4)


def test_a_person_who_is_absent_from_the_split_is_no_target():
    """Only A is held out: there is no face of B to compare A -> B with."""
    tools = Tools(RandomFeatures(4), colour, "identity", ("none", None), ({}, {}, {}))
    module = Painter([[1.0, 0, 0], [0, 0, 1.0]])
    found = Measurement(module, 2, tools).of([batch(plain([[1.0, 0, 0]] * 2), [0, 0])])
    assert np.isnan(found["swap"]["identity_target"])
    assert found["swap"]["identity_source"] == pytest.approx(1 / np.sqrt(2), abs=1e-5)


# ---- EfficientNet-Lite0 as an evaluator ----


@pytest.mark.parametrize(("name", "known"), [("flower.jpg", DAISY), ("china.jpg", PALACE)])
def test_lite0_recognises_photographs(name, known):
    x = torch.from_numpy(load_sample_image(name)[:, 106:533].copy()).permute(2, 0, 1)[None] / 255  # 427 x 427 px
    network = Lite0Features()
    features = network(x)
    state = read_state_dict(PACKAGED[("tf_efficientnet_lite0", "imagenet")].path)
    logits = features @ state["_fc.weight"].T + state["_fc.bias"]
    assert features.shape == (1, network.num_features) and int(logits.argmax()) == known
    torch.testing.assert_close(network.logits(features), logits)
    assert not list(network.parameters()) and not network.state_dict()


def test_figures_of_lite0_have_names_of_their_own():
    network, rows = Lite0Features(), torch.rand(8, 1280)
    found = figures(network, rows, rows.flip(1))
    names = {"frechet_lite0", "kernel_lite0", "precision_lite0", "recall_lite0", "class_score_lite0", "std_ratio"}
    assert set(found) == names
    assert found["class_score_lite0"] == pytest.approx(generation.inception_score(network.logits(rows.flip(1))))


# ---- what is at hand, and what is not ----


def tools_of(*overrides, size=64):
    settings = resolved(compose("evaluate", ["run=x", *overrides]), "evaluator", "identity", "lpips")
    return find_tools(settings, size, torch.device("cpu"))


def test_without_weights_each_figure_says_why_and_how(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    quality, likeness, score = tools_of().missing
    assert (
        quality["lpips_alex"].startswith("not run: weights not found: alexnet")
        and "lpips.weights" in quality["lpips_alex"]
    )
    assert "identity.weights=PATH" in quality["identity"]
    assert set(likeness) == {"identity_target", "identity_source"}
    assert score["inception_score"].startswith("not run: weights not found: weights-inception")
    assert "evaluator=inception evaluator.weights=PATH" in score["inception_score"]
    tools = tools_of("evaluator=lite0")
    assert (tools.evaluator.name, tools.likeness) == ("lite0", "similarity_lite0")
    assert "the evaluator is 'lite0'" in tools.missing[2]["inception_score"]
    with pytest.raises(FileNotFoundError, match=r"weights not found: gone\.pth"):
        tools_of("evaluator=inception", "evaluator.weights=gone.pth")
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        tools_of("identity.weights=gone.pt")


def test_the_face_recognition_network_is_used_if_its_weights_are_there(tmp_path):
    torch.manual_seed(0)
    torch.save(FacenetEncoder().network.state_dict(), tmp_path / "facenet.pt")
    tools = tools_of(f"identity.weights={tmp_path}/facenet.pt")
    assert tools.likeness == "identity" and not tools.missing[1] and "identity" not in tools.missing[0]
    faces = torch.rand(2, 3, 64, 64)
    network = build({"_target_": "unmask.networks.encoders.FacenetEncoder", "weights": f"{tmp_path}/facenet.pt"}).eval()
    with torch.no_grad():
        larger = nn.functional.interpolate(faces, (160, 160), mode="bilinear", antialias=True)
        torch.testing.assert_close(tools.embed(faces), network(larger))


# ---- the verb ----


@pytest.fixture(scope="module")
def run(people_place) -> tuple[Path, Path]:
    place, here = people_place
    small = ["module.network.filters=4", "module.discriminator.filters=4", "image_size=64", "module.network.latent=8"]
    given = ["experiment=faceswap/study", *here, "trainer=smoke", *small]
    done = unmask("train", *given, cwd=place)
    return place, place / done.stdout.split("\nrun: ")[1].split("\n")[0]


def test_the_preset_is_the_study():
    cfg = compose("train", ["experiment=faceswap/study", "paths.out=out"])
    assert (cfg.trainer.max_epochs, cfg.data.batch_size) == (50, 16)
    assert cfg.module.discriminator._target_.endswith("DCGANDiscriminator") and cfg.module.adversarial_weight > 0
    assert cfg.module.optimizer.lr == cfg.module.optimizer_d.lr == 2e-4


def test_a_swapper_is_evaluated_on_held_out_faces(run):
    place, folder = run
    printed = unmask("evaluate", f"run={folder}", cwd=place).stdout
    assert "demo metrics of study: faces of demo_people (test)" in printed
    for line in ("identity: not run: needs weights", "inception_score: not run", "lpips_alex: not run"):
        assert line in printed
    (entry,) = json.loads((folder / "generation.json").read_text()).values()
    trained = Run(folder).metrics["test"]
    for name in ("psnr", "ssim", "psnr_crop", "ssim_crop"):
        assert entry["reconstruction"][name] == pytest.approx(trained[name], rel=1e-4)
    assert entry["swap"]["faces"] == entry["reconstruction"]["faces"] > 1 and entry["demo"]
    assert -1 <= entry["swap"]["similarity_random_target"] <= 1
    assert entry["random"]["inception_score"].startswith("not run") and entry["random"]["frechet_random"] > 0
    unmask("evaluate", f"run={folder}", "evaluator=lite0", cwd=place)
    (entry,) = json.loads((folder / "generation.json").read_text()).values()
    assert entry["lite0"]["class_score_lite0"] >= 1 and "frechet_random" in entry["random"], "what was there stays"


@pytest.mark.slow
def test_real_weights_fill_the_figures(run, tmp_path):
    """Random weights in the files of facenet and AlexNet: the loading code is the same, and LPIPS is not called so."""
    place, folder = run
    torch.manual_seed(0)
    torch.save(FacenetEncoder().network.state_dict(), tmp_path / "facenet.pt")
    torch.save(alexnet().state_dict(), tmp_path / "alex.pth")
    weights = [f"identity.weights={tmp_path}/facenet.pt", f"lpips.weights={tmp_path}/alex.pth"]
    unmask("evaluate", f"run={folder}", "split=val", *weights, cwd=place)
    entry = json.loads((folder / "generation.json").read_text())["demo_people/val"]
    assert -1 <= entry["reconstruction"]["identity"] <= 1 and entry["reconstruction"]["perceptual_alex"] > 0
    assert -1 <= entry["swap"]["identity_target"] <= 1 and -1 <= entry["swap"]["identity_source"] <= 1


def test_other_people_and_other_data_are_refused_in_words(run, demo_root, tmp_path):
    place, folder = run
    other = ["data=people", f"data.root={demo_root}", "data.people.A='Celeb-real/id0_*.mp4'"]
    other += ["data.people.B='Celeb-real/id1_*.mp4'", "+data.people.C='Celeb-real/id2_*.mp4'"]
    said = unmask("evaluate", f"run={folder}", *other, cwd=place, expect=1).stderr
    assert "data=people has the people A, B, C; expected A, B" in said
    said = unmask("evaluate", f"run={folder}", "count=5", cwd=place, expect=1).stderr
    assert "count: has no effect on the evaluation of a swapper" in said
