"""Render people, forge them, train two detectors, write the report: everything, with no data and no GPU.

  unmask demo
  unmask demo difficulty=0.8 people=48 test_people=15

The people are drawn by a program; nobody is shown. Every file is marked as synthetic. The figures are demo figures:
they show that the machinery works, and say nothing about real deepfakes. A second call goes on where the first ended.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unmask.commands._shell import console, fail_clearly, say
from unmask.commands.report import report
from unmask.config import conf_dir
from unmask.demo.videos import render
from unmask.runs import register_resolvers

register_resolvers()


def demo(cfg: DictConfig) -> None:
    """Render, prepare, train each experiment, report."""
    start = time.monotonic()
    root = Path(cfg.root)
    say(f"1/4  rendering {cfg.people} people into {root}")
    render_people(cfg, root)
    if cfg.render_only:
        return
    say("2/4  finding and cropping faces")
    run_verb("prepare", f"experiment={cfg.experiments[0]}", f"data.root='{root}'", *cfg.overrides)
    folders = []
    for number, experiment in enumerate(cfg.experiments):
        say(f"{'3/4  training' if number == 0 else '             '} {experiment}")
        arguments = [f"experiment={experiment}", f"data.root='{root}'", *cfg.overrides]
        folders.append(run_verb("train", *arguments))
    say("4/4  the report, computed from the predictions\n")
    report(folders, Path("outputs/demo/report.html"), "Demo: two detectors on rendered people", resamples=1000)
    say(f"(demo figures on rendered people; {time.monotonic() - start:.0f} s)")


def render_people(cfg: DictConfig, root: Path) -> None:
    """Render what is not there yet, with a bar."""
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        render(
            root,
            people=cfg.people,
            test_people=cfg.test_people,
            frames=cfg.frames,
            difficulty=cfg.difficulty,
            seed=cfg.seed,
            workers=os.cpu_count() or 1,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def run_verb(verb: str, *arguments: str) -> Path:
    """Run a verb in its own process, as a user would; the folder that it worked in.

    A process each keeps one training's memory and random state from the next.
    """
    command = [sys.executable, "-m", f"unmask.commands.{verb}", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"unmask {verb} failed; the same command again goes on where it stopped")
    return run_folder(verb, list(arguments))


def run_folder(verb: str, arguments: list[str]) -> Path:
    """The folder that a verb's arguments stand for."""
    with hydra.initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = hydra.compose(verb, arguments, return_hydra_config=True)
        return Path(cfg.hydra.run.dir)


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="demo")
@fail_clearly
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    demo(cfg)


if __name__ == "__main__":
    main()
