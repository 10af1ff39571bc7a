"""A run folder from elsewhere: its config and its weights run, read, fetch and write nothing of their choosing."""

import inspect
import pickle
import pkgutil
import re
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from conftest import compose
from hostile_configs import attempt, hostile
from unmask.config.allowed import FUNCTIONS, NEUTRAL, OURS, READ_ONLY, THEIRS, WRITERS, WRITING, is_allowed, is_below
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.config.foreign import ForeignConfigError, read_config
from unmask.runs.checkpoints import load_checkpoint, load_weights
from unmask.runs.errors import RunError
from unmask.runs.identity import write_config
from unmask.runs.run import Run

MODULE = {
    "_target_": "unmask.modules.detector.Detector",
    "network": {"_target_": "unmask.networks.meso.Meso4", "image_size": 32, "dropout": 0.1},
    "loss": {"_target_": "unmask.training.losses.BCE"},
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "scheduler": {"_target_": "unmask.training.schedules.constant", "_partial_": True},
}


def run_folder(place: Path, **changes) -> Run:
    """A run with random weights; `changes` are made to its config, by dotted keys."""
    cfg = OmegaConf.create({"name": "x", "seed": 0, "image_size": 32, "data": {"name": "films"}, "module": MODULE})
    folder = place / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": build(OmegaConf.to_container(cfg.module)).state_dict()}, folder / "checkpoints/best.ckpt")
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False, force_add=True)
    write(folder, yaml.safe_dump(OmegaConf.to_container(cfg)))
    return Run(folder)


def write(folder: Path, text: str) -> Path:
    path = folder / ".hydra/config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_run_is_built_as_its_config_says(tmp_path):
    run = run_folder(tmp_path, module__network__image_size="${image_size}", data__prepared="${paths.prepared}/${.name}")
    assert run.module().network.image_size == 32 and not run.module().training
    assert run.config["data"]["prepared"] == "outputs/prepared/films"


def test_the_written_config_has_values_only(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_DATA", "/somewhere")
    cfg = compose("train", ["experiment=celeba/dcgan", "paths.out=x", "data.loader.attributes=[Smiling,Male]"])
    write_config(resolved(cfg), tmp_path)
    assert "${" not in (tmp_path / ".hydra/config.yaml").read_text()
    found = Run(tmp_path).config
    assert found["module"]["generator"]["attributes"] == 2 and found["data"]["root"].startswith("/somewhere")
    assert found["module"]["optimizer_g"]["lr"] == cfg.module.optimizer_g.lr


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.root", "${oc.env:HOME}", "data.root: .* calls a resolver"),
        ("data.root", "${oc.create:'{a: 1}'}", "calls a resolver"),
        ("name", "${run_id:}", "calls a resolver"),
        ("data.recipe", "${oc.decode:${name}}", "calls a resolver"),
        ("module.network", "${nowhere}", "refers to nowhere, which does not exist"),
        ("module.network", "${module}", "references form a cycle"),
        (
            "module.network.image_size",
            100_000,
            "module.network.image_size: 100000 is out of bounds; expected -4,096 to 4,096",
        ),
        ("module.network.dropout", float("nan"), "nan is not a finite number"),
        ("module.network.layers", 10**9, "out of bounds"),
        ("data.name", "../../elsewhere", "data.name: '../../elsewhere' is not a valid name"),
        ("name", "../x", "name: '..' is not a valid name"),
        ("name", "\x1b[2Jx", "is not a valid name"),
        ("data", {"name": "x", "recipe": {"crop_size": 4096, "frames": 4096}}, "take more than 4 GB"),
        ("seed", "x" * 5000, "the text is longer than 4,096"),
    ],
)
def test_what_such_a_config_may_not_say(tmp_path, key, value, said):
    run = run_folder(tmp_path, **{key.replace(".", "__"): value})
    with pytest.raises(ForeignConfigError, match=said) as refused:
        _ = run.config
    assert str(run.folder / ".hydra/config.yaml") in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nmodule: {c: [*b, *b]}", "YAML alias"),
        ("module: " + "[" * 1000 + "]" * 1000, "nested more than"),
        ("module: [" + "1, " * 30_000 + "]", "more than 20,000 values"),
        ("x: " + "y" * 1_100_000, "more than 1,000,000 bytes"),
        ("module: !!python/object/apply:os.system [touch PWNED]", "not readable YAML"),
        ("- a\n- b", "not a config"),
        ("module: 3", "not a config"),
        ("a: [", "not readable YAML"),
        ("data: {d: 2001-01-01}\nmodule: {}", None),
        (
            "b0: xx\n" + "".join(f"b{n}: ${{b{n - 1}}}${{b{n - 1}}}\n" for n in range(1, 20)) + "name: ${b19}",
            "the text is longer than|form a cycle",
        ),
        (
            "b0: [1, 1]\n"
            + "".join(f"b{n}: ['${{b{n - 1}}}', '${{b{n - 1}}}']\n" for n in range(1, 30))
            + "data: {x: '${b29}'}",
            "form a cycle or expand to more than 20,000 values|nested",
        ),
        ("d: $\nname: '${d}{oc.env:HOME}'", "calls a resolver"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, said):
    path = write(tmp_path, text)
    if said is None:
        assert read_config(path)["data"] == {"d": "2001-01-01"}
        return
    with pytest.raises(ForeignConfigError, match=said):
        read_config(path)


def test_numbers_are_read_as_hydra_writes_them(tmp_path):
    values = {"a": 1e-4, "b": 1e16, "c": 3, "d": True, "e": None, "f": "1e-4x", "g": -0.5, "h": "on fire", "i": 2.5e-8}
    path = write(tmp_path, OmegaConf.to_yaml(OmegaConf.create({"module": {"g": -0.5}, "data": values | {"b": 1e5}})))
    assert read_config(path)["data"] == values | {"b": 1e5}
    assert OmegaConf.to_container(OmegaConf.load(path))["data"] == read_config(path)["data"]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "unmask.training.callbacks.LastCheckpoint", "dirpath": "elsewhere"}, "is for training only"),
        ({"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "elsewhere"}, "is for training only"),
        ({"_target_": "torch.nn.Identity", "cache_dir": "elsewhere"}, "may not set output paths"),
        ({"_target_": "unmask.commands.demo.start", "command": ["touch", "PWNED"]}, "not an allowed target"),
        ({"_target_": "timm.create_model", "model_name": "resnet10t", "pretrained": True}, "not an allowed target"),
        ({"_target_": "unmask.networks.weights.read_state_dict", "path": "x"}, "not an allowed target"),
        ({"_target_": "unmask.parallel.workers._Worker"}, "not an allowed target"),
    ],
)
def test_what_it_may_not_build(tmp_path, node, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_folder(tmp_path, module__network=node)
    with pytest.raises(ValueError, match=said):
        run.module()
    assert not (tmp_path / "PWNED").exists() and not (tmp_path / "elsewhere").exists()


def test_a_reference_is_checked_as_what_it_stands_for(tmp_path, monkeypatch):
    """The hand-over's run: the check skipped references, and building followed them."""
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        "name: x\nevil:\n  _target_: unmask.commands.demo.start\n  command: [touch, PWNED]\n"
        "data:\n  recipe: {_target_: unmask.media.recipe.FaceCrops, frames: '${evil}'}\n",
    )
    with pytest.raises(ValueError, match=r"data\.recipe\.frames\._target_: 'unmask\.commands\.demo\.start'"):
        Run(tmp_path).build("data.recipe")
    assert not Path("PWNED").exists()


def test_a_part_is_what_its_place_expects(tmp_path):
    run = run_folder(tmp_path, data__recipe={"_target_": "torch.nn.Identity"}, module={"_target_": "torch.nn.Identity"})
    with pytest.raises(ForeignConfigError, match=r"data\.recipe\._target_: expected a class of unmask\.media"):
        run.build("data.recipe")
    with pytest.raises(ForeignConfigError, match=r"module\._target_: expected a class of unmask\.modules"):
        run.module()


def test_a_part_is_an_object_and_no_factory(tmp_path):
    recipe = {"_target_": "unmask.media.pictures.WholePictures", "crop_size": 32, "_partial_": True}
    network = {"_target_": "unmask.networks.meso.Meso4", "image_size": 32, "_partial_": True}
    run = run_folder(tmp_path / "partial", data__recipe=recipe, module__network=network)
    with pytest.raises(ForeignConfigError, match=r"data\.recipe\._partial_: expected false"):
        run.build("data.recipe")
    with pytest.raises(ForeignConfigError, match=r"module\.network\._partial_: expected false"):
        run.network()


def test_weights_are_the_runs_own(tmp_path):
    run = run_folder(tmp_path, module__network__weights="/etc/passwd", data__download=True)
    assert run.config["module"]["network"]["weights"] is None and run.module() is not None


def test_a_module_larger_than_its_weights_is_refused_before_it_takes_memory(tmp_path):
    network = {"_target_": "torch.nn.Linear", "in_features": 900_000, "out_features": 900_000}
    with pytest.raises(RunError, match="much larger module than its checkpoint holds"):
        run_folder(tmp_path, module__network=network).module()


# ---- weights


def test_weights_hold_tensors_and_nothing_else(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "PWNED",))

    script = tmp_path / "script.ckpt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(script))
    with pytest.raises(RunError, match="TorchScript archive, which is code"):
        load_weights(script)
    for name, value, said in (
        ("evil", {"state_dict": {"w": Evil()}}, "running code"),
        ("list", [1, 2], "not a checkpoint"),
        ("none", {"epoch": 3}, "state_dict is missing"),
        ("text", {"state_dict": {"w": "x"}}, "not a dict of tensors"),
        ("wide", {"state_dict": {"w": torch.zeros(1).expand(10**12)}}, "declares more values than the file stores"),
    ):
        torch.save(value, tmp_path / f"{name}.ckpt")
        with pytest.raises(RunError, match=said):
            load_weights(tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "PWNED").exists()


def test_damaged_checkpoints_are_refused_in_words(tmp_path):
    whole = tmp_path / "whole.ckpt"
    torch.save({"state_dict": {"w": torch.arange(1000.0)}}, whole)
    raw = whole.read_bytes()
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**7)
    with pytest.raises(RunError, match="compressed"):
        load_checkpoint(bomb)
    for cut in (0, 1, 100, len(raw) // 2, len(raw) - 1):
        whole.write_bytes(raw[:cut])
        with pytest.raises(RunError, match="broken"):
            load_weights(whole)
    whole.write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(RunError, match="broken"):
        load_weights(whole)


# ---- every callable that a config may build

# Words in the name of an argument by which it may reach a file, the network or a process ...
REACHES = set(
    "path file dir folder root url weights pretrained cache download checkpoint save command hub repo script".split()
)
REACHES |= set("log run prepared dirpath filename logdir directory host executable".split())
# ... and those arguments that do not, with the reason.
HARMLESS = {"log_target": "a switch of a loss", "log_input": "a switch of a loss"}


def admitted() -> list:
    """Every class and function that a config which came with a run may build."""
    modules = []
    for root in (*OURS, *THEIRS, *FUNCTIONS):
        try:
            package = import_module(root)
        except ImportError:  # a function
            package = import_module(root.rpartition(".")[0])
        modules.append(package)
        for found in pkgutil.walk_packages(getattr(package, "__path__", []), f"{package.__name__}."):
            try:
                modules.append(import_module(found.name))
            except ImportError:  # an optional package of diffusers is not installed
                continue
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and is_allowed(value)
        and any(is_below(f"{value.__module__}.{value.__qualname__}", root) for root in (*OURS, *THEIRS, *FUNCTIONS))
    }
    return sorted(found, key=lambda value: f"{value.__module__}.{value.__qualname__}")


def test_every_argument_that_reaches_out_is_known():
    """A new class with an argument `cache_dir` or `weights_url` fails here until it is in one of the tables."""
    known, unknown = set(NEUTRAL) | READ_ONLY | WRITING, []
    every = admitted()
    assert len(every) > 250, "the walk found what conf uses and the rest of these packages"
    for target in every:
        home = f"{target.__module__}.{target.__qualname__}"
        if any(is_below(home, root) for root in WRITERS):
            continue
        try:
            names = inspect.signature(target).parameters
        except ValueError:
            continue
        reaching = {name for name in names if REACHES & set(name.split("_"))}
        unknown += [f"{home}({name})" for name in sorted(reaching - known - set(HARMLESS))]
    assert not unknown, unknown


def test_nothing_admitted_deletes_or_executes():
    """By the source of what runs while one of ours is built: nothing is started, written or deleted."""
    forbidden = re.compile(
        r"\b(subprocess|os\.system|os\.remove|unlink|rmtree|os\.exec|(?<!\.)eval\(|Popen|write_text|write_bytes)"
    )
    bad = []
    for target in admitted():
        home = f"{target.__module__}.{target.__qualname__}"
        if not home.startswith("unmask.") or any(is_below(home, root) for root in WRITERS):
            continue
        built = (
            [vars(target).get(name) for name in ("__init__", "__post_init__")] if inspect.isclass(target) else [target]
        )
        for function in built:
            hand_written = inspect.isfunction(function) and function.__code__.co_filename != "<string>"
            if hand_written and forbidden.search(inspect.getsource(function)):
                bad.append(home)
    assert not bad, bad


# ---- a sample of the hostile configs; `python tests/hostile_configs.py --count 500` makes more


@pytest.mark.parametrize("number", range(40))
def test_hostile_configs_do_nothing(number, tmp_path):
    assert attempt(hostile(seed=7, number=number), tmp_path) in ("refused", "built")
