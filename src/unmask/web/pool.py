"""Child processes that examine the queued files. A process that crashes, hangs or uses too much memory is replaced."""

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from multiprocessing.connection import Connection
from typing import Any

from unmask.parallel.workers import resident_memory, verb_left_out
from unmask.web import child
from unmask.web.answers import ModelCard, Problem
from unmask.web.jobs import Desk, Found, Job
from unmask.web.limits import LARGEST_REPLY, Limits

Message = dict[str, Any]  # from a child process
POLL = 0.1  # s between checks of a process's memory and time
GRACE = 3.0  # s for a process to react to a cancelled job
PAUSE = 5.0  # s to wait after a process could not start
CRASHED = Problem(
    code="crashed",
    message="The program that reads files crashed on this file. The file may be damaged or malicious.",
)
UNAVAILABLE = Problem(
    code="unavailable", message="The program that reads files cannot be started at the moment.", retry_after=30
)


class StartError(ValueError):
    """A child process could not load the detectors; the message gives the reason."""


class Child:
    """One child process, and the thread that receives its messages."""

    def __init__(self, setup: child.Setup, loop: asyncio.AbstractEventLoop) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=child.serve, args=(theirs, setup), daemon=True)
        with verb_left_out():
            self.process.start()
        theirs.close()
        self.inbox: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=100)
        self.base = 0.0  # GB: memory of the process before its first file
        threading.Thread(target=_receive, args=(self.pipe, self.inbox, loop), daemon=True).start()

    def send(self, **task: str) -> None:
        """Send the path and the name of a file, or nothing to cancel the examination."""
        self.pipe.send_bytes(json.dumps(task).encode())

    async def message(self, seconds: float) -> Message | None:
        """Return the next message; None if the process has ended.

        Raises:
            TimeoutError: no message arrives within `seconds`.
        """
        return await asyncio.wait_for(self.inbox.get(), seconds)

    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self.process.is_alive()

    def stop(self) -> None:
        """Kill the process, regardless of its state."""
        self.process.kill()
        self.process.join()
        while not self.inbox.empty():  # a full inbox would block the receiving thread
            self.inbox.get_nowait()


def _receive(pipe: Connection, inbox: "asyncio.Queue[Message | None]", loop: asyncio.AbstractEventLoop) -> None:
    """Put messages into the inbox until the process ends or sends a message that is not a JSON object."""
    message: Message | None = {}
    while message is not None:
        try:
            found = json.loads(pipe.recv_bytes(LARGEST_REPLY))
            message = found if isinstance(found, dict) else None
            if message is not None and message.get("kind") == "done":
                message |= {"found": pipe.recv_bytes(LARGEST_REPLY), "report": pipe.recv_bytes(LARGEST_REPLY)}
        except (EOFError, OSError, ValueError):
            message = None
        try:
            asyncio.run_coroutine_threadsafe(inbox.put(message), loop).result()
        except (RuntimeError, CancelledError):  # the loop is closed
            break
    pipe.close()


class Pool:
    """Take jobs from the desk and let child processes examine them.

    Args:
        desk: the queue.
        setup: how each process is set up.
        size: number of processes.
        observe: called with each job when it has ended.
    """

    def __init__(self, desk: Desk, setup: child.Setup, size: int, observe: Callable[[Job], None]) -> None:
        self.desk, self.setup, self.size, self._observe = desk, setup, size, observe
        self.models: Sequence[ModelCard] = ()
        self.sandbox: list[str] = []
        self.restarts = 0
        self._children: set[Child] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def limits(self) -> Limits:
        """The limits for one file."""
        return self.setup.limits

    @property
    def ready(self) -> int:
        """Number of processes that can examine files."""
        return sum(one.is_alive() for one in self._children)

    @property
    def pids(self) -> list[int]:
        """IDs of the processes."""
        return [one.process.pid for one in self._children if one.process.pid is not None]

    async def start(self) -> None:
        """Start the processes, and wait until the first one is ready; do nothing if they have been started.

        Raises:
            StartError: the first process could not load the detectors.
        """
        if self._tasks:
            return
        first = await self._started()
        self._tasks = [asyncio.create_task(self._work(first if number == 0 else None)) for number in range(self.size)]

    async def stop(self) -> None:
        """End the processes; jobs that have not ended are dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for one in self._children:
            one.stop()
        self._children.clear()

    async def _started(self) -> Child:
        one = Child(self.setup, asyncio.get_running_loop())
        try:
            message = await one.inbox.get()
            if message is None or message.get("kind") != "ready":
                raise StartError(str((message or {}).get("message", "a process that reads files could not start")))
        except BaseException:
            one.stop()
            raise
        self.models = [ModelCard.model_validate(card) for card in message["models"]]
        self.sandbox, one.base = list(message["sandbox"]), resident_memory(one.process.pid)
        self._children.add(one)
        return one

    async def _work(self, one: Child | None) -> None:
        """Examine one job after another in a child process; the process is replaced when it has ended."""
        while True:
            if one is None or not one.is_alive():
                one = await self._replaced(one)
                continue
            job = await self.desk.next(1.0)
            if job is None:
                continue
            began = time.monotonic()
            if not one.is_alive():  # the process ended while it was idle, so the file is not the cause
                one = await self._replaced(one)
            outcome = UNAVAILABLE if one is None else await self._examine(one, job)
            job.seconds = time.monotonic() - began
            self.desk.end(job, outcome)
            self._observe(job)

    async def _replaced(self, one: Child | None) -> Child | None:
        if one is not None:
            self._children.discard(one)
            one.stop()
            self.restarts += 1
        try:
            return await self._started()
        except StartError:
            await asyncio.sleep(PAUSE)
            return None

    async def _examine(self, one: Child, job: Job) -> Found | Problem:
        try:
            one.send(path=str(job.path), name=job.name)
            return await self._outcome(one, job)
        except (OSError, ValueError, TypeError, LookupError):  # a broken pipe, or an invalid message
            one.stop()
            return CRASHED

    async def _outcome(self, one: Child, job: Job) -> Found | Problem:
        """Wait for the end of the examination of one file, and return its result or its problem."""
        end = time.monotonic() + self.limits.time
        cancelled = False
        while True:
            if job.cancelled and not cancelled:
                one.send()
                cancelled, end = True, time.monotonic() + GRACE
            if problem := self._exceeded(one, end, cancelled):
                one.stop()
                return problem
            try:
                message = await one.message(POLL)
            except TimeoutError:
                continue
            if message is None:
                one.stop()
                return CRASHED
            if message["kind"] == "progress":
                job.fraction, job.doing = float(message["fraction"]), str(message["doing"])[:200]
                job.notify()
            elif message["kind"] == "refused":
                return Problem(code=str(message["code"]), message=str(message["message"])[:1000])
            else:
                return await asyncio.to_thread(Found.of, message["found"], message["report"])

    def _exceeded(self, one: Child, end: float, cancelled: bool) -> Problem | None:
        if time.monotonic() > end:
            if cancelled:
                return Problem(code="cancelled", message="The examination was cancelled.")
            message = f"The examination took longer than {self.limits.time:g} seconds. Try a shorter part of the file."
            return Problem(code="timeout", message=message)
        if resident_memory(one.process.pid) - one.base > self.limits.memory:
            message = f"The file needs more than {self.limits.memory:g} GB of memory. Try a smaller version of it."
            return Problem(code="memory", message=message)
        return None
