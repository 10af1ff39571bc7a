"""Start verbs (commands of unmask) from other verbs, and find their command lines, configs and run folders."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from unmask.config import conf_dir
from unmask.parallel.processes import started


def command(name: str, *arguments: str) -> list[str]:
    """Return the command line of a verb; each verb gets its own process, so that trainings share no state."""
    # `python -m unmask.commands.NAME` is equivalent, but starts and ends seconds later; see `unmask.cli`.
    return [sys.executable, "-m", "unmask", name, *arguments]


def joined(overrides: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return `overrides` without those whose keys `extra` has, then `extra`: a verb takes each key only once."""
    replaced = {key_of(argument) for argument in extra}
    return [*(argument for argument in overrides if key_of(argument) not in replaced), *extra]


def key_of(argument: str) -> str:
    """Return the key of an override such as `++trainer.max_epochs=2`."""
    return argument.partition("=")[0].lstrip("+~")


def call(name: str, *arguments: str) -> int:
    """Run a verb in its own process, which prints to the same terminal, and return its exit code."""
    with started(command(name, *arguments)) as process:
        return process.wait()


def load(name: str, arguments: list[str]) -> DictConfig:
    """Return the config that a verb composes from these arguments."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
        return hydra.compose(name, arguments, return_hydra_config=True)


def run_folder(name: str, arguments: list[str]) -> Path:
    """Return the run folder that a verb uses with these arguments."""
    return Path(load(name, arguments).hydra.run.dir)
