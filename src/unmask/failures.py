"""Exit a verb with a one-line message for errors that the user can fix, and with an exit code for signals."""

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

from unmask.console import escape_unknown, log
from unmask.parallel.processes import Terminated, follow_parent, handle, interrupted, terminate

P = ParamSpec("P")
R = TypeVar("R")

FIXABLE = (ValueError, FileNotFoundError, PermissionError)  # errors that a user can fix, if unmask raised them
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the disk is full or read-only


def fail_clearly(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a verb: user-fixable errors print one message and exit with 1; other errors keep their traceback.

    An error is user-fixable if it is a ValueError, FileNotFoundError or PermissionError that unmask raised. In a sweep,
    such errors are re-raised, so that the other jobs continue. A full or read-only disk also prints one message and
    exits with 1. Ctrl-C prints one line and exits with 130; SIGTERM prints one line and exits with 143.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        escape_unknown()
        if not gc.isenabled():  # disabled by `unmask.cli` while importing the verb
            gc.freeze()  # imported objects persist: exclude them from collections until exit
            atexit.register(gc.unfreeze)  # collected at exit (2 s); otherwise nanobind reports leaks of Triton
            gc.enable()
        with interruptible(function.__module__):
            try:
                return function(*args, **kwargs)
            except FIXABLE as error:
                if _of_a_sweep() or not is_fixable(error) or os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                print(f"unmask: {error}", file=sys.stderr)
                raise SystemExit(1) from None
            except OSError as error:
                if error.errno not in DISK or os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                print(f"unmask: {disk(error)}", file=sys.stderr)
                raise SystemExit(1) from None

    return wrapped


def is_fixable(error: BaseException) -> bool:
    """Return whether a user can fix an error: its type is in `FIXABLE`, and unmask raised it."""
    ours = type(error).__module__.startswith("unmask.") or _raised_by_us(error)
    return isinstance(error, FIXABLE) and ours


def disk(error: OSError) -> str:
    """Return the message for a full or read-only disk: which folder cannot be written, and what to do."""
    place = Path(str(error.filename)).parent if error.filename else None
    if place is None and (job := _job()) is not None:
        place = Path(job.runtime.output_dir)
    again = "free some space, then run the same command again to resume"
    fix = "choose a writable folder" if error.errno == errno.EROFS else again
    said = (error.strerror or str(error)).lower()
    return f"cannot write to {place or 'the disk'}: {said}; {fix}"


@contextmanager
def interruptible(module: str) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, print one line and exit with a code; also exit if the verb that started this process ends.

    Args:
        module: name of the verb's module, `unmask.commands.VERB`, or `__main__` if it was run with `python -m`.
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
        log.handlers.clear()  # so that another verb in this process does not write to this log


def _job() -> Any:
    """Return Hydra's config of the running job, or None outside of Hydra. This does not import Hydra."""
    hydra = sys.modules.get("hydra.core.hydra_config")
    return hydra.HydraConfig.get() if hydra is not None and hydra.HydraConfig.initialized() else None


def _of_a_sweep() -> bool:
    job = _job()
    return job is not None and job.mode is not None and job.mode.name == "MULTIRUN"


def _signalled(stop: BaseException) -> int | None:
    """Return the exit code if a signal caused this exception, or None.

    The Trainer turns KeyboardInterrupt into exit code 1. If the Trainer handles SIGTERM, it exits without a code.
    """
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(stop, Terminated) or type(stop).__name__ == "SIGTERMException":
        return 128 + signal.SIGTERM
    return None


def _raised_by_us(error: BaseException | None) -> bool:
    """Return whether the innermost frame of the traceback is in unmask's own code."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals  # with `python -m`, only the spec has the module's name
    return str(getattr(module.get("__spec__"), "name", module.get("__name__", ""))).startswith("unmask.")
