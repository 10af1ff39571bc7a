"""Render people, forge them, train two detectors and write the report, with no data and no GPU.

  unmask demo
  unmask demo difficulty=0.8 people=48 test_people=15
  unmask demo render_only=true                only render the data: demo_celebdf, demo_celeba, demo_deepfakeart

A program draws the people; no real person is shown. Every file is marked as synthetic. The figures show that the
pipeline works; they say nothing about real deepfakes. A second call resumes where the first one stopped.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unmask.application import verb
from unmask.console import console, say
from unmask.demo.paintings import render_paintings
from unmask.demo.portraits import render_portraits
from unmask.demo.videos import render
from unmask.reporting.publish import report
from unmask.runs.run import Run
from unmask.studies.chains import Chain, Line, run_chains
from unmask.studies.jobs import call, command, load, run_folder


def demo(cfg: DictConfig) -> None:
    """Render and prepare the data, train each experiment, write the report; then call `more`."""
    begun = time.monotonic()
    root, steps = Path(cfg.root), 6 if cfg.more else 4
    say(f"1/{steps}  rendering {cfg.people} people, real and forged, into {root}")
    render_people(cfg, root)
    render_pictures(cfg, root)
    if cfg.render_only:
        return
    given = [f"data.root='{root}'", *cfg.overrides]
    say(f"2/{steps}  finding, following and cropping faces")
    if call("prepare", f"experiment={cfg.experiments[0]}", *given):
        raise SystemExit("unmask prepare failed; rerun the command to resume")
    say(f"3/{steps}  training {' and '.join(cfg.experiments)}, one core each")
    folders = train_all({name: [f"experiment={name}", *given] for name in cfg.experiments})
    made = more(cfg, root, folders[-1]) if cfg.more else []
    say(f"{steps}/{steps}  the report, computed from the predictions\n")
    report(folders, Path(cfg.report), "Demo: two detectors on rendered people", resamples=1000)
    for line in made:
        say(line)
    seconds = time.monotonic() - begun
    say(f"Demo figures on rendered people; they say nothing about real deepfakes. {seconds:.0f} s in all.")


def more(cfg: DictConfig, root: Path, run: Path) -> list[str]:
    """Generate and detect portraits, swap a face and score a forged video; return a line of text on each result."""
    out = Path(cfg.report).parent
    say("4/6  generating portraits and detecting them, and swapping a face, one core each")
    made = generate(cfg, root, out)
    forged = sorted(root.glob("Celeb-synthesis/*.mp4"))[-1]
    say(f"5/6  asking {cfg.experiments[-1]} about one forged video")
    picture = out / "timeline.png"
    if call("predict", f"path='{forged}'", f"run='{run}'", f"out='{picture}'"):
        raise SystemExit("unmask predict failed; rerun the command to resume")
    return [*made, f"scores of a forged video over time: {picture}"]


def generate(cfg: DictConfig, root: Path, out: Path) -> list[str]:
    """Train a small generator, then a detector of its samples; in parallel, train a face swapper, then swap a face."""
    samples, swaps, video = out / "samples", out / "swap", sorted(root.glob("Celeb-real/id0_*.mp4"))[0]
    vae = [*cfg.generator, f"data.root='{root.with_name('demo_celeba')}'"]
    found = [*cfg.detector, f"data.run='{samples}'"]
    swapper = [*cfg.swapper, f"data.root='{root}'"]

    def sample() -> list[str]:
        return command("sample", f"run='{run_folder('train', vae)}'", f"out='{samples}'", f"count={cfg.samples}")

    def swap() -> list[str]:
        run = run_folder("train", swapper)
        return command("swap", f"run='{run}'", f"video='{video}'", "to=B", f"out='{swaps}'")

    of_portraits = [training("prepare", vae), training("train", vae), sample, training("train", found)]
    of_faces = [training("prepare", swapper), training("train", swapper), swap]
    run_chains([steps_of("portraits", of_portraits, out), steps_of("face swap", of_faces, out)])
    figure = Run(run_folder("train", found)).summary.figure
    return [
        f"samples of a small autoencoder: {samples}; a CNN that detects them: {figure}",
        f"the face of person 1 in a video of person 0: {swaps / 'videos' / video.name}",
    ]


def training(name: str, arguments: list[str]) -> Line:
    """Return a function without arguments that builds a verb's command line from these overrides."""
    return partial(command, name, *arguments)


def steps_of(name: str, lines: list[Line], out: Path) -> Chain:
    """Return a chain of command lines; its progress bar shows which of them is running."""
    log = out / f"{name.replace(' ', '_')}.log"
    return Chain(name, lines, log, lambda number: (0.0, f"step {number + 1} of {len(lines)}"))


def render_people(cfg: DictConfig, root: Path) -> None:
    """Render the videos that do not exist yet, with a progress bar."""
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
    """Render portraits in CelebA's layout and forged paintings in DeepfakeArt's, each with a progress bar."""
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
    """Show a progress bar; yield a function (done, total) that updates it."""
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{what}, left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def train_all(trainings: dict[str, list[str]]) -> list[Path]:
    """Run the trainings in parallel and return their run folders."""
    folders = {name: run_folder("train", arguments) for name, arguments in trainings.items()}

    def chain(name: str) -> Chain:
        line = partial(command, "train", *trainings[name])
        return Chain(name, [line], folders[name] / "output.log", lambda _: how_far(folders[name], trainings[name]))

    run_chains([chain(name) for name in trainings])
    return list(folders.values())


def how_far(folder: Path, arguments: list[str]) -> tuple[float, str]:
    """Return a training's progress, read from its files: the share done, and the epoch and validation AUC as text."""
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
