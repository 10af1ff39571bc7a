"""Run one function on many tasks in worker processes; a task that crashes or hangs affects only its worker."""

import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

READY = "ready"
PAGE = mmap.PAGESIZE
POLL = 0.05  # s between checks of the workers' memory; in this time, a worker may allocate about 0.1 GB more


class TaskError(Exception):
    """A task failed; the message is the reason."""


class Stop(ValueError):
    """A failure that would affect every task, such as a full disk. The work function raises it; `run` re-raises it."""


@dataclass(frozen=True)
class _Found(Generic[R]):
    """A wrapper around the outcome of a task, needed because the outcome itself may be None."""

    result: R | TaskError


class _Worker(Generic[T, R]):
    """One process and its current task."""

    def __init__(self, context: SpawnContext, work: Callable[[T], R]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with verb_left_out():
            self.process.start()
        theirs.close()
        self.task: T | None = None
        self.since = 0.0
        self.ready = False

    def start(self, task: T) -> None:
        self.task, self.since = task, time.monotonic()
        self.pipe.send(task)

    def end_task(self) -> T:
        task = self.task
        assert task is not None
        self.task = None
        return task

    def receive(self) -> "_Found[R] | None":
        """Return what the worker sent; None if it only reported that it is ready.

        Raises:
            Stop: the work raised it.
            RuntimeError: the process could not start.
        """
        try:
            if not self.ready:
                self.ready = self.pipe.recv() == READY
                self.since = time.monotonic()  # the time of start-up and imports does not count for the task
                if not self.pipe.poll():
                    return None
            result: R | TaskError | Stop = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            if not self.ready:  # the task is not the cause
                raise RuntimeError(f"a worker process could not start (exit code {self.process.exitcode})") from None
            return _Found(TaskError(f"its process crashed (exit code {self.process.exitcode})"))
        if isinstance(result, Stop):
            raise result
        return _Found(result)

    def overdue(self, timeout: float, memory: float | None) -> "_Found[R] | None":
        """Return an error if the task exceeded its time or memory limit, else None. Start-up time does not count."""
        if not self.ready:
            return None
        if memory is not None and resident_memory(self.process.pid) > memory:
            return _Found(TaskError(f"needs more memory than prepare.memory={memory:g} GB"))
        if time.monotonic() - self.since > timeout:
            return _Found(TaskError(f"timed out after {timeout:g} s"))
        return None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def verb_left_out() -> Iterator[None]:
    """Prevent a new process from importing the unmask command that is running, because this import takes seconds."""
    verb = sys.modules["__main__"]
    if verb.__spec__ is None or not verb.__spec__.name.startswith("unmask."):
        yield  # a user's script, which may define the work
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = verb


def resident_memory(pid: int | None) -> float:
    """Return the private resident memory of a process in GB, without shared libraries; 0 if unknown.

    The value is read from /proc on Linux. A limit on the address space would not work: importing PyTorch maps 3.9 GB.
    """
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (OSError, ValueError):  # no /proc, or the process has just ended
        return 0.0
    return (int(resident) - int(shared)) * PAGE / 1e9


def run(
    work: Callable[[T], R], tasks: Sequence[T], workers: int = 1, timeout: float = 600.0, memory: float | None = None
) -> Iterator[tuple[T, R | TaskError]]:
    """Yield (task, result) as each task finishes, in no particular order.

    Args:
        work: function of a task, called in the workers. Its exceptions become a `TaskError`. Function and tasks must be
            picklable.
        tasks: the tasks.
        workers: number of processes, which end with this process. 0 runs all tasks in this process instead, without
            protection from crashes.
        timeout: seconds after which a task counts as hanging and its worker is killed.
        memory: GB that a worker may use before it is killed; None means no limit. It has no effect with 0 workers or
            without /proc (macOS, Windows).

    Raises:
        Stop: the work raised it.
        RuntimeError: a worker process could not start.
    """
    if workers == 0:
        yield from ((task, _attempt(work, task)) for task in tasks)
    else:
        yield from _run_apart(work, tasks, min(workers, len(tasks)), timeout, memory)


def _run_apart(
    work: Callable[[T], R], tasks: Sequence[T], workers: int, timeout: float, memory: float | None
) -> Iterator[tuple[T, R | TaskError]]:
    """Run the tasks in other processes; replace each process that crashed or hung."""
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(tasks))
    pool = [_Worker[T, R](context, work) for _ in range(workers)]
    try:
        for worker in pool:
            worker.start(waiting.pop())
        while busy := [worker for worker in pool if worker.task is not None]:
            ready = wait([worker.pipe for worker in busy], timeout=min(1.0 if memory is None else POLL, timeout))
            for worker in busy:
                sent = worker.pipe in ready
                found = worker.receive() if sent else worker.overdue(timeout, memory)
                if found is None:
                    continue
                done = (worker.end_task(), found.result)
                if not sent or worker.process.exitcode is not None:
                    worker.stop()
                    pool.remove(worker)
                    if waiting:
                        pool.append(worker := _Worker[T, R](context, work))
                if waiting and worker in pool:
                    worker.start(waiting.pop())
                yield done
    finally:
        for worker in pool:
            worker.stop()


def _serve(pipe: Connection, work: Callable[[T], R]) -> None:
    """Process tasks in a worker process until the parent has ended."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the parent ends its workers
    os.environ["OMP_NUM_THREADS"] = "1"  # parallelism comes from the processes; PyTorch reads this on import
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    pipe.send(READY)
    # Errors are returned as messages; C libraries would also print them to stderr, once for each macroblock.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_answer(work, task))


def _follow_parent() -> None:
    """End this process with its parent, even during a task that hangs."""
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
    except MemoryError:
        return TaskError("needs more memory than is available")
    except Exception as error:
        return TaskError(f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
