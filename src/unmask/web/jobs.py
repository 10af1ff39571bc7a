"""The jobs of the server, one per file: a queue with limits, and results that expire.

All functions are called in the event loop's thread, so there are no locks.
"""

import asyncio
import secrets
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fastapi.exceptions import HTTPException

from unmask.inference.examination import Examination
from unmask.web import answers
from unmask.web.child import EXAMINATIONS
from unmask.web.limits import Limits


@dataclass(frozen=True)
class Found:
    """The result for one file.

    Attributes:
        examination: the result, with pictures.
        answer: the answer that clients get, without pictures.
        report: the report as HTML, compressed by zlib.
    """

    examination: Examination
    answer: answers.Examined
    report: bytes

    @classmethod
    def of(cls, examination: bytes, report: bytes) -> "Found":
        """Read what a child process sent.

        Raises:
            ValueError: the bytes are not an examination.
        """
        read = EXAMINATIONS.validate_json(examination)[0]
        return cls(read, answers.Examined.of(read), zlib.compress(report))


@dataclass(eq=False)
class Job:
    """The examination of one file.

    Attributes:
        path: the upload; it is deleted when the job ends.
        name: the file name that the client gave; it is only used in the answer.
        client: address of the client that sent the file.
        seconds: how long the examination took; 0 before its end.
        ended: time of the end on the monotonic clock, s; 0 before the end.
        cancelled: whether the client cancelled the job.
        news: set when the job changes, and then replaced by a new event.
    """

    path: Path
    name: str
    client: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: answers.State = "waiting"
    fraction: float = 0.0
    doing: str = "Waiting"
    found: Found | None = None
    problem: answers.Problem | None = None
    seconds: float = 0.0
    ended: float = 0.0
    cancelled: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state in ("done", "failed")

    def notify(self) -> None:
        """Wake up all tasks that wait for a change of the job."""
        self.news.set()
        self.news = asyncio.Event()

    @staticmethod
    async def wait(news: asyncio.Event, seconds: float) -> None:
        """Return when the event `news`, which was taken from a job, is set, or after `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), seconds)


class RefusedError(HTTPException):
    """A request is refused; `status` is the HTTP status, and `problem` gives the reason."""

    def __init__(self, status: int, problem: answers.Problem) -> None:
        super().__init__(status, problem.message)
        self.status, self.problem = status, problem


class Desk:
    """All jobs of a server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._some = asyncio.Condition()
        self._uploads: Counter[str] = Counter()  # uploads that are being received, by client

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Reserve a place in the queue while a client's upload is received.

        Raises:
            RefusedError: 503 if the queue is full, 429 if the client has too many unfinished files.
        """
        mine = sum(job.client == client and not job.over for job in self.jobs.values()) + self._uploads[client]
        if len(self._queue) + self._uploads.total() >= self.limits.queue:
            raise RefusedError(503, _busy("queue_full", "Too many files are waiting. Please try again later.", 10))
        if mine >= self.limits.per_client:
            message = f"You already have {mine} unfinished files; at most {self.limits.per_client} are allowed at once."
            raise RefusedError(429, _busy("too_many_files", message, 5))
        self._uploads[client] += 1
        try:
            yield
        finally:
            self._uploads -= Counter([client])  # also drops the entry at zero, so that memory stays flat

    @property
    def waiting(self) -> int:
        """Number of files that wait."""
        return len(self._queue)

    async def add(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        self.expire()
        self.jobs[job.id] = job
        self._queue.append(job)
        async with self._some:
            self._some.notify()

    async def next(self, seconds: float) -> Job | None:
        """Return the next job and mark it as running; None if no job arrives within `seconds`."""
        async with self._some:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._some.wait_for(lambda: bool(self._queue)), seconds)
        if not self._queue:
            return None
        job = self._queue.popleft()
        job.state, job.doing = "running", "Opening the file"
        for one in (job, *self._queue):
            one.notify()
        return job

    def end(self, job: Job, outcome: Found | answers.Problem) -> None:
        """Record the outcome of a job, and delete its file."""
        job.path.unlink(missing_ok=True)
        if isinstance(outcome, answers.Problem):
            job.state, job.problem, job.doing = "failed", outcome, "Failed"
        else:
            job.found = outcome
            job.state, job.fraction, job.doing = "done", 1.0, "Done"
        job.ended = time.monotonic()
        job.notify()
        self.expire()

    def forget(self, job: Job) -> None:
        """Cancel a job that has not ended, and delete its result."""
        job.cancelled = True
        self.jobs.pop(job.id, None)
        if job in self._queue:
            self._queue.remove(job)
            self.end(job, answers.Problem(code="cancelled", message="The examination was cancelled."))
        job.notify()

    def expire(self) -> None:
        """Delete results older than `limits.keep`, and the oldest results if there are more than `limits.kept`."""
        over = sorted((job for job in self.jobs.values() if job.over), key=lambda job: job.ended)
        now = time.monotonic()
        for at, job in enumerate(over):
            if now - job.ended > self.limits.keep or len(over) - at > self.limits.kept:
                del self.jobs[job.id]

    def find(self, name: str) -> Job | None:
        """Return the job with this ID, or None if no such job exists or its result has expired."""
        self.expire()
        return self.jobs.get(name)

    def show(self, job: Job) -> answers.Job:
        """Return a job as clients see it."""
        return answers.Job(
            id=job.id, state=job.state, place=self._queue.index(job) if job in self._queue else None,
            fraction=job.fraction, doing=job.doing, result=job.found.answer if job.found else None, problem=job.problem,
        )  # fmt: skip


def _busy(code: str, message: str, after: int) -> answers.Problem:
    return answers.Problem(code=code, message=message, retry_after=after)
