"""Run one function over many tasks in processes; a task that crashes or hangs takes only its worker along."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

READY = "ready"
NOTHING = object()


class TaskError(Exception):
    """A task failed; the message is the reason."""


class Stop(ValueError):
    """No task's fault, and no other task would fare better (a full disk); `run` raises it."""


class _Worker(Generic[T, R]):
    """One process and what it is working on."""

    def __init__(self, context: SpawnContext, work: Callable[[T], R]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _verb_left_out():
            self.process.start()
        theirs.close()
        self.task: T | None = None
        self.since = 0.0
        self.ready = False

    def start(self, task: T) -> None:
        self.task, self.since = task, time.monotonic()
        self.pipe.send(task)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def _verb_left_out() -> Iterator[None]:
    """Let a new process import what its work needs, and not the verb that was called: that takes seconds in each."""
    verb = sys.modules["__main__"]
    if not getattr(verb.__spec__, "name", "").startswith("unmask."):
        yield  # somebody's script, whose functions may be the work
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = verb


def run(
    work: Callable[[T], R], tasks: Sequence[T], workers: int = 1, timeout: float = 600.0
) -> Iterator[tuple[T, R | TaskError]]:
    """Yield (task, result) as each is done, in no set order.

    Args:
        work: called in the workers; it and its tasks can be pickled. What it raises becomes a `TaskError`.
        tasks: what to work on.
        workers: processes; 0 works here, without protection from crashes. They end when this one does, however.
        timeout: seconds after which a task counts as hanging and its worker is killed.

    Raises:
        Stop: the work raised it.
    """
    if workers == 0:
        yield from ((task, _attempt(work, task)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(tasks))
    pool = [_Worker(context, work) for _ in range(min(workers, len(tasks)))]
    try:
        for worker in pool:
            worker.start(waiting.pop())
        while busy := [worker for worker in pool if worker.task is not None]:
            ready = wait([worker.pipe for worker in busy], timeout=min(1.0, timeout))
            for worker in busy:
                task = worker.task
                assert task is not None
                result: Any = NOTHING
                if worker.pipe in ready:
                    result = _receive(worker)
                elif worker.ready and time.monotonic() - worker.since > timeout:
                    result = TaskError(f"hangs: nothing after {timeout:g} s")
                if result is NOTHING:
                    continue
                if isinstance(result, Stop):
                    raise result
                worker.task = None
                if worker.pipe not in ready or worker.process.exitcode is not None:
                    worker.stop()
                    pool.remove(worker)
                    if waiting:
                        pool.append(worker := _Worker(context, work))
                if waiting and worker in pool:
                    worker.start(waiting.pop())
                yield task, result
    finally:
        for worker in pool:
            worker.stop()


def _receive(worker: _Worker[Any, R]) -> Any:
    """What a worker sent; NOTHING where it has only said that it is ready."""
    try:
        if not worker.ready:
            worker.ready = worker.pipe.recv() == READY
            worker.since = time.monotonic()  # starting, with its imports, is not the task's time
            if not worker.pipe.poll():
                return NOTHING
        result = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(5)
        if not worker.ready:  # no task's fault
            raise RuntimeError(f"a worker process could not start (exit code {worker.process.exitcode})") from None
        return TaskError(f"its process crashed (exit code {worker.process.exitcode})")
    return result


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Answer tasks until the parent is gone."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends its workers
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes are the parallelism; PyTorch reads this when it is imported
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    pipe.send(READY)
    # What goes wrong is sent back as a reason; C libraries say the same on stderr for each macroblock.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_answer(work, task))


def _follow_parent() -> None:
    """End this process with its parent, even in the middle of a task that hangs."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _answer(work: Callable[[T], R], task: T) -> R | TaskError | Stop:
    try:
        return _attempt(work, task)
    except Stop as stop:
        return stop


def _attempt(work: Callable[[T], R], task: T) -> R | TaskError:
    try:
        return work(task)
    except Stop:
        raise
    except Exception as error:
        return TaskError(f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
