"""Render people, forge them, train two detectors, write the report: everything, with no data and no GPU.

  unmask demo
  unmask demo difficulty=0.8 people=48 test_people=15
  unmask demo render_only=true                          only the data: demo_celebdf, demo_celeba, demo_deepfakeart

The people are drawn by a program; nobody is shown. Every file is marked as synthetic. The figures are demo figures:
they show that the machinery works, and say nothing about real deepfakes. A second call resumes where the first ended.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.application import verb
from unmask.console import console, say
from unmask.demo.paintings import render_paintings
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render
from unmask.parallel.processes import started
from unmask.reporting.publish import report
from unmask.runs.run import Run
from unmask.studies.jobs import call, command, load, run_folder


def demo(cfg: DictConfig) -> None:
    """Render, prepare, train each experiment, report."""
    begun = time.monotonic()
    root = Path(cfg.root)
    say(f"1/4  rendering {cfg.people} people, real and forged, into {root}")
    render_people(cfg, root)
    render_pictures(cfg, root)
    if cfg.render_only:
        return
    given = [f"data.root='{root}'", *cfg.overrides]
    say("2/4  finding, following and cropping faces")
    if call("prepare", f"experiment={cfg.experiments[0]}", *given):
        raise SystemExit("unmask prepare failed; rerun the command to resume")
    say(f"3/4  training {' and '.join(cfg.experiments)}, a core each")
    folders = train_all({name: [f"experiment={name}", *given] for name in cfg.experiments})
    say("4/4  the report, computed from the predictions\n")
    report(folders, Path(cfg.report), "Demo: two detectors on rendered people", resamples=1000)
    seconds = time.monotonic() - begun
    say(f"Demo figures on rendered people; they say nothing about real deepfakes. {seconds:.0f} s in all.")


def render_people(cfg: DictConfig, root: Path) -> None:
    """Render what is not there yet, with a bar."""
    with shown("videos") as progress:
        render(
            root,
            people=cfg.people,
            test_people=cfg.test_people,
            frames=cfg.frames,
            difficulty=cfg.difficulty,
            seed=cfg.seed,
            workers=os.cpu_count() or 1,
            progress=progress,
        )


def render_pictures(cfg: DictConfig, root: Path) -> None:
    """Render portraits in CelebA's layout and forged paintings in DeepfakeArt's beside the videos, with a bar each."""
    workers = os.cpu_count() or 1
    if cfg.portraits:
        with shown("people portrayed") as progress:
            where = root.with_name("demo_celeba")
            render_portraits(where, portraits=cfg.portraits, seed=cfg.seed, workers=workers, progress=progress)
    if cfg.paintings:
        with shown("paintings") as progress:
            where = root.with_name("demo_deepfakeart")
            render_paintings(where, paintings=cfg.paintings, seed=cfg.seed, workers=workers, progress=progress)


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar while something is rendered; yields what tells it how far that is."""
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{what}, left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def train_all(trainings: dict[str, list[str]]) -> list[Path]:
    """Train side by side, as many at once as there are cores, one bar each; the folders of the runs."""
    folders = {name: run_folder("train", arguments) for name, arguments in trainings.items()}
    waiting, failed = dict(trainings), list[str]()
    running: dict[str, subprocess.Popen[bytes]] = {}
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar, ExitStack() as jobs:
        tasks = {name: bar.add_task(name, total=1.0, state="waiting", start=False) for name in trainings}
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                name, arguments = waiting.popitem()
                running[name] = jobs.enter_context(start(command("train", *arguments), folders[name]))
                bar.start_task(tasks[name])
            for name, process in list(running.items()):
                share, state = how_far(folders[name], trainings[name])
                bar.update(tasks[name], completed=share, state=state)
                if process.poll() is not None:
                    failed += [name] if process.returncode else []
                    bar.stop_task(tasks[name])
                    del running[name]
            time.sleep(0.5)
    if failed:
        logs = ", ".join(str(folders[name] / "output.log") for name in failed)
        raise SystemExit(f"training {' and '.join(failed)} failed, see {logs}; rerun the command to resume")
    return list(folders.values())


@contextmanager
def start(line: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a training whose output goes into its folder; it ends with this process."""
    folder.mkdir(parents=True, exist_ok=True)
    # Two processes with a thread for each core would fight for them, and both lose.
    alone = {"OMP_NUM_THREADS": "1"}
    with (
        (folder / "output.log").open("wb") as log,
        started(line, alone, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        yield process


def how_far(folder: Path, arguments: list[str]) -> tuple[float, str]:
    """The share of a training's epochs that are done, and its validation in words; from the files that it writes."""
    if (folder / "metrics.json").is_file():
        return 1.0, f"done, best validation AUC {Run(folder).metrics['score']:.2f}"
    path = folder / "metrics.csv"
    if not path.is_file() or not path.stat().st_size:
        return 0.0, "starting"
    rows = pd.read_csv(path)
    seen = rows.dropna(subset=["val/frame_auroc"]) if "val/frame_auroc" in rows else rows.iloc[:0]
    if seen.empty:
        return 0.0, "epoch 1"
    epoch, total = int(seen["epoch"].iloc[-1]) + 1, load("train", arguments).trainer.max_epochs
    return epoch / (total + 1), f"epoch {epoch} of {total}, validation AUC {seen['val/frame_auroc'].iloc[-1]:.2f}"


@verb("demo")
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    demo(cfg)


if __name__ == "__main__":
    main()
