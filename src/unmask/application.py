"""A verb as a Hydra application: what was typed, errors that the user can mend, signals."""

import atexit
import errno
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unmask.config import conf_dir
from unmask.config.check import resolved
from unmask.console import log
from unmask.parallel.processes import Terminated, follow_parent, handle, interrupted, terminate
from unmask.runs.identity import prepared_hash, run_id

P = ParamSpec("P")
R = TypeVar("R")

MENDED = (ValueError, FileNotFoundError, PermissionError)  # what a user can mend, where it is ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk is full, or may only be read
ALWAYS = ("hydra.", "hydra/", "local")  # Hydra's own settings, and the user's


def register_resolvers() -> None:
    """Give configs `${run_id:}` and `${count:LIST}`."""
    OmegaConf.register_new_resolver("count", len, replace=True)
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: _run_id(_root_), replace=True, use_cache=False)


def _run_id(root: DictConfig) -> str:
    plain = OmegaConf.to_container(root, resolve=False)
    assert isinstance(plain, dict)
    try:
        prepared = prepared_hash(resolved(root, "data")["data"]) if root.get("data") is not None else ""
    except (ValueError, OSError):  # refused in words when the verb begins
        prepared = ""
    return run_id({str(key): value for key, value in plain.items()}, prepared)


def verb(config_name: str) -> Callable[[Callable[..., Any]], Callable[[], Any]]:
    """Make a function of a config the Hydra application of a verb.

    Args:
        config_name: of the file in `conf` that it composes.
    """
    register_resolvers()

    def decorate(function: Callable[..., Any]) -> Callable[[], Any]:
        main = hydra.main(version_base="1.3", config_path=conf_dir(), config_name=config_name)
        return main(fail_clearly(function))  # type: ignore[no-any-return]

    return decorate


def given() -> list[str]:
    """The keys of the overrides on the command line, such as `data.root` or `data/recipe`; none outside of Hydra."""
    if not HydraConfig.initialized():
        return []
    return [override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]


def refuse_unread(read: Iterable[str], why: str) -> None:
    """Refuse what was typed and would have no effect.

    Args:
        read: keys that take effect; `trainer.` stands for all below `trainer`.
        why: ends the message: why the others have none.

    Raises:
        ValueError: an override has no effect.
    """
    known = (*read, *ALWAYS)
    unread = [
        key for key in given() if not any(key.startswith(one) if one[-1] in "./" else key == one for one in known)
    ]
    if unread:
        raise ValueError(f"{', '.join(unread)}: {why}")


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
