"""Ctrl-C and SIGTERM: one line and an exit code; nothing that was started goes on; the same command resumes."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytorch_lightning.utilities.exceptions import SIGTERMException

from conftest import TINY, unmask
from unmask.cli import main, verbs
from unmask.failures import fail_clearly
from unmask.parallel.processes import RESUMED

pytestmark = pytest.mark.slow

ENDLESS = (
    *TINY,
    "experiment=demo_celebdf/meso4",
    "trainer=cpu",
    "trainer.max_epochs=5000",
    "callbacks.early_stopping=null",
    "data.batch_size=16",
    "report=false",
)
UNMASK = str(Path(sys.executable).with_name("unmask"))


def waited(seen, job: subprocess.Popen, seconds: float = 240):
    """What `seen` finds, once it finds something, while the job runs."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline and job.poll() is None, "it never came so far"
        time.sleep(0.05)
    return found


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([UNMASK, *arguments], cwd=cwd, env={**os.environ, **environment}, **pipes)


@pytest.mark.parametrize("verb", verbs())
def test_ctrl_c_in_each_verb_is_one_line_and_130(verb, monkeypatch, capsys):
    """Wherever it arrives: in the verb, or before it, where nothing has been imported yet."""

    @fail_clearly
    def body() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    body.__wrapped__.__module__ = f"unmask.commands.{verb}"
    line = f"unmask: interrupted{'; run the same command again to resume' if verb in RESUMED else ''}\n"
    monkeypatch.setattr(sys, "argv", ["unmask", verb])
    monkeypatch.setattr(runpy, "run_module", lambda *_, **__: body())
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and capsys.readouterr().err == line

    def outside(*_, **__) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["unmask", verb])
    monkeypatch.setattr(runpy, "run_module", outside)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and capsys.readouterr().err == line


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def as_the_trainer_does_on_ctrl_c() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def as_the_trainer_does_on_sigterm() -> None:
    raise SIGTERMException


@pytest.mark.parametrize(
    ("stopped", "code"),
    [(kill_self, 143), (as_the_trainer_does_on_ctrl_c, 130), (as_the_trainer_does_on_sigterm, 143)],
)
def test_whatever_ends_a_verb_by_a_signal_has_its_exit_code(stopped, code, capsys):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stop:
        fail_clearly(stopped)()
    assert stop.value.code == code and capsys.readouterr().err == "unmask: interrupted\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_other_exits_are_left_alone(capsys):
    @fail_clearly
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        leave()
    assert not capsys.readouterr().err


def test_ctrl_c_while_a_verb_is_imported(tmp_path):
    job = start("train", cwd=tmp_path)
    time.sleep(0.1)
    waited(lambda: "torch" in Path(f"/proc/{job.pid}/maps").read_text(), job)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out, err) == (130, "", "unmask: interrupted; run the same command again to resume\n")


def test_ctrl_c_while_training_on_sound(voices):
    place, here = voices
    given = ["experiment=demo_voices/lcnn", "data.sampling.seconds=1.0", "module.network.width=4", "trainer=cpu"]
    endless = ["trainer.max_epochs=5000", "callbacks.early_stopping=null", "report=false", "name=interrupted"]
    job = start("train", *given, *endless, *here, cwd=place)
    waited(lambda: list(place.glob("outputs/interrupted/*/checkpoints/last.ckpt")), job)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=120)
    assert (job.returncode, err) == (130, "unmask: interrupted; run the same command again to resume\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_an_interrupted_training_says_so_and_resumes(workplace, demo_root, number, code):
    name = f"name=interrupted{code}"
    given = ["train", *ENDLESS, f"data.root={demo_root}", name]
    job = start(*given, cwd=workplace)
    (saved,) = waited(lambda: list(workplace.glob(f"outputs/interrupted{code}/*/checkpoints/last.ckpt")), job)
    job.send_signal(number)
    out, err = job.communicate(timeout=120)
    assert job.returncode == code
    assert err == "unmask: interrupted; run the same command again to resume\n"
    epochs = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert epochs and epochs[0].startswith("epoch 1 of 5000: loss ") and "val/frame_auroc" in epochs[0]
    log = (saved.parents[1] / "train.log").read_text()
    assert all(line in log for line in epochs), "without a terminal, the same lines as in the log"


JOB = """
import sys, time
from unmask.parallel.processes import follow_parent
print("child" if follow_parent() else "alone", flush=True)
time.sleep(600)
"""
PARENT = f"""
import subprocess, sys
from unmask.parallel.processes import started
from unmask.failures import fail_clearly

@fail_clearly
def main():
    with started([sys.executable, "-c", {JOB!r}], stdout=subprocess.PIPE, text=True) as job:
        print(job.stdout.readline().strip(), job.pid, flush=True)
        job.wait()

main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_verb_started_ends_with_it(number, tmp_path):
    """Jobs of a sweep, of a table and of the demo, however the verb that started them ends."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, **pipes)
    said, pid = parent.stdout.readline().split()
    assert said == "child"
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert err == ("" if number == signal.SIGKILL else "unmask: interrupted\n")
    deadline = time.monotonic() + 20
    while running(int(pid)):
        assert time.monotonic() < deadline, "the job goes on"
        time.sleep(0.1)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")], ids=["basic", "joblib"]
)
def test_a_killed_sweep_leaves_no_job(workplace, demo_root, launcher):
    name = f"killedsweep{len(launcher)}"
    given = ["train", "-m", *ENDLESS, f"data.root={demo_root}", f"name={name}", "seed=0,1", *launcher]
    sweep = start(*given, cwd=workplace)
    waited(lambda: list(workplace.glob(f"outputs/{name}/*/checkpoints/last.ckpt")), sweep)
    jobs = below(sweep.pid)
    assert any(f"name={name}" in job for job in jobs.values())
    sweep.kill()  # what it started holds its pipes open, so these are not waited for
    deadline = time.monotonic() + 60
    while left := [job for pid, job in jobs.items() if running(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    sweep.wait()


def below(pid: int) -> dict[int, str]:
    """The command lines of the processes that a process started, and that these started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found[int(path.parent.name)] = path.with_name("cmdline").read_text().replace("\0", " ")
        except OSError:  # it has just ended
            continue
    return found | {inner: line for one in found for inner, line in below(one).items()}


def test_slurm_still_requeues(workplace, demo_root, tmp_path):
    """SIGUSR1 saves and asks for another turn; the SIGTERM that follows ends the job."""
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $* >> {tmp_path / 'asked'}\n")
    (tmp_path / "scontrol").chmod(0o755)
    slurm = {"JOB_ID": "7", "JOB_NAME": "x", "NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0"}
    slurm |= {"NODEID": "0", "NNODES": "1", "NODELIST": "localhost"}
    environment = {f"SLURM_{key}": value for key, value in slurm.items()}
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    job = start("train", *ENDLESS, f"data.root={demo_root}", "name=slurm", cwd=workplace, **environment)
    waited(lambda: list(workplace.glob("outputs/slurm/*/checkpoints/last.ckpt")), job)
    job.send_signal(signal.SIGUSR1)
    waited((tmp_path / "asked").is_file, job)
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert list(workplace.glob("outputs/slurm/*/hpc_ckpt_1.ckpt"))
    job.send_signal(signal.SIGTERM)
    _, err = job.communicate(timeout=120)
    assert job.returncode == 143 and "unmask: interrupted; run the same command again to resume" in err


def test_resuming_says_from_where(workplace, demo_root):
    small = [*TINY, "experiment=demo_celebdf/meso4", f"data.root={demo_root}", "trainer=cpu", "trainer.max_epochs=2"]
    first = unmask("train", *small, "name=resumed", "data.batch_size=16", cwd=workplace).stdout
    (folder,) = (workplace / "outputs/resumed").iterdir()
    assert f"training in {folder}" in first and f"run: {folder}" in first
    (folder / "metrics.json").unlink()
    again = unmask("train", *small, "name=resumed", "data.batch_size=16", cwd=workplace).stdout
    assert f"resuming from {folder / 'checkpoints/last.ckpt'} (epoch 2)" in again
