"""Processes that start each other: how one ends with another, and what a signal does."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

RESUMED = ("demo", "prepare", "train", "sample", "swap", "inpaint")  # verbs that resume where a call was interrupted
FOLLOWER = "unmask-follower"  # the thread that waits for another process's end
PARENT = "UNMASK_PARENT"  # environment variable: the verb that started this one and with which it ends
PATIENCE = 10  # s that a process has for its end before it is killed


class Terminated(SystemExit):
    """SIGTERM arrived: the exit code is what a shell reports of it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def interrupted(verb: str) -> str:
    """What is said of a call that Ctrl-C or SIGTERM ended."""
    return "interrupted; the same command resumes" if verb in RESUMED else "interrupted"


@contextmanager
def started(
    command: list[str], environment: Mapping[str, str] | None = None, **how: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a verb that ends with this process, however this one ends.

    Where the block is left by an error, Ctrl-C or SIGTERM, the verb is ended; where this process is killed, the verb
    notices (see `follow_parent`). A terminal's Ctrl-C reaches this process alone, which then speaks for both.

    Args:
        command: see `verb`.
        environment: variables beside those of this process.
        how: passed on to `subprocess.Popen`.
    """
    theirs = {**os.environ, PARENT: str(os.getpid()), **(environment or {})}
    process = subprocess.Popen(command, env=theirs, start_new_session=True, **how)
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end; kill it where it does not."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who asks twice does not want to wait
        process.kill()
        process.wait()


def terminate(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM: end as by Ctrl-C, where this process is, so that what it started is ended too."""
    raise Terminated


Handler = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes and returns it


def handle(wanted: Mapping[signal.Signals, Handler]) -> dict[signal.Signals, Handler]:
    """Set signal handlers and return those before; what is ignored (nohup, a shell's background job) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in wanted.items():
        if before[number] not in (signal.SIG_IGN, None):
            signal.signal(number, handler)
    return before


def follow_parent() -> bool:
    """End this process as soon as the verb that started it is gone, however that ended; whether there is one.

    Of several processes (DDP) the others follow the first. On Windows nobody can be followed: there only a verb that
    is not killed ends what it started.
    """
    named = os.environ.pop(PARENT, None)
    if named is None and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        return False
    follow(int(named or os.getppid()))
    return True


def follow(process: int) -> None:
    """End this process as soon as another one is gone, or the one that started this one."""
    if os.name == "posix" and FOLLOWER not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=_follow, args=[process, os.getppid()], daemon=True, name=FOLLOWER).start()


def _follow(parent: int, direct: int) -> None:
    """Wait for the end of `parent`, or of the process between, which is the same unless Python is a wrapper."""
    while os.getppid() == direct and _alive(parent):
        time.sleep(0.5)
    os._exit(1)


def _alive(process: int) -> bool:
    """Whether a process runs; one that was killed, and whose parent has not asked for that yet, does not (Linux)."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True
