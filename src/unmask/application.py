"""A verb as a Hydra application: its config, what was typed, what a run is called by."""

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unmask.config import conf_dir, slips
from unmask.config.check import resolved
from unmask.failures import fail_clearly
from unmask.runs.identity import prepared_hash, run_id

FULL = "HYDRA_FULL_ERROR"  # environment variable of Hydra: raise errors instead of printing them
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
        ready, ours = fail_clearly(function), False

        @functools.wraps(function)
        def begin(cfg: DictConfig) -> object:
            if ours:
                os.environ.pop(FULL, None)
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
            except (HydraException, OmegaConfBaseException) as error:
                if not ours or FULL not in os.environ:  # the user wants the traceback, or the verb has begun
                    raise
                overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
                print(f"unmask: {slips.explain(error, config_name, overrides)}", file=sys.stderr)
                raise SystemExit(1) from None
            finally:
                if ours:
                    os.environ.pop(FULL, None)

        return run

    return decorate


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
