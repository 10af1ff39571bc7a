"""Several processes: one device and two give the same score, each item once; a sweep of such runs; bf16."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from conftest import TINY, unmask
from unmask.runs.run import Run

pytestmark = pytest.mark.slow

QUICK = (*TINY, "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=16", "data.sampling.frames_per_video=1")


@pytest.fixture(scope="module")
def arguments(demo_root):
    return ["experiment=demo_celebdf/meso4", f"data.root={demo_root}", *QUICK]


def test_two_processes_score_each_item_once_and_alike(workplace, arguments):
    """An odd number of samples, gloo; and training on two processes in bf16."""
    unmask("train", *arguments, "name=ddp_base", cwd=workplace)
    (folder,) = (workplace / "outputs/ddp_base").iterdir()
    one = Run(folder).predictions("test")
    assert len(one) % 2 == 1, "the case needs an odd test set"
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    command = [sys.executable, "-m", "unmask.commands.evaluate", f"run={folder}", "trainer=cpu", *two]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    both = Run(folder).predictions("test")
    assert both["item"].tolist() == one["item"].tolist() and not both.duplicated(["item", "track", "frame"]).any()
    np.testing.assert_allclose(both["logit"], one["logit"], atol=1e-5)


def test_a_sweep_of_two_runs_on_two_processes(workplace, arguments):
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.precision=bf16-mixed", "name=ddp_sweep"]
    unmask("train", "-m", *arguments, *two, "seed=0,1", cwd=workplace)
    folders = [folder for folder in (workplace / "outputs/ddp_sweep").iterdir() if (folder / ".hydra").is_dir()]
    assert len(folders) == 2 and all((folder / "metrics.json").is_file() for folder in folders)
    for folder in folders:
        assert pd.read_csv(folder / "metrics.csv")["val/loss"].notna().any()


def test_the_range_of_two_processes_is_that_of_one(workplace, demo_root):
    """With self-blended images, which are the fakes of the validation split in place of forgeries.

    Only the limits are compared, which depend on the data alone. The distance depends on the weights, which differ
    between one and two processes, because batch norm uses the statistics of the samples of a process.
    """
    given = ["experiment=demo_celebdf/sbi", f"data.root={demo_root}", *QUICK, "report=false", "latency=false"]
    given += ["data.split.val_fraction=0.5", "trainer.accelerator=cpu"]
    given = list({text.partition("=")[0]: text for text in given}.values())  # the command takes each key once
    found = []
    for count in (1, 2):
        name = f"range_{count}"
        command = [sys.executable, "-m", "unmask", "train", *given, f"name={name}", f"trainer.devices={count}"]
        command += ["trainer.strategy=ddp"] * (count > 1)
        done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder,) = (workplace / "outputs" / name).iterdir()
        found.append(Run(folder))
    one, two = (run.measured for run in found)
    validation = found[0].predictions("val")
    assert one.faces == len(validation.groupby(["item", "track"])) >= 8
    assert validation["item"].str.contains("#").any(), "self-blended images"
    assert two.limits == one.limits and two.faces == one.faces
    assert one.distance > 0 and two.distance > 0
