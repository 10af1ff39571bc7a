"""What W&B and TensorBoard are given, read back by their own readers; nothing of it over a network."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.metrics import confusion_matrix

from conftest import TINY, compose, unmask
from unmask.config import conf_dir
from unmask.config.check import validate
from unmask.reporting import pictures
from unmask.runs.run import Run

ARGUMENTS = ("experiment=demo_celebdf/meso4", *TINY, "trainer=smoke", "data.batch_size=8")


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """No way out: sockets of this process refuse, other processes are sent to a proxy that only notes who came.

    W&B's service is a program of its own, spoken to through a file's socket.
    """
    tried: list[object] = []
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tried.append(address)
            raise OSError("the network is cut")
        connect(self, address)

    def listen(server: socket.socket) -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            tried.append(caller.recv(200))
            caller.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, args=[server], daemon=True).start()
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket.socket, "connect_ex", refuse)
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield tried
        server.shutdown(socket.SHUT_RDWR)


def records(folder: Path) -> list[dict]:
    """What W&B's own reader finds in the one file of a run."""
    import wandb

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    core = Path(wandb.__file__).parent / "bin" / "wandb-core"
    command = [core, "leet", "inspect", "-json", "-no-observability", "-run-file", file]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def of_kind(found: list[dict], kind: str) -> list[dict]:
    return [record[kind] for record in found if record["type"] == kind]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def folders(place: Path) -> set[Path]:
    return set((place / "outputs/demo_celebdf/meso4").glob("*/"))


def train(place: Path, root: Path, *more: str) -> Path:
    before = folders(place)
    unmask("train", *ARGUMENTS, f"data.root={root}", *more, cwd=place)
    (made,) = folders(place) - before
    return made


@pytest.mark.slow
def test_each_training_is_a_finished_run_of_wandb_and_nothing_goes_out(workplace, demo_root, cut, offline):
    for number, rate in enumerate(("1.1e-3", "1.2e-3")):
        folder = train(workplace, demo_root, "logger=wandb", f"module.optimizer.lr={rate}")
        found = records(folder)
        (about,) = of_kind(found, "run")
        assert about["run_id"] == folder.name and about["run_group"] == "demo_celebdf/meso4" and about["resume"]
        assert [done["exit_code"] for done in of_kind(found, "exit")] == [0], f"run {number} is not closed"
        config = {key: value for record in of_kind(found, "config") for key, value in record["update"].items()}
        assert config["module"]["optimizer"]["lr"] == float(rate) and config["data"]["name"] == "demo_celebdf"
        holds(folder, [record["item"] for record in of_kind(found, "history")])
    # Interrupted before its end and started again, it is the same run of W&B, in a second file.
    (folder / "metrics.json").unlink()
    unmask("train", *ARGUMENTS, f"data.root={demo_root}", "logger=wandb", "module.optimizer.lr=1.2e-3", cwd=workplace)
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert [file.name for file in files] == [f"run-{folder.name}.wandb"] * 2
    assert not cut, "the network was tried"


def holds(folder: Path, history: list[dict]) -> None:
    """Curves in order, pictures, and a table that says what the predictions say."""
    for name in ("_step", "trainer/global_step"):
        steps = [row[name] for row in history if name in row]
        assert len(steps) > 3 and steps == sorted(steps)
    run = Run(folder)
    # What a sweep of W&B reads is the last value: that of the best weights.
    assert [row["val/frame_auroc"] for row in history if "val/frame_auroc" in row][-1] == pytest.approx(
        run.metrics["score"], abs=1e-6
    )
    assert any("train/loss" in row for row in history)
    (media,) = folder.glob("wandb/offline-run-*/files")
    logged = {key.split(".")[0]: row for row in history for key in row if key.startswith("test/") and "._type" in key}
    assert set(logged) == {"test/roc", "test/confusion", "test/errors", "test/videos"}
    for name in ("roc", "confusion", "errors"):
        for path in logged[f"test/{name}"][f"test/{name}.filenames"]:
            assert np.asarray(Image.open(media / path).convert("L")).std() > 5, "an empty picture"
    table = json.loads((media / logged["test/videos"]["test/videos.path"]).read_text())
    videos = pd.DataFrame(table["data"], columns=table["columns"]).set_index("item")
    rows = run.predictions("test")
    expected = (1 / (1 + np.exp(-rows["logit"]))).groupby(rows["item"]).mean()
    pd.testing.assert_series_equal(videos["prob"].sort_index(), expected, check_names=False, atol=1e-6)
    called = np.where(expected > run.metrics["thresholds"]["video"], "fake", "real")
    assert (videos.loc[expected.index, "called"] == called).all()
    wrong = videos[videos["called"] != videos["truth"]]
    captions = logged["test/errors"]["test/errors.captions"]
    assert len(captions) == min(len(wrong), 12) and {text.split("\n")[1] for text in captions} <= set(wrong.index)


def test_a_training_that_fails_is_closed_as_failed(workplace, demo_root, offline, monkeypatch):
    before = folders(workplace)

    def broken(folder: Path) -> None:
        raise RuntimeError("the training broke")

    monkeypatch.setattr("unmask.runs.checkpoints.resume_point", broken)
    done = unmask("train", *ARGUMENTS, f"data.root={demo_root}", "logger=wandb", "seed=5", cwd=workplace, expect=1)
    assert "the training broke" in done.stderr
    (folder,) = folders(workplace) - before
    assert [done["exit_code"] for done in of_kind(records(folder), "exit")] == [1]


def test_tensorboard_is_shown_the_same(workplace, demo_root):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(workplace, demo_root, "logger=tensorboard", "module.optimizer.lr=1.3e-3")
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    assert {"test/roc", "test/confusion", "test/errors"} == set(tags["images"])
    assert {"train/loss", "val/frame_auroc", "test/video_auroc"} <= set(tags["scalars"])
    text = board.Tensors("test/videos/text_summary")[0].tensor_proto.string_val[0].decode()
    assert all(item in text for item in Run(folder).predictions("test")["item"])
    assert yaml.safe_load((folder / "tensorboard/hparams.yaml").read_text())["module"]["optimizer"]["lr"] == 1.3e-3


@pytest.mark.slow
@pytest.mark.parametrize("package", ["wandb", "tensorboard"])
def test_a_package_that_is_missing_is_named_and_needed_by_nothing_else(workplace, demo_root, monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package or name == "torch.utils.tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    seed = f"seed={len(package)}"
    given = [*ARGUMENTS, f"data.root={demo_root}", seed]
    done = unmask("train", *given, f"logger={package}", cwd=workplace, expect=1)
    assert f"logger={package}" in done.stderr and f"pip install {package}" in done.stderr
    assert "Traceback" not in done.stderr
    unmask("train", *given, cwd=workplace)


# -- the pictures


def test_confusion_counts_are_those_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(0)
    videos = pd.DataFrame({"label": rng.integers(0, 2, 40), "score": rng.normal(size=40)})
    seen = {}
    monkeypatch.setattr(
        pictures, "_cell", lambda axes, call, label, numbers: seen.update({(label, call): numbers[call]})
    )
    pictures.confusion(videos, 0.3)
    expected = confusion_matrix(videos["label"], videos["score"] > 0.3)
    assert seen == {(label, call): expected[label, call] for label in (0, 1) for call in (0, 1)}


def test_a_mistake_shows_the_frame_that_misleads_most():
    logit = {"a": [3.0, 1.0, -9.0], "b": [-2.0, -4.0, 1.0], "c": [5.0, 5.0, 5.0]}  # a is real; b and c are fake
    rows = [
        {"item": item, "track": frame % 2, "frame": frame, "time": 0.0, "label": int(item != "a"), "logit": value}
        for item, values in logit.items()
        for frame, value in enumerate(values)
    ]
    table = pd.DataFrame(rows).assign(method="m", dataset="d", split="test")
    asked = []

    def face(item: str, track: int, frame: int) -> np.ndarray:
        asked.append((item, track, frame))
        return np.zeros((8, 8, 3), np.uint8)

    found = pictures.mistakes(table, 0.7, face, 12)
    # a: its track 1 scores 0.73, over the threshold; b: its better track 0.43, below it.
    assert asked == [("b", 1, 1), ("a", 0, 0)] and [mistake.label for mistake in found] == [1, 0]
    assert "fake, classified as real" in found[0].caption and pictures.sheet(found).ndim == 3
    assert pictures.mistakes(table, 0.7, face, 1)[0].caption == found[0].caption
    assert pictures.mistakes(table, 0.7, face, 0) == []


# -- the sweep that W&B drives


def test_the_sweep_file_of_wandb_composes():
    sweep = yaml.safe_load(Path(conf_dir(), "sweep/_wandb.yaml").read_text())
    assert [sweep["program"], "train"] == sweep["command"][:2] and "${args_no_hyphens}" in sweep["command"]
    fixed = [part for part in sweep["command"][2:] if "=" in part]
    lows = {name: at.get("values", [at.get("min")])[0] for name, at in sweep["parameters"].items()}
    highs = {name: at.get("values", [at.get("max")])[-1] for name, at in sweep["parameters"].items()}
    for point in (lows, highs):
        cfg = compose("train", [*fixed, "paths.out=out", *(f"{name}={value}" for name, value in point.items())])
        validate(cfg)
        assert cfg.module.optimizer.lr == point["module.optimizer.lr"] and cfg.seed == point["seed"]
        assert sweep["metric"] == {"name": cfg.module.monitor, "goal": "maximize"}
