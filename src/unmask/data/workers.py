"""Run one function over many tasks in processes; a task that crashes or hangs takes only its worker along."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

READY = "ready"
NOTHING = object()


class TaskError(Exception):
    """A task failed; the message is the reason."""


class _Worker(Generic[T, R]):
    """One process and what it is working on."""

    def __init__(self, context: SpawnContext, work: Callable[[T], R]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
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


def run(
    work: Callable[[T], R], tasks: Sequence[T], workers: int = 1, timeout: float = 600.0
) -> Iterator[tuple[T, R | TaskError]]:
    """Yield (task, result) as each is done, in no set order.

    Args:
        work: called in the workers; it and its tasks can be pickled. What it raises becomes a `TaskError`.
        tasks: what to work on.
        workers: processes; 0 works here, without protection from crashes.
        timeout: seconds after which a task counts as hanging and its worker is killed.
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
                elif time.monotonic() - worker.since > timeout:
                    result = TaskError(f"hangs: nothing after {timeout:g} s")
                if result is NOTHING:
                    continue
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
            if not worker.pipe.poll():
                return NOTHING
        result = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(5)
        if not worker.ready:  # no task's fault
            raise RuntimeError(f"a worker process could not start (exit code {worker.process.exitcode})") from None
        return TaskError(f"the decoder crashed (exit code {worker.process.exitcode})")
    return result


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Answer tasks until the parent is gone."""
    import torch

    torch.set_num_threads(1)  # the processes are the parallelism
    pipe.send(READY)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_attempt(work, task))


def _attempt(work: Callable[[T], R], task: T) -> R | TaskError:
    try:
        return work(task)
    except Exception as error:
        return TaskError(f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
