"""Every preset and every option on the disk composes, is valid and can be built; a new file is found by itself."""

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from conftest import compose, stand_in_codec, stand_in_run, stand_in_vae
from datamodules import from_config
from unmask.config import conf_dir
from unmask.config.build import build
from unmask.config.check import validate

CONF = Path(conf_dir())
EXPERIMENTS = sorted(str(p.relative_to(CONF / "experiment").with_suffix("")) for p in CONF.glob("experiment/*/*.yaml"))
GROUPS = [
    "data",
    "data/recipe",
    "trainer",
    "logger",
    "callbacks",
    "module",
    "module/network",
    "module/loss",
    "module/optimizer",
    "module/scheduler",
]
GENERATORS = [
    ("gan", "module/generator"),
    ("gan", "module/discriminator"),
    ("gan", "module/embed@module.generator.embed"),
    ("gan", "module/embed@module.discriminator.embed"),
    ("gan", "module/adversarial@module.loss"),
    ("gan", "module/diffaug@module.augment"),
    ("gan", "module/evaluator"),
    ("gan", "module/penalty_d"),
    ("gan", "module/penalty_g"),
    ("autoencoder", "module/evaluator"),
    ("diffusion", "module/evaluator"),
    ("diffusion", "module/denoiser"),
    ("diffusion", "module/sampler"),
    ("autoencoder", "module/encoder"),
    ("autoencoder", "module/decoder"),
    ("autoencoder", "module/reconstruction@module.loss"),
    ("latent_diffusion", "module/text@module.denoiser.text"),
    ("latent_diffusion", "module/codec"),
    ("faceswap", "module/swapper@module.network"),
    ("faceswap", "module/discriminator"),
]
OPTIONS = [(g, p.stem) for g in GROUPS for p in sorted((CONF / g).glob("*.yaml")) if not p.stem.startswith("_")]
OPTIONS += [("augment@data.augment", p.stem) for p in sorted((CONF / "augment").glob("*.yaml"))]
MEASURED = re.compile(r"\b[01]\.\d{2,3}\b|\d\.\d (%|dB)")
FIGURE = re.compile(rf"{MEASURED.pattern}|no published figure|no figures|not run")
OFFLINE = ["paths.out=out", "frames=4", "data.root=somewhere"]
WANTED = {name: ["data.run=somewhere"] for name in ("generated", "swapped")}  # what an option has no default for
RUNS = {
    "latent_diffusion": ["module.codec.run"],
    "trained": ["module.network.run"],
    "distillation": ["module.loss.run"],
}  # keys that name a finished run


def needed(experiment: str) -> list[str]:
    """What a preset has no default for."""
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    keys = dict.fromkeys(re.findall(r"module\.[a-z.]*run(?==)", text))
    return [f"{key}={stand_in_codec() if key == 'module.codec.run' else stand_in_run()}" for key in keys]


def test_the_walk_finds_presets():
    assert {"celebdf/meso4", "celebdf/cnn_lstm", "demo_celebdf/meso4"} <= set(EXPERIMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_preset_is_valid_and_says_what_it_reproduces(experiment):
    cfg = compose("train", [f"experiment={experiment}", "paths.out=out", *needed(experiment)])
    validate(cfg)
    header = (CONF / "experiment" / f"{experiment}.yaml").read_text().split("defaults:")[0]
    assert header.startswith("# @package _global_\n# ")
    expected = header.partition("# Expected: ")[2]
    assert FIGURE.search(expected), "a preset's header says the expected figure and its source, or why there is none"
    sources = ("own run", "arXiv", "published", "claimed")
    assert any(source in expected for source in sources) or not MEASURED.search(expected)
    assert cfg.name == experiment, "a preset's runs lie under its own name"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_preset_builds_without_a_download(experiment):
    cfg = compose("train", [f"experiment={experiment}", "paths.out=out", *needed(experiment)])
    network = cfg.module.get("network") or {}  # a generator has others
    for node in (network, network.get("encoder") or {}):
        if node.get("pretrained"):
            node.pretrained = False if node.pretrained is True else None  # what only a download gives
    module = build(OmegaConf.to_container(cfg.module, resolve=True))  # as a training does
    assert sum(value.numel() for value in module.state_dict().values()) > 50  # what a baseline has is buffers
    data = from_config(cfg)
    assert data.loader.image_size == cfg.image_size


@pytest.mark.slow
@pytest.mark.parametrize("group,option", OPTIONS)
def test_every_option_composes_and_is_valid(group, option):
    codec = option == "latent_diffusion"
    runs = [f"{key}={stand_in_codec() if codec else stand_in_run()}" for key in RUNS.get(option, [])]
    validate(compose("train", [f"{group}={option}", *OFFLINE, *WANTED.get(option, []), *runs]))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "group"), GENERATORS)
def test_every_option_of_a_generator_composes_and_is_valid(module, group):
    options = sorted((CONF / group.partition("@")[0]).glob("*.yaml"))
    assert options
    codec = [f"module.codec.run={stand_in_codec()}"] if module == "latent_diffusion" else []
    for option in options:
        own = [f"module.codec.weights={stand_in_vae()}"] if option.match("codec/folder.yaml") else codec
        validate(compose("train", [f"module={module}", f"{group}={option.stem}", *OFFLINE, *own]))


@pytest.mark.parametrize("verb", ["prepare", "evaluate", "report", "predict", "sample", "swap", "inpaint", "demo"])
def test_every_verb_composes(verb):
    file = OmegaConf.load(CONF / f"{verb}.yaml")
    keys = {str(key) for key in file} - {"defaults", "hydra"}
    assert keys and keys <= set(compose(verb, [])), "each key of its file"


MADE = {"generated", "swapped", "mixture"}  # their crops are not made by `unmask prepare`
DATA = sorted({p.stem for p in (CONF / "data").glob("[!_]*.yaml")} - MADE)


@pytest.mark.parametrize("data", DATA)
def test_the_command_for_missing_crops_makes_these_crops(data):
    """256 px is the size of the recipes, and many data sets have another size."""
    wanted = compose("train", [f"data={data}", "data.root=raw", "augment@data.augment=none", "paths.out=out"])
    if "crop_size" in wanted.data.recipe:  # there is none for sound
        wanted.data.recipe.crop_size = 256
    words = shlex.split(from_config(wanted).members[0][0].command())
    assert words[:2] == ["unmask", "prepare"]
    assert compose("prepare", words[2:]).data.recipe == wanted.data.recipe


def test_presets_change_the_root():
    assert compose("train", ["experiment=demo_celebdf/meso4"]).image_size == 128


def test_a_preset_selected_by_its_loss_keeps_the_lowest_one():
    cfg = compose("train", ["experiment=celebdf/cnn_lstm_study", "paths.out=out"])
    best = cfg.callbacks.best
    assert (best.monitor, best.mode, cfg.callbacks.early_stopping) == ("val/loss", "min", None)
    assert cfg.data.recipe._target_.endswith("WholePictures")
    face = compose("train", ["experiment=celebdf/cnn_lstm_study", "data/recipe=faces", "paths.out=out"]).data.recipe
    assert face._target_.endswith("FaceCrops") and (face.frames, face.crop_size) == (20, 160)


def test_a_choice_that_does_not_apply_is_refused():
    with pytest.raises(Exception, match=r"module/nettwork"):
        compose("train", ["module/nettwork=meso4"])
