"""A killed run goes on bit for bit; a failed load never starts over in silence; NaN stops a run."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback

from conftest import TINY, compose, unmask
from datamodules import from_config
from unmask.commands import train as verb
from unmask.data import samplers, sampling
from unmask.files import DamagedError
from unmask.runs.checkpoints import load_weights, resume_point
from unmask.runs.errors import RunError
from unmask.runs.folder import GENERATION, clear

pytestmark = pytest.mark.slow

ARGUMENTS = (
    *TINY,
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
    "data.batch_size=8",
    "data.sampling.frames_per_video=3",
)
SOUND = (
    "experiment=demo_voices/lcnn", "trainer=cpu", "data.sampling.seconds=1.0", "data.batch_size=4",
    "module.network.width=4", "augment@data.augment=sound", "report=false", "latency=false", "handling=false",
)  # fmt: skip
CLIPS = ("experiment=demo_celebdf/cnn_lstm", "frames=3", "module.network.dropout=0.5", "data.sampling.balance=pairs")


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing of ours may catch it."""


class KillAt(Callback):
    """Stop dead after a batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.at:
            raise Killed


def train_in(place: Path, out: str, overrides: list[str], kill: KillAt | None, monkeypatch) -> Path:
    """Train into `place/out`; with `kill` it dies there."""
    cfg = compose("train", ["report=false", *overrides, f"paths.out={out}"])
    (place / out).mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as patch:
        patch.chdir(place)
        if kill:
            parts = verb._callbacks
            patch.setattr(verb, "_callbacks", lambda *given: [*parts(*given), kill])
            with pytest.raises(Killed):
                verb.train(cfg)
        else:
            verb.train(cfg)
    return place / out


def same_weights(a: Path, b: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        one, other = load_weights(a / "checkpoints" / name), load_weights(b / "checkpoints" / name)
        assert one.keys() == other.keys() and len(one) > 5
        for key in one:
            assert torch.equal(one[key], other[key]), f"{name}: {key}"


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns="train/samples_per_second")


@pytest.mark.parametrize(
    ("kind", "extra", "kill"),
    [
        ("between", (), (1, 0)),  # the last checkpoint is that of the end of epoch 0
        ("inside", ("callbacks.last.every_n_train_steps=3",), (1, 4)),  # the last one lies inside epoch 1
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(workplace, demo_root, monkeypatch, kind, extra, kill):
    overrides = [*CLIPS[:1], f"data.root={demo_root}", *ARGUMENTS, *CLIPS[1:], *extra]
    whole = train_in(workplace, f"out/{kind}-whole", overrides, None, monkeypatch)
    torch.rand(7), np.random.rand(3)  # another process has another history
    cut = train_in(workplace, f"out/{kind}-cut", overrides, KillAt(*kill), monkeypatch)
    assert not (cut / "metrics.json").exists() and (cut / "checkpoints/last.ckpt").exists()
    state = torch.load(cut / "checkpoints/last.ckpt", weights_only=True)
    done = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    assert done == {"between": 8, "inside": 3}[kind]
    train_in(workplace, f"out/{kind}-cut", overrides, None, monkeypatch)
    same_weights(whole, cut)
    for split in ("val", "test"):
        assert (whole / f"predictions-{split}.parquet").read_bytes() == (
            cut / f"predictions-{split}.parquet"
        ).read_bytes()
    pd.testing.assert_frame_equal(curves(whole), curves(cut))


@pytest.mark.parametrize("kind", ["pictures", "sound"])
def test_a_killed_process_goes_on(kind, request, monkeypatch):
    """The real signal to the real command."""
    if kind == "sound":
        workplace, here = request.getfixturevalue("voices")
        given = [*SOUND, *here]
    else:
        workplace, given = request.getfixturevalue("workplace"), request.getfixturevalue("arguments_of_meso4")
    given = [*given, "trainer.max_epochs=40", "callbacks.early_stopping.patience=40", "name=killed"]
    command = [sys.executable, "-m", "unmask.commands.train", *given]
    job = subprocess.Popen(command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (found := list(workplace.glob("outputs/killed/*/checkpoints/previous.ckpt"))):
        assert time.monotonic() < deadline and job.poll() is None, "the training never saved"
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    folder = found[0].parents[1]
    assert not (folder / "metrics.json").exists()
    printed = unmask("train", *given, cwd=workplace).stdout
    assert "resuming from" in printed
    monkeypatch.chdir(workplace)
    whole = train_in(workplace, "out/not-killed", given, None, monkeypatch)
    same_weights(whole, folder)


@pytest.fixture(scope="module")
def arguments_of_meso4(demo_root):
    small = [*TINY, "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=16", "data.sampling.frames_per_video=1"]
    return ["experiment=demo_celebdf/meso4", f"data.root={demo_root}", *small]


def test_a_failed_load_never_starts_over_in_silence(workplace, arguments_of_meso4, monkeypatch):
    out = train_in(workplace, "out/broken", arguments_of_meso4, None, monkeypatch)
    (out / "metrics.json").unlink()
    last, previous = out / "checkpoints/last.ckpt", out / "checkpoints/previous.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="this checkpoint is skipped"):
        assert resume_point(out) == previous
    previous.write_bytes(b"")
    with pytest.raises(RunError, match="rerun=true starts this run over"), pytest.warns(UserWarning):
        resume_point(out)
    with pytest.warns(UserWarning), pytest.raises(RunError):
        train_in(workplace, "out/broken", arguments_of_meso4, None, monkeypatch)
    assert resume_point(workplace / "nothing") is None
    train_in(workplace, "out/broken", [*arguments_of_meso4, "rerun=true"], None, monkeypatch)
    assert (out / "metrics.json").is_file()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_weights(workplace, arguments_of_meso4, monkeypatch):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 1:
                batch["x"].fill_(float("nan"))

    parts = verb._callbacks
    monkeypatch.setattr(verb, "_callbacks", lambda *given: [*parts(*given), Poison()])
    with pytest.raises(ValueError, match=r"not finite at step \d+ .* Lower module.optimizer.lr"):
        train_in(workplace, "out/poison", arguments_of_meso4, None, monkeypatch)
    weights = load_weights(workplace / "out/poison/checkpoints/last.ckpt")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_pairs_stay_side_by_side_on_every_process():
    label = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    source = np.array([-1, -1, -1, 0, 1, 2, 0, -1])
    for world in (1, 2):
        for rank in range(world):
            order = lambda rng: sampling.paired_order(label, source, rng)  # noqa: E731
            found = [index for _, index in samplers.CountedSampler(8, 5, order, 2, rank, world)]
            for fake, real in zip(found[::2], found[1::2], strict=True):
                assert label[fake] == 1 and label[real] == 0
                assert source[fake] in (real, -1)


def test_sources_are_found_by_number(workplace, demo_root, monkeypatch):
    monkeypatch.chdir(workplace)

    cfg = compose(
        "train", ["experiment=demo_celebdf/meso4", f"data.root={demo_root}", *TINY, "data.sampling.balance=pairs"]
    )
    data = from_config(cfg)
    data.setup("fit")
    samples = data.samples["train"]
    table, source = samples.table, samples.sources()
    fakes = np.flatnonzero(samples.labels == 1)
    assert (source[samples.labels == 0] == -1).all() and (source[fakes] >= 0).all()
    for index in fakes:
        mine, other = table.iloc[index], table.iloc[source[index]]
        filmed, _, number = mine["item"].split("/")[-1].split("_")
        assert other["item"].endswith(f"celeb/{filmed}_{number}") and other["frame"] == mine["frame"]


def test_history_replaces_what_is_logged_again(tmp_path):
    from unmask.training.metrics_csv import MetricsCsv

    first = MetricsCsv(str(tmp_path))
    for step in range(4):
        first.log_metrics({"loss": step, "epoch": 0}, step)
    first.log_metrics({"val": 0.5}, 3)
    first.save()
    again = MetricsCsv(str(tmp_path))
    again.log_metrics({"loss": 30.0}, 3)
    again.log_metrics({"loss": 4.0, "new": 1.0}, 4)
    again.save()
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["step"].tolist() == [0, 1, 2, 3, 4] and table["loss"].tolist() == [0, 1, 2, 30, 4]
    assert table["val"].dropna().tolist() == [0.5] and table["new"].dropna().tolist() == [1.0]


@pytest.mark.parametrize("harm", [(b"\n2,", b"\n\x13,"), (b"0.25", b"0.x5"), (b"loss", b"l\xffss"), (b"step", b"stap")])
def test_damaged_history_is_named_with_its_repair(tmp_path, harm):
    from unmask.reporting.gather import _curves
    from unmask.training.metrics_csv import MetricsCsv

    history, path = MetricsCsv(str(tmp_path)), tmp_path / "metrics.csv"
    for step in range(4):
        history.log_metrics({"loss": 0.25, "epoch": 0}, step)
    history.save()
    assert harm[0] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(harm[0], harm[1], 1))
    with pytest.raises(DamagedError, match=rf"{re.escape(str(path))} is damaged .*delete it, .* rerun=true"):
        MetricsCsv(str(tmp_path))
    if harm[0] != b"step":  # a report draws the curves that it knows
        with pytest.raises(DamagedError, match=r"is damaged .*; delete it; the report is then written without curves"):
            _curves(path)


def test_starting_over_removes_what_an_evaluation_wrote_and_keeps_other_files(tmp_path):
    """Metrics of the earlier network must not be shown as those of the new one."""
    ours = [GENERATION, "nearest.png", "predictions-other-test.parquet", "robustness/quick/jpeg-1.parquet"]
    for name in (*ours, "notes.txt", "robustness/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    clear(tmp_path)
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert kept == ["notes.txt", "robustness/notes.txt"]
