"""A task that crashes or hangs takes only its worker along."""

import os
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

from unmask.parallel.workers import TaskError, resident_memory, run


def work(task: str) -> str:
    if task == "crash":
        os._exit(7)
    if task == "abort":
        os.abort()
    if task == "hang":
        time.sleep(600)
    if task == "bad":
        raise ValueError("no face found")
    if task == "bug":
        raise KeyError("x")
    return task.upper()


@pytest.mark.slow
def test_bad_tasks_are_named_and_the_others_are_done():
    tasks = ["a", "crash", "b", "hang", "c", "bad", "abort", "bug", "d"]
    results = dict(run(work, tasks, workers=2, timeout=6))
    assert {task: results[task] for task in "abcd"} == {"a": "A", "b": "B", "c": "C", "d": "D"}
    reasons = {task: str(result) for task, result in results.items() if isinstance(result, TaskError)}
    assert reasons == {
        "crash": "its process crashed (exit code 7)",
        "abort": "its process crashed (exit code -6)",
        "hang": "timed out after 6 s",
        "bad": "no face found",
        "bug": "KeyError: 'x'",
    }


def test_in_this_process_too():
    assert dict(run(work, ["a"], workers=0)) == {"a": "A"}
    assert str(dict(run(work, ["bad"], workers=0))["bad"]) == "no face found"


def threads_now(_: str) -> tuple[bool, int]:
    loaded = "torch" in sys.modules
    import torch

    return loaded, torch.get_num_threads()


@pytest.mark.slow
def test_a_worker_takes_one_core_and_imports_pytorch_only_where_it_is_used(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert dict(run(threads_now, ["x"], workers=1)) == {"x": (False, 1)}


def test_whole_pictures_are_prepared_without_pytorch():
    modules = "unmask.data.prepare, unmask.media.pictures, unmask.evaluation.handle, unmask.perturb.pictures"
    code = f"import sys; import {modules}; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_the_verb_that_was_called_is_not_imported_again(monkeypatch):
    """A verb that could not even be found: whoever imported it would not start."""
    verb = ModuleType("__main__")
    verb.__spec__ = ModuleSpec("unmask.commands.absent", None)
    monkeypatch.setitem(sys.modules, "__main__", verb)
    assert dict(run(len, ["xyz"], workers=1)) == {"xyz": 3}
    assert sys.modules["__main__"] is verb


def test_workers_that_cannot_start_are_no_task_s_fault(tmp_path):
    """A program without an importable main module."""
    code = "from unmask.parallel.workers import run\nprint(list(run(len, ['x'], workers=1)))\n"
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode and "a worker process could not start" in done.stderr


def fill(gigabytes: float) -> str:
    held = np.ones(int(gigabytes * 1e9), np.uint8)
    time.sleep(2 if gigabytes > 0.5 else 0)
    return str(held[0])


def empty(_: str) -> str:
    raise MemoryError


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc, which only Linux has")
def test_a_worker_that_fills_the_memory_is_given_up_and_the_others_go_on():
    results = dict(run(fill, [0.1, 1.5, 0.2], 1, 60, memory=0.8))
    assert results[0.1] == results[0.2] == "1"
    assert str(results[1.5]) == "needs more memory than prepare.memory=0.8 GB"
    assert dict(run(fill, [1.5], 1, 60)) == {1.5: "1"}, "without a bound"
    assert str(dict(run(empty, ["a"], 0))["a"]) == "needs more memory than is available"
    assert resident_memory(None) == resident_memory(2**22 + 1) == 0.0
    assert 0.01 < resident_memory(os.getpid()) < 20
