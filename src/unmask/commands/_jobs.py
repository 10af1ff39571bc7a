"""Verbs that start other verbs: their command lines, their configs, their folders."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from unmask.commands._shell import PARENT
from unmask.config import conf_dir

PATIENCE = 10  # s that a process has for its end before it is killed


def verb(name: str, *arguments: str) -> list[str]:
    """The command line of a verb, run as a user would; a process each keeps one training's state from the next."""
    return [sys.executable, "-m", f"unmask.commands.{name}", *arguments]


def call(name: str, *arguments: str) -> int:
    """Run a verb as a process of its own, which prints where this one prints; its exit code."""
    with started(verb(name, *arguments)) as process:
        return process.wait()


@contextmanager
def started(
    command: list[str], environment: Mapping[str, str] | None = None, **how: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Start a verb that ends with this process, however this one ends.

    Where the block is left by an error, Ctrl-C or SIGTERM, the verb is ended; where this process is killed, the verb
    notices (see `follow_parent`). A terminal's Ctrl-C reaches this process alone, which then speaks for both.

    Args:
        command: see `verb`.
        environment: variables beside those of this process.
        how: passed on to `subprocess.Popen`.
    """
    theirs = {**os.environ, PARENT: str(os.getpid()), **(environment or {})}
    process = subprocess.Popen(command, env=theirs, start_new_session=True, **how)
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end; kill it where it does not."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who asks twice does not want to wait
        process.kill()
        process.wait()


def load(name: str, arguments: list[str]) -> DictConfig:
    """The config that a verb's arguments stand for."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
        return hydra.compose(name, arguments, return_hydra_config=True)


def run_folder(name: str, arguments: list[str]) -> Path:
    """The folder that a verb's arguments stand for."""
    return Path(load(name, arguments).hydra.run.dir)
