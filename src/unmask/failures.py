"""How a verb ends: errors that the user can mend in one line, signals with their exit codes."""

import atexit
import errno
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from unmask.console import log
from unmask.parallel.processes import Terminated, follow_parent, handle, interrupted, terminate

P = ParamSpec("P")
R = TypeVar("R")

MENDED = (ValueError, FileNotFoundError, PermissionError)  # what a user can mend, where it is ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk is full, or may only be read


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
            except MENDED as error:
                ours = type(error).__module__.startswith("unmask.") or _raised_by_us(error)
                if _of_a_sweep() or not ours or os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                print(f"unmask: {error}", file=sys.stderr)
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
    if place is None and (job := _job()) is not None:
        place = Path(job.runtime.output_dir)
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


def _job() -> Any:
    """Hydra's config of the job that runs; None outside of Hydra, which is not imported to find out."""
    hydra = sys.modules.get("hydra.core.hydra_config")
    return hydra.HydraConfig.get() if hydra is not None and hydra.HydraConfig.initialized() else None


def _of_a_sweep() -> bool:
    job = _job()
    return job is not None and job.mode is not None and job.mode.name == "MULTIRUN"


def _signalled(stop: BaseException) -> int | None:
    """The exit code of what a signal ended; None of anything else.

    The Trainer turns KeyboardInterrupt into exit code 1, and SIGTERM, where it handles that, into none.
    """
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(stop, Terminated) or type(stop).__name__ == "SIGTERMException":
        return 128 + signal.SIGTERM
    return None


def _raised_by_us(error: BaseException | None) -> bool:
    """Whether the innermost frame of the traceback is unmask's own code."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals  # of a verb that is run as `python -m`, only the spec has its name
    return str(getattr(module.get("__spec__"), "name", module.get("__name__", ""))).startswith("unmask.")
