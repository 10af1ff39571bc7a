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
