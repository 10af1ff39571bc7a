"""Jobs on SLURM: the batch script that submitit writes, a job that is requeued, a job on two nodes.

There is no SLURM here: `sbatch` keeps the script, `srun` starts each task as a process, `scontrol` notes what it is
asked for.
"""

import os
import platform
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT, TINY, unmask
from test_interrupts import ENDLESS, below, running, waited
from test_processes import figures
from unmask.data.store import CropStore

submitit = pytest.importorskip("submitit", reason="needs pip install 'unmask[launchers]'")

COMMANDS = {
    "sbatch": 'cp "$1" {place}/script.sh; echo Submitted batch job 7',
    "srun": """
        while [ "$1" != {python} ]; do shift; done
        for task in $(seq 0 $((SLURM_NTASKS - 1))); do
            SLURM_PROCID=$task SLURM_NODEID=$task SLURM_LOCALID=0 "$@" > {place}/task-$task.txt 2>&1 &
        done
        wait
    """,
    "scontrol": "echo $* >> {place}/asked",
    "sacct": "true",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of SLURM's commands, which are found first, and of what they write. No job outlives its test."""
    for name, text in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text.format(place=tmp_path, python=sys.executable)}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield tmp_path
    for pid in started_with(f"PATH={tmp_path}:"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def started_with(variable: str) -> list[int]:
    """The processes whose environment has a variable that begins like this, whoever their parent is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or it is not ours
            if any(one.startswith(variable.encode()) for one in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return found


def submit(cluster: Path, *arguments: str, cwd: Path) -> str:
    """Let a sweep submit its jobs, and stop it where it would wait for them; the batch script."""

    def stop(job: submitit.Job) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submitit.Job, "results", stop)
        unmask("train", "-m", *arguments, "trainer=slurm", "hydra/launcher=slurm", cwd=cwd, expect=130)
    return (cluster / "script.sh").read_text()


def start(cluster: Path, nodes: int, cwd: Path, **more: str) -> subprocess.Popen[str]:
    """Run the batch script as SLURM does, with one task on each node."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    numbers = {"JOB_ID": 7, "NTASKS": nodes, "NTASKS_PER_NODE": 1, "NNODES": nodes, "JOB_NUM_NODES": nodes}
    slurm = {f"SLURM_{key}": str(value) for key, value in numbers.items()}
    slurm |= {"SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost", "MASTER_PORT": str(port)}
    command = ["bash", str(cluster / "script.sh")]
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, **slurm, **more}, text=True)


def options(script: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.M))


@pytest.mark.parametrize("nodes", [1, 4])
def test_a_job_has_the_size_of_its_trainer(cluster, tmp_path, nodes):
    where = [] if nodes == 1 else [f"trainer.num_nodes={nodes}"]
    own = ["hydra.launcher.partition=gpu", "hydra.launcher.mem_gb=64", "hydra.launcher.timeout_min=600"]
    script = submit(cluster, "experiment=demo_celebdf/meso4", "seed=0", *where, *own, cwd=tmp_path)
    found = options(script)
    wanted = {"nodes": f"{nodes}", "ntasks-per-node": "8", "gpus-per-node": "8", "cpus-per-task": "8", "time": "600"}
    assert wanted.items() <= found.items()
    assert (found["signal"], found["partition"], found["mem"]) == ("USR2@120", "gpu", "64GB")
    assert found["open-mode"] == "append", "a job that is requeued keeps its log"
    *_, line = script.strip().splitlines()
    words = shlex.split(line)
    assert words[0] == "srun" and words[-5:-1] == [sys.executable, "-u", "-m", "submitit.core._submit"]


def test_jobs_on_cpus_ask_for_no_gpus_and_several_are_an_array(cluster, tmp_path):
    sizes = ["trainer.devices=2", "trainer.accelerator=cpu", "hydra.launcher.gpus_per_node=null"]
    found = options(submit(cluster, "experiment=demo_celebdf/meso4", "seed=0,1,2", *sizes, cwd=tmp_path))
    assert found["ntasks-per-node"] == "2" and "gpus-per-node" not in found
    assert found["array"] == "0-2%3" and found["time"] == "1440"


@pytest.mark.slow
def test_an_array_of_jobs_prepares_a_data_set(workplace, demo_root, tmp_path, monkeypatch):
    """The commands of docs/cluster.md, for two shards instead of 16; a job that is run twice does no harm."""
    text = (ROOT / "docs/cluster.md").read_text()
    part, whole = (shlex.split(line) for line in re.findall(r"^  'unmask (prepare .*)'$", text, re.M))
    assert part[:-1] == whole and part[-1] == "prepare.shard=$SLURM_ARRAY_TASK_ID/16"
    own = ["data=demo_celebdf", f"data.root={demo_root}", *TINY, "prepare.num_workers=0"]
    said = []
    for task in (2, 1, 2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        shard = os.path.expandvars(part[-1]).replace("/16", "/2")
        said.append(unmask("prepare", *own, shard, cwd=tmp_path).stdout)
    assert "; 0 of " not in said[0] and "; 0 of " in said[1] and "; 0 of " in said[2]
    unmask("prepare", *own, cwd=tmp_path)
    made = next((tmp_path / "outputs/prepared/demo_celebdf").glob("*/"))
    expected = workplace / "outputs/prepared/demo_celebdf" / made.name
    assert CropStore(made).fingerprint == CropStore(expected).fingerprint


CPU = ("trainer.accelerator=cpu", "trainer.devices=1", "hydra.launcher.gpus_per_node=null", "hydra.launcher.mem_gb=4")


def ignored(pid: int) -> set[signal.Signals]:
    """The signals that a process ignores."""
    mask = int(re.search(r"^SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1], 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


@pytest.mark.slow
def test_a_preempted_job_is_requeued_once_and_resumes(cluster, workplace, demo_root):
    """SLURM sends SIGUSR2 to all processes of the job. The sweep that submitted it may have ended long ago."""
    given = [text for text in ENDLESS if text != "trainer=cpu"]
    submit(cluster, *given, f"data.root={demo_root}", "name=requeued", "seed=0", *CPU, cwd=workplace)
    ended = subprocess.Popen(["true"])
    ended.wait()
    gone = {"UNMASK_SWEEP": f"{platform.node()} {ended.pid}"}

    job = start(cluster, 1, workplace, **gone)
    (saved,) = waited(lambda: list(workplace.glob("outputs/requeued/*/checkpoints/last.ckpt")), job)
    processes = below(job.pid)
    (training,) = [pid for pid, line in processes.items() if "-m unmask train" in line]
    assert signal.SIGUSR2 in ignored(training)
    for pid, line in processes.items():
        if "srun" not in line:
            os.kill(pid, signal.SIGUSR2)
    job.wait(120)
    assert (cluster / "asked").read_text() == "requeue 7\n"
    log = (cluster / "task-0.txt").read_text()
    assert f"training in {saved.parents[1]}" in log and "this job is preempted" in log
    assert not running(training)

    again = start(cluster, 1, workplace, **gone)
    waited(lambda: f"resuming from {saved}" in (cluster / "task-0.txt").read_text(), again)
    left = below(again.pid)
    for pid, line in left.items():
        if "submitit" in line:
            os.kill(pid, signal.SIGKILL)
    again.wait(120)
    waited(lambda: not any(map(running, left)), subprocess.Popen(["sleep", "60"]))
    assert len(list((workplace / "outputs/requeued").glob("*/checkpoints"))) == 1


@pytest.mark.slow
def test_a_job_on_two_nodes_has_one_folder_and_one_voice(cluster, workplace, demo_root):
    """And the metrics of one process; the network has neither batch norm nor dropout, which depend on the processes."""
    quick = [*TINY, "experiment=demo_celebdf/cnn_lstm", "module/network/encoder=pixels", "frames=4", "seed=0"]
    quick += ["module.network.dropout=0", "module.network.hidden=8", "trainer.max_epochs=2", "data.batch_size=16"]
    quick += ["handling=false", "latency=false", "explain=0", "report=false", "trainer.precision=32-true"]
    quick += [f"data.root={demo_root}"]
    unmask("train", *quick, "trainer=cpu", "name=node", cwd=workplace)
    (alone,) = [path.parent for path in (workplace / "outputs/node").glob("*/metrics.json")]
    two = ["trainer.num_nodes=2", "trainer.strategy=ddp", "name=nodes"]
    script = submit(cluster, *quick, *two, *CPU, cwd=workplace)
    assert options(script)["nodes"] == "2"
    job = start(cluster, 2, workplace)
    assert job.wait(600) == 0
    first, second = ((cluster / f"task-{task}.txt").read_text() for task in (0, 1))
    (folder,) = [path.parent for path in (workplace / "outputs/nodes").glob("[!.]*/*.json")]
    assert len(list((workplace / "outputs/nodes").glob("[!.]*/"))) == 1
    assert first.count(f"training in {folder}") == 1
    assert "8 on each of 2 devices" in first
    said = [line for line in second.splitlines() if "submitit" not in line]
    assert not [line for line in said if "training" in line or "epoch" in line], second
    assert figures(folder) == pytest.approx(figures(alone), rel=1e-5, abs=1e-5, nan_ok=True)
