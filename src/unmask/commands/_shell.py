"""What the verbs share of the terminal: plain lines, signals, errors that the user can mend."""

import atexit
import errno
import functools
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from rich.console import Console

from unmask.cli import interrupted

P = ParamSpec("P")
R = TypeVar("R")

MENDED = (ValueError, FileNotFoundError, PermissionError)  # what a user can mend, where it is ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk is full, or may only be read
FOLLOWER = "unmask-follower"  # the thread that waits for another process's end
PARENT = "UNMASK_PARENT"  # environment variable: the verb that started this one and with which it ends

console = Console(highlight=False)
log = logging.getLogger("unmask")  # conf/train.yaml writes it into the run's folder, and nowhere else


def say(text: str, style: str | None = None) -> None:
    """Print one line, as it stands, from the first process only; a training keeps it in its log too."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        console.print(text, style=style, markup=False, soft_wrap=True)
        log.info(text)


def show(table: Any) -> None:
    """Print what Rich can draw. A verb that any launcher may start calls this: it holds no console to be pickled."""
    console.print(table)


def quiet() -> None:
    """Silence what libraries say that no user can act on; errors and our own warnings stay."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    noise = ["does not have many workers", "directory .* exists and is not empty", "LeafSpec", "treespec"]
    # Each epoch has a line of its own, and figures are of all devices.
    noise += [r"The number of training batches \(\d+\) is smaller", "It is recommended to use `self.log"]
    for text in (*noise, r"Found \d+ module\(s\) in eval mode"):  # frozen parts stay so by design
        warnings.filterwarnings("ignore", f".*{text}")


class Terminated(SystemExit):
    """SIGTERM arrived: the exit code is what a shell reports of it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def fail_clearly(function: Callable[P, R]) -> Callable[P, R]:
    """Tell a user's mistake in its own words and exit with 1; anything else keeps its traceback.

    Every error of ours that a user can mend is a ValueError, FileNotFoundError or PermissionError. In a sweep it is
    raised, so that the other jobs go on. Ctrl-C and SIGTERM print one line and exit with 130 and 143.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not gc.isenabled():  # by `unmask.cli`, while the verb was imported
            gc.freeze()  # what that left stays: no collection need look at it, before the one at the end
            atexit.register(gc.unfreeze)
            gc.enable()
        with interruptible(function.__module__):
            try:
                return function(*args, **kwargs)
            except (*MENDED, InstantiationException) as error:
                # What a constructor refuses comes wrapped in words about the call, which are of no use here.
                cause = error.__cause__ if isinstance(error, InstantiationException) else error
                ours = type(cause).__module__.startswith("unmask.") or _raised_by_us(cause)
                sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
                if sweep or not ours or not isinstance(cause, MENDED) or os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                print(f"unmask: {cause}", file=sys.stderr)
                raise SystemExit(1) from None
            except OSError as error:
                if error.errno not in DISK or os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                print(f"unmask: {disk(error)}", file=sys.stderr)
                raise SystemExit(1) from None

    return wrapped


def disk(error: OSError) -> str:
    """What is said of a disk that is full or may only be read: the folder, and what to do."""
    place = Path(str(error.filename)).parent if error.filename else None
    if place is None and HydraConfig.initialized():
        place = Path(HydraConfig.get().runtime.output_dir)
    fix = "choose a folder that can be written" if error.errno == errno.EROFS else "free some space"
    said = (error.strerror or str(error)).lower()
    return f"cannot write to {place or 'the disk'}: {said}; {fix}, then run the same command again to resume"


@contextmanager
def interruptible(module: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line and an exit code; end with the verb that started this one.

    Args:
        module: of the verb, `unmask.commands.VERB`; of one that is run by its name, `__main__`.
    """
    main = getattr(sys.modules.get(module), "__spec__", None)
    verb = str(getattr(main, "name", module)).rpartition(".")[2]
    child = follow_parent()
    before = handle({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate})
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if (code := _signalled(stop)) is None:
            raise
        if not child:
            print(f"unmask: {interrupted(verb)}", file=sys.stderr, flush=True)
        raise SystemExit(code) from None
    finally:
        handle(before)
        log.handlers.clear()  # or what another verb says in this process would go into this one's log


def terminate(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM: end as by Ctrl-C, where this process is, so that what it started is ended too."""
    raise Terminated


def handle(wanted: dict[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Set signal handlers and return those before; what is ignored (nohup, a shell's background job) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in wanted.items():
        if before[number] not in (signal.SIG_IGN, None):
            signal.signal(number, handler)
    return before


def _signalled(stop: BaseException) -> int | None:
    """The exit code of what a signal ended; None of anything else.

    The Trainer turns KeyboardInterrupt into exit code 1, and SIGTERM, where it handles that, into none.
    """
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(stop, Terminated) or type(stop).__name__ == "SIGTERMException":
        return 128 + signal.SIGTERM
    return None


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


def _raised_by_us(error: BaseException | None) -> bool:
    """Whether the innermost frame of the traceback is unmask's own code."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals  # of a verb that is run as `python -m`, only the spec has its name
    return str(getattr(module.get("__spec__"), "name", module.get("__name__", ""))).startswith("unmask.")
