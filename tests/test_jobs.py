"""Sweeps: a job is a process of its own, whatever launches it, and what is finished is not repeated."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, unmask
from unmask.runs.run import Run

pytestmark = pytest.mark.slow

QUICK = (*TINY, "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=16", "data.sampling.frames_per_video=1")


def train(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unmask.commands.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, check=False)


@pytest.fixture(scope="module")
def arguments(demo_root):
    return ["experiment=demo_celebdf/meso4", f"data.root={demo_root}", *QUICK]


def test_a_sweep_goes_on_where_a_job_failed(workplace, arguments):
    """Two jobs, one of which cannot run; then both again: only that one is run."""
    sweep = ["-m", *arguments, "name=sweep", "data.batch_size=-2,16"]
    broken = unmask("train", *sweep, cwd=workplace, expect=1)
    folders = sorted((workplace / "outputs/sweep").iterdir())
    folders = [folder for folder in folders if (folder / ".hydra").is_dir()]
    finished = {folder.name for folder in folders if (folder / "metrics.json").is_file()}
    assert len(folders) == 1 and len(finished) == 1, "the job that was refused leaves no folder"
    (row,) = [line.split() for line in broken.stdout.splitlines() if line.startswith("data.batch_size=-2")]
    assert row[-1] == "failed"
    (row,) = [line.split() for line in broken.stdout.splitlines() if line.startswith("data.batch_size=16")]
    metrics = json.loads((folders[0] / "metrics.json").read_text())
    assert row[1:] == [folders[0].name, f"{metrics['score']:.3f}", f"{metrics['test']['video_auroc']:.3f}"]
    told = broken.stderr.rpartition("this job failed")[2]
    assert "data.batch_size=-2" in told and "expected a whole number of 1 or more" in told
    assert "Traceback" not in broken.stderr, "a mistake in an argument is one line"
    before = {name: (workplace / "outputs/sweep" / name / "metrics.json").stat().st_mtime_ns for name in finished}
    again = unmask("train", *sweep, cwd=workplace, expect=1)
    assert again.stdout.count("already finished") == 1, again.stdout + again.stderr
    assert "data.batch_size=-2" in again.stderr.rpartition("this job failed")[2]
    assert before == {
        name: (workplace / "outputs/sweep" / name / "metrics.json").stat().st_mtime_ns for name in finished
    }


@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
        (
            "hydra/launcher=ray",
            "+hydra.launcher.ray.init.num_cpus=2",
            "+hydra.launcher.ray.init.include_dashboard=false",
            "+hydra.launcher.ray.remote.num_cpus=1",
        ),
    ],
    ids=["joblib", "submitit", "ray"],
)
def test_any_launcher_gives_the_same_figures(workplace, arguments, launcher):
    if launcher[0].endswith("=ray"):
        pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="needs pip install hydra-ray-launcher")
    name = re.sub(r"\W", "", launcher[0])
    done = train("-m", *arguments, f"name={name}", "seed=0", *launcher, cwd=workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = [f for f in (workplace / "outputs" / name).iterdir() if (f / "metrics.json").is_file()]
    unmask("train", *arguments, "name=alone", "seed=0", cwd=workplace)
    (alone,) = (workplace / "outputs/alone").iterdir()
    unequal = {"command": "", "latency": {}}  # durations are not reproducible
    assert Run(folder).metrics | unequal == Run(alone).metrics | unequal


def test_optuna_picks_and_finds_the_best(workplace, arguments):
    unmask("train", "-m", *arguments, "sweep=optuna", "name=optuna", "hydra.sweeper.n_trials=2", cwd=workplace)
    runs = [json.loads(path.read_text()) for path in (workplace / "outputs/optuna").glob("*/metrics.json")]
    found = (workplace / "outputs/optuna/optimization_results.yaml").read_text()
    best = float(re.search(r"best_value: (\S+)", found)[1])
    assert len(runs) == 2 and best == pytest.approx(max(run["score"] for run in runs))
