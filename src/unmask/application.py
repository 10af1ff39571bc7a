"""A verb as a Hydra application: its config, what was typed, what a run is called by."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unmask.config import conf_dir, slips
from unmask.config.check import resolved
from unmask.failures import DISK, disk, fail_clearly
from unmask.runs.identity import prepared_hash, run_id

FULL = "HYDRA_FULL_ERROR"  # environment variable of Hydra: raise errors instead of printing them
ALWAYS = ("hydra.", "hydra/", "local")  # Hydra's own settings, and the user's


class JobFailed(CompactHydraException):
    """A job of a sweep failed; the message names the job and says why."""


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
        ready, ours = fail_clearly(function), False

        @functools.wraps(function)
        def begin(cfg: DictConfig) -> object:
            with _without_full_errors() if ours else nullcontext():
                return ready(cfg)

        main = hydra.main(version_base="1.3", config_path=conf_dir(), config_name=config_name)(begin)

        @functools.wraps(function)
        def run() -> object:
            nonlocal ours
            ours = FULL not in os.environ
            if ours:  # Hydra then raises what is wrong with a config; it would print several lines
                os.environ[FULL] = "1"
            try:
                return main()
            except (HydraException, OmegaConfBaseException, OSError) as error:
                if not ours or (isinstance(error, OSError) and error.errno not in DISK):
                    raise
                print(f"unmask: {_said(error, config_name)}", file=sys.stderr)
                raise SystemExit(1) from None
            finally:
                if ours:
                    os.environ.pop(FULL, None)

        return run

    return decorate


def _said(error: Exception, config_name: str) -> str:
    """What is said of an error that Hydra passed on, or met itself."""
    if isinstance(error, JobFailed):
        return str(error)
    if isinstance(error, OSError):
        return disk(error)
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    return slips.explain(error, config_name, overrides)


@contextmanager
def _without_full_errors() -> Iterator[None]:
    """Let a verb itself, and the processes that it starts, report errors as the user asked for them."""
    os.environ.pop(FULL, None)
    try:
        yield
    finally:
        os.environ[FULL] = "1"


def show_config(config_name: str) -> None:
    """Let Hydra answer a flag such as `--cfg job` from the configs alone: the verb, and with it PyTorch, stays out."""

    def nothing(cfg: DictConfig) -> None:
        """Hydra only prints."""

    nothing.__module__ = f"unmask.commands.{config_name}"  # Hydra names the job by it
    verb(config_name)(nothing)()


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
