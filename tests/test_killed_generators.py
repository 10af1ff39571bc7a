"""SIGKILL to a GAN that trains and to `sample`: both go on, bit for bit, and nothing is redone or lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conftest import unmask
from unmask.data.store import CropStore
from unmask.runs.checkpoints import load_weights, resume_point

pytestmark = pytest.mark.slow

GIVEN = [
    "experiment=celeba/dcgan",
    "image_size=16",
    "data.batch_size=8",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "module.generator.filters=4",
    "module.discriminator.filters=4",
    "module.ema=0.9",
    "module/diffaug@module.augment=all",
    "callbacks.samples.count=4",
    "callbacks.samples.every_n_steps=40",
]


def until(job: subprocess.Popen, seen, what: str):
    """What `seen` finds, once it finds something; the job must still run then."""
    deadline = time.monotonic() + 240
    while not (found := seen()):
        assert time.monotonic() < deadline and job.poll() is None, what
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    return found


def start(place: Path, verb: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", f"unmask.commands.{verb}", *arguments]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def killed(portraits) -> tuple[Path, Path, int]:
    """A GAN whose process was killed and which went on: the folder, its run, and the step that it went on from."""
    place, here = portraits
    given = [*GIVEN, *here, "trainer.max_epochs=12", "name=killed"]
    job = start(place, "train", *given)
    saved = until(job, lambda: list(place.glob("outputs/killed/*/checkpoints/previous.ckpt")), "it never saved")
    run = saved[0].parents[1]
    assert not (run / "metrics.json").exists()
    state = torch.load(resume_point(run), weights_only=True)
    done = unmask("train", *given, cwd=place)
    assert "resuming from" in done.stdout and (run / "metrics.json").exists()
    return place, run, int(state["global_step"])


def test_a_killed_gan_goes_on_as_the_uninterrupted_one(killed, portraits):
    place, run, step = killed
    unmask("train", *GIVEN, *portraits[1], "trainer.max_epochs=12", "name=whole", cwd=place)
    (whole,) = (place / "outputs/whole").iterdir()
    one, other = (load_weights(folder / "checkpoints/last.ckpt") for folder in (whole, run))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    curves = [pd.read_csv(folder / "metrics.csv").set_index("step")["train/loss_d"].dropna() for folder in (whole, run)]
    assert step in curves[1].index, "the first step after it went on"
    pd.testing.assert_series_equal(curves[0], curves[1])
    assert one["updates"].tolist() == [len(curves[0])] * 2


def test_a_killed_sample_redoes_nothing_and_loses_nothing(killed):
    place, run, _ = killed
    given = [f"run='{run}'", "count=240", "batch_size=2", "out=killed made"]
    pictures = place / "killed made" / "pictures"
    job = start(place, "sample", *given)
    until(job, lambda: len(list(pictures.glob("[0-9]*.png"))) >= 10, "it never made ten pictures")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in pictures.glob("[0-9]*.png")}
    assert 10 <= len(before) < 240, "it was killed while it worked"
    for path in before:
        Image.open(path).load()  # none is half written
    unmask("sample", *given, cwd=place)
    assert all((path.stat().st_mtime_ns, path.read_bytes()) == was for path, was in before.items())
    assert sorted(path.name for path in pictures.iterdir()) == [f"{number:06d}.png" for number in range(240)]
    (table,) = (place / "killed made").glob("crops/*/items.parquet")
    assert pd.read_parquet(table)["label"].sum() == 240

    # A call that nobody killed made the same.
    unmask("sample", *given[:-1], "out=whole made", cwd=place)
    same = [np.asarray(Image.open(place / folder / "pictures/000007.png")) for folder in ("killed made", "whole made")]
    assert np.array_equal(*same)
    stores = [
        CropStore(next((place / folder).glob("crops/*/crops.parquet")).parent)
        for folder in ("killed made", "whole made")
    ]
    assert stores[0].items["item"].tolist() == stores[1].items["item"].tolist()
    item = stores[0].items["item"].iloc[5]
    assert np.abs(stores[0].of_item(item)[1].astype(int) - stores[1].of_item(item)[1]).max() <= 2
