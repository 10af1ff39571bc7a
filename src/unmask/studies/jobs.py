"""Verbs that start other verbs: their command lines, their configs, their folders."""

import sys
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from unmask.config import conf_dir
from unmask.parallel.processes import started


def command(name: str, *arguments: str) -> list[str]:
    """The command line of a verb, run as a user would; one process per verb keeps the state of trainings apart."""
    return [sys.executable, "-m", f"unmask.commands.{name}", *arguments]


def call(name: str, *arguments: str) -> int:
    """Run a verb as a process of its own, which prints where this one prints; its exit code."""
    with started(command(name, *arguments)) as process:
        return process.wait()


def load(name: str, arguments: list[str]) -> DictConfig:
    """The config that a verb's arguments stand for."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
        return hydra.compose(name, arguments, return_hydra_config=True)


def run_folder(name: str, arguments: list[str]) -> Path:
    """The folder that a verb's arguments stand for."""
    return Path(load(name, arguments).hydra.run.dir)
