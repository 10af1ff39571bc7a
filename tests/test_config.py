"""Every config problem at once, by its path; nothing outside the allow-list is built or even imported."""

import sys

import pytest
from omegaconf import OmegaConf

from conftest import compose
from unmask.config.allowed import ALLOWED, locate
from unmask.config.check import validate
from unmask.config.targets import ConfigError


def problems(cfg) -> list[str]:
    with pytest.raises(ConfigError) as error:
        validate(cfg)
    return error.value.problems


def test_three_mistakes_are_told_at_once():
    cfg = compose(
        "train",
        [
            "experiment=celebdf/meso4",
            "+module.network.droput=0.5",
            "+module.optimizer.lrr=1",
            "image_size=???",
            "paths.out=x",
        ],
    )
    found = problems(cfg)
    assert len(found) == 3
    assert any(p.startswith("module.network.droput:") and "did you mean 'dropout'?" in p for p in found)
    assert any(p.startswith("module.optimizer.lrr:") and "did you mean 'lr'?" in p for p in found)
    assert any(p == "image_size: no value; pass image_size=..." for p in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "builtins.open",
        "os.system",
        "torch.load",
        "torch.hub.load",
        "subprocess.Popen",
        "unmask.config.import_module",
        "unmask.data.store.shutil.rmtree",
        "unmask.data.parts.write_part",
        "unmask.media.reader.open_media",
        "torch.nn.modules.module.torch.load",
        "torch.nn.Module.load_state_dict",
        "pytorch_lightning.trainer.trainer.os.system",
        "antigravity.geohash",
        "open",
        "",
    ],
)
@pytest.mark.parametrize(
    "place",
    ["module.network._target_", "callbacks.best._target_", "data.augment.device.0._target_", "trainer._target_"],
)
def test_a_target_outside_the_list_is_refused_anywhere(target, place):
    cfg = compose("train", ["experiment=celebdf/meso4", "paths.out=x"])
    OmegaConf.update(cfg, place, target)
    found = problems(cfg)
    assert any(p.startswith(f"{place}:") for p in found), found


def test_a_target_in_positional_arguments_partials_and_lists_is_refused():
    for node in (
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.system"}]},
        {"_target_": "torch.nn.ModuleList", "modules": [[{"_target_": "os.system", "command": "true"}]]},
        {"_target_": "os.system", "_partial_": True},
    ):
        assert any("os.system" in p for p in problems(OmegaConf.create({"x": node})))


def test_refused_modules_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PermissionError):
        locate("trap_module.f")
    assert "trap_module" not in sys.modules


def test_missing_arguments_and_broken_interpolations_are_told():
    cfg = OmegaConf.create(
        {
            "a": {"_target_": "torch.nn.Linear", "in_features": 3},
            "b": "${nowhere.at_all}",
            "c": {"_target_": "torch.nn.Nope"},
        }
    )
    found = "\n".join(problems(cfg))
    assert "needs the argument 'out_features'" in found
    assert "b: Interpolation key 'nowhere.at_all' not found" in found
    assert "c._target_: cannot import 'torch.nn.Nope'" in found


def test_what_is_right_passes():
    assert (
        validate(OmegaConf.create({"a": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 1}})) is None
    )
    assert validate(OmegaConf.create({"a": {"_target_": "torch.nn.Linear", "_partial_": True, "bias": False}})) is None
    assert all(
        root.split(".")[0] in {"diffusers", "pytorch_lightning", "timm", "torch", "torchvision", "unmask"}
        for root in ALLOWED
    )


def chosen(part: str, *overrides: str) -> object:
    """A part of the training config as it is written, with its references."""
    return OmegaConf.to_container(OmegaConf.select(compose("train", list(overrides)), part), resolve=False)


@pytest.mark.parametrize("module", ["gan", "diffusion", "autoencoder"])
def test_a_generator_brings_what_it_needs(module):
    asked = f"module={module}", "data=celeba"
    assert chosen("data.split", *asked)["only"] == "real" and chosen("data.sampling", *asked)["balance"] == "none"
    assert chosen("data.augment", *asked) == chosen("data.augment", "augment@data.augment=mirror")
    assert chosen("callbacks", *asked) == chosen("callbacks", "callbacks=generator")
    assert not chosen("callbacks", *asked, "callbacks=none")
    assert chosen("data.sampling", *asked, "data.sampling.balance=classes")["balance"] == "classes"


def test_a_face_swapper_brings_people():
    assert chosen("data.source", "module=faceswap")["_target_"] == "unmask.datasets.people.People"
    assert chosen("data.source", "module=faceswap", "data=folder")["_target_"] == "unmask.datasets.folder.Folder"
    assert chosen("callbacks", "module=faceswap") == chosen("callbacks", "callbacks=generator")
