"""What tests share: one thread, real data where it lies beside the checkout, a tiny prepared data set."""

import atexit
import contextlib
import functools
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # intra-op threads on few cores fight each other
os.environ["WANDB_MODE"] = "disabled"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from unmask.cli import main
from unmask.commands.prepare import prepare as prepare_verb
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render
from unmask.demo.voices import render_voices
from unmask.media.decoders import DECODERS, choose_decoder
from unmask.modules import detector
from unmask.runs.figures import write_json
from unmask.runs.identity import write_config

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("UNMASK_SHARED_DATA", ROOT.parent / "shared" / "data"))


# `UNMASK_TEST_BF16=on` or `=off` runs the suite as on a machine with, or without, bfloat16 in hardware.
FORCED_BF16 = os.environ.get("UNMASK_TEST_BF16")
if FORCED_BF16:
    detector.fast_bfloat16 = lambda device: {"on": True, "off": False}[FORCED_BF16]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photographs, videos and weights, which are no part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is not at hand ({SHARED}); set UNMASK_SHARED_DATA to use it")
    return SHARED


class Done(NamedTuple):
    """What a call of the console command gave."""

    returncode: int
    stdout: str
    stderr: str


SCORED = (0, 10, 20)  # the exit codes of `predict` for a file that was scored


def unmask(*arguments: str, cwd: Path, expect: int | tuple[int, ...] = 0) -> Done:
    """Run the console command as a user does, in a folder of its own, but in this process: imports take seconds.

    The command refuses a key that is given twice. Tests share lists such as `TINY`, so of `key=value` the last counts.
    A training ends without its report, which takes longer than the training, unless `report=true` is among them, and
    without measuring latency, unless `latency=true` is.
    """
    if arguments[:1] == ("train",):
        unwanted = [f"{key}=false" for key in ("report", "latency") if f"{key}=true" not in arguments]
        arguments = (*arguments, *unwanted)
    keys = [argument.partition("=")[0] for argument in arguments]
    kept = [at for at, key in enumerate(keys) if "=" not in arguments[at] or key not in keys[at + 1 :]]
    arguments = tuple(arguments[at] for at in kept)
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.setattr(sys, "argv", ["unmask", *arguments])
            patch.setenv("COLUMNS", "200")
            warnings.simplefilter("ignore")
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
    number = code if isinstance(code, int) else 1
    done = Done(number, out.getvalue(), err.getvalue() + (code if isinstance(code, str) else ""))
    assert number in (expect if isinstance(expect, tuple) else (expect,)), (
        f"exit code {code}\n{done.stdout}\n{done.stderr}"
    )
    return done


@pytest.fixture(params=list(DECODERS))
def decoder(request: pytest.FixtureRequest) -> str:
    """Each decoder that can be used here; the reason for a skip says what another one needs."""
    try:
        return choose_decoder(request.param)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo data set: nine people, of whom three are on the test list."""
    root = tmp_path_factory.mktemp("demo") / "demo_celebdf"
    render(root, people=9, test_people=3, frames=12, difficulty=0.3, workers=1)
    return root


TINY = (
    "data.recipe.frames=4",
    "data.recipe.burst=4",
    "data.recipe.search_every=3",
    "data.recipe.crop_size=64",
    "data.sampling.frames_per_video=2",
    "image_size=64",
)


@pytest.fixture(scope="session")
def workplace(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo data is prepared by the recipe of `TINY`."""
    place = tmp_path_factory.mktemp("work")
    overrides = ["data=demo_celebdf", f"data.root={demo_root}", "prepare.num_workers=0", *TINY]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        prepare_verb(compose("prepare", overrides))
    return place


def compose(name: str, overrides: list[str]):
    """The config of a verb with these overrides."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from unmask.config import conf_dir

    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return hydra_compose(name, overrides)


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with rendered portraits, prepared as the presets of generators read them, and what chooses them."""
    place = tmp_path_factory.mktemp("celeba")
    render_portraits(place / "faces", portraits=50, workers=1)
    here = ["data=demo_celeba", f"data.root={place / 'faces'}"]
    unmask("prepare", *here, "prepare.num_workers=0", cwd=place)
    return place, here


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which a few rendered voices are prepared (eight speakers, three of them for testing)."""
    place = tmp_path_factory.mktemp("voices")
    render_voices(place / "raw", speakers=8, test_speakers=3, each=2, workers=1)
    here = ["data=demo_voices", f"data.root={place / 'raw'}"]
    unmask("prepare", *here, "prepare.num_workers=0", cwd=place)
    return place, here


@pytest.fixture(scope="session")
def people_place(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which two rendered people are prepared for face swapping, and what chooses them."""
    place = tmp_path_factory.mktemp("people")
    here = ["data=demo_people", f"data.root={demo_root}", "data.recipe.crop_size=64", "data.recipe.frames=8"]
    unmask("prepare", *here, "prepare.num_workers=0", cwd=place)
    return place, here


def fit_quietly(module, data, ckpt_path=None, **options):
    """Train on the CPU, nothing shown, logged or saved but what `options` ask the Trainer for; returns the Trainer."""
    from pytorch_lightning import Trainer

    from unmask.training.callbacks import SeedEachStep

    trainer = Trainer(
        logger=False, enable_progress_bar=False, accelerator="cpu", num_sanity_val_steps=0, enable_model_summary=False,
        **{"callbacks": [SeedEachStep(0)], "enable_checkpointing": False, **options},
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


@functools.cache
def stand_in_run() -> str:
    """The folder of a finished run of a detector with initial weights, for configs that need a run."""
    return _stand_in("inpainting_svm/cnn", "detector", ["network"])


@functools.cache
def stand_in_codec() -> str:
    """The folder of a finished run of an autoencoder with a spatial latent and initial weights."""
    return _stand_in("celeba/kl", "generator", ["encoder", "decoder"])


@functools.cache
def stand_in_vae() -> str:
    """The folder of an AutoencoderKL of diffusers with initial weights."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    folder = tempfile.TemporaryDirectory(prefix="unmask-vae-")
    atexit.register(folder.cleanup)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, **kinds).save_pretrained(folder.name)
    return folder.name


def _stand_in(experiment: str, kind: str, parts: list[str]) -> str:
    folder = tempfile.TemporaryDirectory(prefix="unmask-run-")
    atexit.register(folder.cleanup)
    place = Path(folder.name)
    settings = resolved(compose("train", [f"experiment={experiment}", f"paths.out={place}"]))
    write_config(settings, place)
    networks = {part: build(settings["module"][part]) for part in parts}
    weights = {f"{part}.{name}": value for part in parts for name, value in networks[part].state_dict().items()}
    (place / "checkpoints").mkdir()
    torch.save({"state_dict": weights}, place / "checkpoints" / "best.ckpt")
    write_json(place / "metrics.json", {"kind": kind})
    return str(place)
