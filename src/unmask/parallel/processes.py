"""Start child processes that end together with their parent, and handle signals."""

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

from unmask.ranks import is_started_by_lightning

RESUMED = ("demo", "prepare", "train", "sample", "swap", "inpaint")  # verbs that resume an interrupted call
FOLLOWER = "unmask-follower"  # name of the thread that waits for another process to end
PARENT = "UNMASK_PARENT"  # environment variable: PID of the verb that started this process (see `follow_parent`)
PATIENCE = 10  # s; time for a process to end before it is killed


class Terminated(SystemExit):
    """Raised on SIGTERM, with the exit code that a shell reports for it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def interrupted(verb: str) -> str:
    """Return the message for a verb (a command of unmask) that was ended by Ctrl-C or SIGTERM."""
    return "interrupted; run the same command again to resume" if verb in RESUMED else "interrupted"


@contextmanager
def started(
    command: list[str], environment: Mapping[str, str] | None = None, **how: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a verb (a command of unmask) in a new process, which also ends if this process ends for any reason.

    After an error, Ctrl-C or SIGTERM in the block, the verb is terminated; if this process is killed, the verb exits by
    itself (see `follow_parent`). Ctrl-C in a terminal reaches only this process, which reports it for both processes.

    Args:
        command: the command line of the verb.
        environment: variables in addition to those of this process.
        how: passed to `subprocess.Popen`.
    """
    theirs = {**os.environ, PARENT: str(os.getpid()), **(environment or {})}
    process = subprocess.Popen(command, env=theirs, start_new_session=True, **how)
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[Any]) -> None:
    """Terminate a process; kill it if it does not end."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # after a second Ctrl-C, do not wait
        process.kill()
        process.wait()


def terminate(number: int, frame: FrameType | None) -> None:
    """Raise an exception on SIGTERM, as Python does on Ctrl-C, so that child processes are ended, too."""
    raise Terminated


Handler = Callable[[int, FrameType | None], object] | int | None  # as accepted and returned by `signal.signal`


def handle(wanted: Mapping[signal.Signals, Handler]) -> dict[signal.Signals, Handler]:
    """Set signal handlers and return the previous ones; ignored signals (nohup, background jobs) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in wanted.items():
        if before[number] not in (signal.SIG_IGN, None):
            signal.signal(number, handler)
    return before


def follow_parent() -> bool:
    """End this process as soon as the process that started it ends; return False if no verb started it.

    In DDP, all other processes end with the first process. On Windows, this is not supported: if a verb is killed,
    the processes that it started keep running.
    """
    named = os.environ.pop(PARENT, None)
    if named is None and not is_started_by_lightning():
        return False
    follow(int(named or os.getppid()))
    return True


def follow(process: int) -> None:
    """End this process as soon as the process with ID `process`, or the direct parent of this process, has ended."""
    if os.name == "posix" and FOLLOWER not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=_follow, args=[process, os.getppid()], daemon=True, name=FOLLOWER).start()


def _follow(parent: int, direct: int) -> None:
    """Wait until `parent` or the direct parent ends, then exit; the two differ only if a wrapper started Python."""
    while os.getppid() == direct and _alive(parent):
        time.sleep(0.5)
    os._exit(1)


def _alive(process: int) -> bool:
    """Return whether a process is running; on Linux, a zombie does not count as running."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True
