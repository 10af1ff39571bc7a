"""Run a verb (a subcommand of `unmask`) as a Hydra application: config resolvers, overrides, error messages."""

import functools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unmask.arguments import quote
from unmask.config import Settings, conf_dir, slips
from unmask.config.check import resolved
from unmask.failures import DISK, disk, fail_clearly, is_fixable
from unmask.ranks import is_first
from unmask.runs.identity import prepared_hash, run_id

FULL = "HYDRA_FULL_ERROR"  # environment variable that makes Hydra raise errors instead of printing them
# Keys that determine the prepared crops. All other keys of `data` are for training; checking these other keys would
# import PyTorch.
STORE = ("data.source", "data.recipe", "data.split", "data.prepared", "data.cache")
ALWAYS = ("hydra.", "hydra/", "local")  # overrides that always have an effect: Hydra's, and the user's `local` config


class JobFailed(CompactHydraException):
    """A job of a sweep failed; the message names the job and gives the reason."""


def register_resolvers() -> None:
    """Register the config resolvers.

    `${run_id:}` is the ID of the run, `${count:LIST}` the length of a list, and `${mode_of:METRIC}` is `min` if smaller
    values of a detector's metric are better, else `max`. `${network_of:RUN}` is the config of a run's network, and
    `${part_of:RUN,PART}` that of a part of an autoencoder. `${settings_of:FOLDER}` are the settings of a published
    autoencoder.
    `${first_process:A,B}` is A in the first process of a training and B in its other processes. `${first_process:A}` is
    a path, and in the other processes that of the null device.
    """
    OmegaConf.register_new_resolver("mode_of", _mode_of, replace=True)
    OmegaConf.register_new_resolver("count", len, replace=True)
    OmegaConf.register_new_resolver("network_of", _network_of, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("part_of", _part_of, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("settings_of", _settings_of, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("first_process", lambda a, b=os.devnull: a if is_first() else b, replace=True)
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: _run_id(_root_), replace=True, use_cache=False)


def _mode_of(metric: str) -> str:
    from unmask.metrics.detection import mode_of  # imported here, because most verbs do not need pandas

    return mode_of(metric)


def _network_of(run: str) -> Settings:
    from unmask.runs.encoder import network_of  # imported here, because most verbs do not need PyTorch

    return network_of(run)


def _part_of(run: str, part: str) -> Settings:
    from unmask.runs.codec import part_of  # imported here, because most verbs do not need PyTorch

    return part_of(run, part)


def _settings_of(folder: str) -> Settings:
    from unmask.networks.kl import settings_of  # imported here, because most verbs do not need PyTorch

    return settings_of(Path(folder))


def _run_id(root: DictConfig) -> str:
    plain = OmegaConf.to_container(root, resolve=False)
    assert isinstance(plain, dict)
    try:
        prepared = prepared_hash(resolved(root, *STORE)["data"]) if root.get("data") is not None else ""
    except (ValueError, OSError):  # the verb itself reports this error
        prepared = ""
    return run_id({str(key): value for key, value in plain.items()}, prepared)


def verb(config_name: str) -> Callable[[Callable[..., Any]], Callable[[], Any]]:
    """Return a decorator that turns a function of a config into the Hydra application of a verb.

    Args:
        config_name: name of the top-level config in `conf`.
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
            if ours:  # makes Hydra raise config errors instead of printing several lines
                os.environ[FULL] = "1"
            try:
                return main()
            except Exception as error:
                message = _message_of(error, config_name) if ours else None
                if message is None:
                    raise
                print(f"unmask: {message}", file=sys.stderr)
                raise SystemExit(1) from None
            finally:
                if ours:
                    os.environ.pop(FULL, None)

        return run

    return decorate


def _message_of(error: Exception, config_name: str) -> str | None:
    """Return the message for an error that Hydra raised or passed on; None if the traceback must be shown."""
    if isinstance(error, JobFailed) or is_fixable(error):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK:
        return disk(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a config group cannot be null; choose another option, or write ~GROUP to leave the group out"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    return slips.explain(error, config_name, overrides)


@contextmanager
def _without_full_errors() -> Iterator[None]:
    """Unset HYDRA_FULL_ERROR while a verb runs, for the verb and the processes that it starts.

    After a job of a sweep, the variable is set again, so that Hydra also raises the config errors of the next job.
    After a single run, it stays unset, and Hydra itself reports the run's error.
    """
    os.environ.pop(FULL, None)
    try:
        yield
    finally:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            os.environ[FULL] = "1"


def composed(config_name: str, overrides: Sequence[str] = ()) -> Settings:
    """Compose the config of a verb and check it, without starting the verb; see `unmask.compose`."""
    known = sorted(path.stem for path in Path(conf_dir()).glob("*.yaml"))
    if config_name not in known:
        raise ValueError(f"{config_name}: not a verb with a config; expected one of {', '.join(known)}")
    register_resolvers()
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
            cfg = hydra.compose(config_name, [quote(text) for text in overrides], return_hydra_config=True)
        out = cfg.hydra.run.dir  # needs the config of Hydra, which is not returned
        with open_dict(cfg):
            del cfg.hydra
        if OmegaConf.select(cfg, "paths") is not None and "out" in cfg.paths:
            cfg.paths.out = out
        return resolved(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(slips.explain(error, config_name, overrides)) from None


def show_config(config_name: str) -> None:
    """Let Hydra handle a flag such as `--cfg job`. Such a flag needs only the configs, so the verb is not imported."""

    def nothing(cfg: DictConfig) -> None:
        """Do nothing; Hydra prints what was requested."""

    nothing.__module__ = f"unmask.commands.{config_name}"  # Hydra derives the job's name from this module name
    verb(config_name)(nothing)()


def given() -> list[str]:
    """Return the keys of the command-line overrides, such as `data.root` or `data/recipe`; empty outside of Hydra."""
    if not HydraConfig.initialized():
        return []
    return [override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]


def typed_command(verb: str) -> str:
    """Return the command line of this job as the user typed it, without the quotes and `++` that unmask adds."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    plain = [text.removeprefix("++") if text.startswith("++trainer.") else text for text in typed]
    return shlex.join(["unmask", verb, *(re.sub(r"^([\w.]+)='([^']*)'$", r"\1=\2", text) for text in plain)])


def refuse_unread(read: Iterable[str], why: str) -> None:
    """Reject command-line overrides that have no effect.

    Args:
        read: keys that have an effect; `trainer.` stands for all keys below `trainer`.
        why: the reason why all other keys have no effect; it ends the error message.

    Raises:
        ValueError: an override has no effect.
    """
    known = (*read, *ALWAYS)
    unread = [
        key for key in given() if not any(key.startswith(one) if one[-1] in "./" else key == one for one in known)
    ]
    if unread:
        raise ValueError(f"{', '.join(unread)}: {why}")
