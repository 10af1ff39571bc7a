"""Settings of the Trainer and of a training: each does what Lightning promises, or is refused in one line before it."""

import os
import sys

import pandas as pd
import pytest
import torch
from pytorch_lightning import LightningModule

from conftest import TINY, unmask
from unmask.modules.detector import Detector
from unmask.modules.faceswap import FaceSwap
from unmask.modules.gan import GAN
from unmask.runs.checkpoints import load_weights
from unmask.runs.folder import in_use
from unmask.runs.run import Run
from unmask.training import trainer

QUICK = {"trainer": "cpu", "trainer.max_epochs": "2", "data.batch_size": "16", "data.sampling.frames_per_video": "2"}


@pytest.fixture
def train(workplace, demo_root):
    """A tiny training by the console command with more arguments; its output and its folder."""

    def call(name: str, *more: str, expect: int = 0):
        keys = {argument.partition("=")[0].lstrip("+") for argument in more}
        given = [f"{key}={value}" for key, value in QUICK.items() if key not in keys]
        rest = [argument for argument in TINY[:-2] + TINY[-1:] if argument.partition("=")[0] not in keys]
        base = ["experiment=demo_celebdf/meso4", f"data.root={demo_root}", f"name={name}", *given, *rest]
        done = unmask("train", *base, *more, cwd=workplace, expect=expect)
        folders = [path for path in (workplace / "outputs" / name).glob("*") if (path / ".hydra").is_dir()]
        return done, folders[0] if folders else None

    return call


REFUSED = [
    ("seed=1.5", "seed=1.5: expected a whole number from 0 to 4294967295"),
    ("seed=-1", "seed=-1: expected a whole number"),
    ("image_size=0", "image_size=0: expected a whole number of 1 or more"),
    ("frames=0", "frames=0: expected a whole number of 1 or more"),
    ("explain=-1", "explain=-1: expected a whole number of 0 or more"),
    ("data.batch_size=0", "data.batch_size=0: expected a whole number of 1 or more"),
    ("data.batch_size=2.5", "data.batch_size=2.5: expected a whole number"),
    ("data.loader.num_workers=-1", "data.loader.num_workers=-1: expected a whole number of 0 or more"),
    ("data.sampling.frames_per_video=0", "data.sampling.frames_per_video=0: expected a whole number of 1 or more"),
    ("data.split.val_fraction=2", "data.split.val_fraction=2: expected a fraction from 0 to 1"),
    ("data.split.train_fraction=2", "data.split.train_fraction=2: expected a fraction from 0 to 1"),
    ("data.split.seed=-3", "data.split.seed=-3: expected a whole number"),
    ("module.optimizer.lr=-1", "module.optimizer.lr=-1"),
    ("module.optimizer.lr=fast", "module.optimizer.lr=fast"),
    ("module.optimizer.weight_decay=-1", "Invalid weight_decay value: -1"),
    ("module.loss.smoothing=much", "module.loss.smoothing=much: expected a number"),
    ("data.split.allow_duplicates=1", "data.split.allow_duplicates=1: expected true or false"),
    ("data.sampling.frames=2.5", "data.sampling.frames=2.5: expected a whole number or null"),
    ("callbacks.early_stopping.patience=long", "callbacks.early_stopping.patience=long: expected a whole number"),
    ("module.monitor=val/nope", "module.monitor=val/nope: expected one of val/frame_auroc"),
    ("trainer=gpu", "trainer.accelerator=gpu: No supported gpu backend found; to train on the CPU, set trainer=cpu"),
    (f"trainer.devices={(os.cpu_count() or 1) + 6}", "the number of this machine's CPU cores"),
    ("trainer.max_epochs=-5", "`max_epochs` must be a non-negative integer or -1"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5: expected a whole number"),
    ("trainer.max_epochs=-1", "a cosine schedule needs a finite number of steps; set trainer.max_epochs or"),
    ("trainer.check_val_every_n_epoch=99", "expected a multiple of trainer.check_val_every_n_epoch=99, because only"),
    ("trainer.precision=17", "trainer.precision=17: expected one of 64, 32, 16, "),
    ("trainer.strategy=nope", "trainer: You selected an invalid strategy name"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: expected a fraction above 0 or a number"),
    ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: expected"),
    ("trainer.limit_test_batches=0", "trainer.limit_test_batches=0: expected"),
    ("trainer.limit_val_batches=1.5", "You have passed invalid value 1.5 for limit_val_batches"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("argument", "told"), REFUSED, ids=[argument for argument, _ in REFUSED])
def test_what_cannot_work_is_refused_in_one_line_before_anything_runs(train, argument, told):
    if argument == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("tests the refusal on a machine without a GPU, and this one has a GPU")
    done, folder = train("refused", argument, expect=1)
    assert folder is None, "a refused command leaves no run folder"
    assert told in done.stderr and done.stderr.count("\n") == 1 and done.stderr.startswith("unmask: ")
    assert "epoch" not in done.stdout


def test_all_wrong_numbers_are_told_at_once(train):
    done, _ = train("refused", "seed=-1", "data.batch_size=0", "data.split.val_fraction=-1", expect=1)
    assert "3 values are wrong" in done.stderr and done.stderr.count("expected") == 3


def test_check_finds_them_too(train):
    assert "data.batch_size=0" in train("refused", "check=true", "data.batch_size=0", expect=1)[0].stderr
    done, folder = train("checked", "check=true")
    assert "the config is valid" in done.stdout and folder is None


def test_the_line_of_an_epoch_shows_no_figures_of_an_earlier_validation(train):
    done, _ = train("sparse", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert ["val/loss" in line for line in lines] == [False, True, False, True]


def test_a_verb_without_its_run_says_how(tmp_path):
    for verb, told in (("evaluate", "unmask evaluate run=DIR"), ("predict", "unmask predict FILE run=DIR")):
        done = unmask(verb, cwd=tmp_path, expect=1)
        assert told in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("metric", ["loss", "video_eer"])
def test_the_best_epoch_by_a_metric_of_which_less_is_better(train, metric):
    folder = train(metric, f"module.monitor=val/{metric}", "trainer.max_epochs=4", "module.optimizer.lr=0.05")[1]
    logged = pd.read_csv(folder / "metrics.csv").dropna(subset=[f"val/{metric}"])[f"val/{metric}"].to_numpy()
    found = Run(folder).metrics
    assert len(logged) == 4 and logged.min() < logged.max(), "the epochs differ"
    assert logged[found["best_epoch"] - 1] == logged.min() == pytest.approx(found["score"], abs=1e-4)


@pytest.mark.parametrize("plus", ["", "+"])
def test_fast_dev_run_tries_a_batch_of_each_split_and_writes_nothing(train, plus):
    done, folder = train(f"fast{len(plus)}", f"{plus}trainer.fast_dev_run=true")
    assert "training, validation and test succeeded" in done.stdout and "epoch 1 of 1" in done.stdout
    assert folder is None


def test_overfitting_takes_the_same_batches_in_every_epoch(train, monkeypatch):
    seen = []
    step = Detector.training_step

    def noted(self, batch, batch_idx):
        seen.append(sorted(batch["index"].tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Detector, "training_step", noted)
    _, folder = train("overfit", "trainer.overfit_batches=1", "trainer.max_epochs=3")
    assert len(seen) == 3 and seen[0] == seen[1] == seen[2] and len(set(seen[0])) > 8
    assert Run(folder).metrics["epochs"] == 3
    seen.clear()
    train("not_overfit", "trainer.limit_train_batches=1", "trainer.max_epochs=2")
    assert seen[0] != seen[1]


def test_no_epoch_scores_the_weights_as_they_are(train, monkeypatch):
    _, folder = train("none", "trainer.max_epochs=0")
    run = Run(folder)
    assert run.metrics["epochs"] == 0 and run.metrics["best_epoch"] is None
    assert run.metrics["test"]["video_auroc"] > 0
    assert "not trained" in run.predictions("test").attrs["protocol"]["Selection"]


def test_without_loggers_and_without_callbacks(train):
    _, folder = train("unlogged", "logger=none")
    assert not (folder / "metrics.csv").exists() and Run(folder).metrics["best_epoch"] in (1, 2)
    _, folder = train("bare", "callbacks=none")
    run = Run(folder)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.ckpt"] and run.metrics[
        "best_epoch"
    ] == 2
    assert "after the last of 2 epochs" in run.predictions("test").attrs["protocol"]["Selection"]
    assert all(torch.isfinite(value).all() for value in load_weights(run.checkpoint).values())
    curve = pd.read_csv(folder / "metrics.csv")["val/frame_auroc"].dropna()
    assert run.metrics["score"] == pytest.approx(curve.iloc[-1], abs=1e-6), "the weights at the end"


def test_modules_say_whether_ddp_must_look_for_unused_parameters():
    settings = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    if (os.cpu_count() or 1) < 2:
        pytest.skip("runs two DDP processes, and this machine has one core, where that is refused")
    for kind, unused in ((Detector, False), (GAN, True), (FaceSwap, True)):
        module = kind.__new__(kind)  # without its networks
        LightningModule.__init__(module)
        module.automatic_optimization = kind is Detector
        strategy = trainer.build(settings, module, logger=False).strategy
        assert kind.unused_parameters is unused
        assert strategy._ddp_kwargs.get("find_unused_parameters", False) is unused


def test_a_folder_in_use_is_left_alone(train):
    """A check, or a refused repetition, beside a training that has written nothing but its log."""
    _, folder = train("beside", "trainer.max_epochs=1")
    for path in sorted(folder.rglob("*"), reverse=True):
        if ".hydra" not in path.parts and path.name != "train.log":
            path.rmdir() if path.is_dir() else path.unlink()
    before = (folder / "train.log").read_text()
    assert before.startswith("[") and "unmask train experiment=demo_celebdf/meso4" in before.splitlines()[0]
    _, again = train("beside", "trainer.max_epochs=1", "check=true")
    assert again == folder and (folder / "train.log").read_text().startswith(before)
    assert (folder / ".hydra/config.yaml").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")
@pytest.mark.parametrize("again", ["rerun=false", "rerun=true"])
def test_two_trainings_do_not_share_a_folder(train, again):
    _, folder = train("shared", "trainer.max_epochs=1")
    (folder / "metrics.json").unlink()
    files = [path for path in folder.glob("[!.]*/*") if path.is_file()]  # Hydra adds to .hydra and to the log
    before = {path: path.read_bytes() for path in [*files, folder / "metrics.csv"]}
    assert len(files) > 1
    with in_use(folder):  # as if another process were training
        done, _ = train("shared", "trainer.max_epochs=1", again, expect=1)
        assert "another process is training in this folder. Wait until" in done.stderr
        _, checked = train("shared", "trainer.max_epochs=1", again, "check=true")
    assert checked == folder and {path: path.read_bytes() for path in before} == before
    train("shared", "trainer.max_epochs=1", again)
    assert (folder / "metrics.json").is_file()
