"""What the verbs share of the terminal: plain lines, and errors without a traceback where the user can mend them."""

import atexit
import functools
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")

console = Console(highlight=False)


def say(text: str, style: str | None = None) -> None:
    """Print one line, as it stands, from the first process only."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        console.print(text, style=style, markup=False, soft_wrap=True)


def show(table: Any) -> None:
    """Print what Rich can draw. A verb that any launcher may start calls this: it holds no console to be pickled."""
    console.print(table)


def quiet() -> None:
    """Silence what libraries say that no user can act on; errors and our own warnings stay."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    noise = ("does not have many workers", "directory .* exists and is not empty", "LeafSpec", "treespec")
    for text in (*noise, r"Found \d+ module\(s\) in eval mode"):  # frozen parts stay so by design
        warnings.filterwarnings("ignore", f".*{text}")


def fail_clearly(function: Callable[P, R]) -> Callable[P, R]:
    """Tell a user's mistake in its own words and exit with 1; anything else keeps its traceback.

    Every error of ours that a user can mend is a ValueError, FileNotFoundError or PermissionError. In a sweep it is
    raised, so that the other jobs go on.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not gc.isenabled():  # by `unmask.cli`, while the verb was imported
            gc.freeze()  # what that left stays: no collection need look at it, before the one at the end
            atexit.register(gc.unfreeze)
            gc.enable()
        try:
            return function(*args, **kwargs)
        except (ValueError, FileNotFoundError, PermissionError) as error:
            ours = type(error).__module__.startswith("unmask.") or _raised_by_us(error)
            sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
            if sweep or not ours or os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"unmask: {error}", file=sys.stderr)
            raise SystemExit(1) from None

    return wrapped


def _raised_by_us(error: BaseException) -> bool:
    """Whether the innermost frame of the traceback is unmask's own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals  # of a verb that is run as `python -m`, only the spec has its name
    return str(getattr(module.get("__spec__"), "name", module.get("__name__", ""))).startswith("unmask.")
