"""Render real and fake videos of people, train two detectors and write a report; needs no data and no GPU.

  unmask demo
  unmask demo difficulty=0.8 people=48 test_people=15
  unmask demo render_only=true                only render the data, also portraits, paintings and voices

A program draws the people; no real person is shown. Every file is marked as synthetic. The results show that the
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
from unmask.demo.talking import render_talking
from unmask.demo.videos import render
from unmask.demo.voices import render_voices
from unmask.inference.examination import Answer
from unmask.reporting.publish import report
from unmask.runs.run import Run
from unmask.studies.chains import Chain, Line, run_chains
from unmask.studies.jobs import call, command, joined, load, run_folder

SAMPLES, SWAP, TIMELINE = "samples", "swap", "timeline.png"  # names of the results, in the folder of the report


def demo(cfg: DictConfig) -> None:
    """Render and prepare data, train each detector and write the report; with `more`, run `generation` and `ask`."""
    begun = time.monotonic()
    root, out, steps = Path(cfg.root), Path(cfg.report).parent, 5 if cfg.more else 4
    say(f"1/{steps}  rendering real and fake videos of {cfg.people} people into {root}")
    render_people(cfg, root)
    render_pictures(cfg, root)
    if cfg.render_only:
        return
    given = joined([f"data.root='{root}'"], cfg.overrides)
    say(f"2/{steps}  detecting, tracking and cropping faces")
    if call("prepare", f"experiment={cfg.experiments[0]}", *given):
        raise SystemExit("unmask prepare failed; rerun the command to resume")
    beside = "; also a generator, a detector of its samples, a face swapper, a detector of voices" if cfg.more else ""
    say(f"3/{steps}  training {' and '.join(cfg.experiments)}, one core each{beside}")
    trainings = {name: [f"experiment={name}", *given] for name in cfg.experiments}
    folders = {name: run_folder("train", arguments) for name, arguments in trainings.items()}
    detectors = [detector(name, trainings[name], folder) for name, folder in folders.items()]
    run_chains([*detectors, *(generation(cfg, root, out) if cfg.more else [])])
    if cfg.more:
        ask(cfg.experiments[-1], folders[cfg.experiments[-1]], root, out)
    say(f"{steps}/{steps}  writing the report from the predictions\n")
    report(list(folders.values()), Path(cfg.report), "Demo: two detectors on rendered people", resamples=1000)
    for line in results(cfg, root, out) if cfg.more else ():
        say(line)
    seconds = time.monotonic() - begun
    say(f"All results are on rendered people and say nothing about real deepfakes. The demo took {seconds:.0f} s.")


def detector(name: str, arguments: list[str], folder: Path) -> Chain:
    """Return the chain of commands that trains a detector; its progress bar shows the epochs."""
    return Chain(name, [training("train", arguments)], folder / "output.log", lambda _: how_far(folder, arguments))


def generation(cfg: DictConfig, root: Path, out: Path) -> list[Chain]:
    """Return chains of commands for voices, a generator and a detector of its samples, and a face swapper.

    The longest one is first, so that no core is idle at the end.
    """
    given = of_generation(cfg, root, out)

    def sample() -> list[str]:
        run = run_folder("train", given["generator"])
        return command("sample", f"run='{run}'", f"out='{out / SAMPLES}'", f"count={cfg.samples}")

    def swap() -> list[str]:
        run = run_folder("train", given["swapper"])
        return command("swap", f"run='{run}'", f"video='{filmed(root)}'", "to=B", f"out='{out / SWAP}'")

    names = ("generator", "swapper", "voice")
    before = {name: [training(verb, given[name]) for verb in ("prepare", "train")] for name in names}
    portraits = [*before["generator"], sample, training("train", given["detector"])]
    return [
        steps_of("voices", before["voice"], out),
        steps_of("portraits", portraits, out),
        steps_of("face swap", [*before["swapper"], swap], out),
    ]


def of_generation(cfg: DictConfig, root: Path, out: Path) -> dict[str, list[str]]:
    """Return the command-line overrides of all trainings but those of the detectors of videos, by name."""
    return {
        "generator": [*cfg.generator, f"data.root='{root.with_name('demo_celeba')}'"],
        "detector": [*cfg.detector, f"data.run='{out / SAMPLES}'"],
        "swapper": [*cfg.swapper, f"data.root='{root}'"],
        "voice": [*cfg.voice, f"data.root='{root.with_name('demo_voices')}'"],
    }


def filmed(root: Path) -> Path:
    """Return the path of the video in which a face is to be swapped."""
    return sorted(root.glob("Celeb-real/id0_*.mp4"))[0]


def results(cfg: DictConfig, root: Path, out: Path) -> list[str]:
    """Return one line of text for each result of `generation` and `ask`."""
    given = of_generation(cfg, root, out)
    samples, voices = (Run(run_folder("train", given[name])).summary.figure for name in ("detector", "voice"))
    return [
        f"samples of a small autoencoder: {out / SAMPLES}; a CNN that detects them: {samples}",
        f"the face of person 1 in a video of person 0: {out / SWAP / 'videos' / filmed(root).name}",
        f"scores of a fake video over time: {out / TIMELINE}",
        f"a detector of manipulated and synthetic voices, on unseen speakers: {voices}",
    ]


def ask(name: str, folder: Path, root: Path, out: Path) -> None:
    """Score a fake test video with a trained detector and draw its scores over time."""
    say(f"4/5  scoring one fake video with {name}")
    forged = sorted(root.glob("Celeb-synthesis/*.mp4"))[-1]
    code = call("predict", f"path='{forged}'", f"run='{folder}'", f"out='{out / TIMELINE}'")
    if code not in {answer.exit_code for answer in (Answer.SIGNS, Answer.NO_SIGNS, Answer.INCONCLUSIVE)}:
        raise SystemExit("unmask predict failed; rerun the command to resume")


def training(name: str, arguments: list[str]) -> Line:
    """Return a function that takes no arguments and builds the command line of the verb `name` with `arguments`."""
    return partial(command, name, *arguments)


def steps_of(name: str, lines: list[Line], out: Path) -> Chain:
    """Return a chain of command lines; its progress bar shows which command is running."""
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
    """Render portraits in CelebA's layout, paintings in DeepfakeArt's and voices in ASVspoof's, with progress bars."""
    workers = os.cpu_count() or 1
    if cfg.portraits:
        with shown("people portrayed") as progress:
            where = root.with_name("demo_celeba")
            render_portraits(where, portraits=cfg.portraits, seed=cfg.seed, workers=workers, progress=progress)
    if cfg.paintings and cfg.render_only:  # nothing else in the demo uses paintings
        with shown("paintings") as progress:
            where = root.with_name("demo_deepfakeart")
            render_paintings(where, paintings=cfg.paintings, seed=cfg.seed, workers=workers, progress=progress)
    if cfg.voices and cfg.render_only:
        with shown("recordings") as progress:
            where = root.with_name("demo_voices")
            tests = max(2, 2 * cfg.voices // 7)
            arguments = {"speakers": cfg.voices, "test_speakers": tests, "seed": cfg.seed}
            render_voices(where, **arguments, workers=workers, progress=progress)
    if cfg.talkers and cfg.render_only:
        with shown("clips with sound") as progress:
            where = root.with_name("demo_talking")
            render_talking(where, people=cfg.talkers, seed=cfg.seed, workers=workers, progress=progress)


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yield a function (done, total) that updates it."""
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{what}, left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def how_far(folder: Path, arguments: list[str]) -> tuple[float, str]:
    """Read a training's progress from its files: return the fraction done, and the epoch and validation AUC as text."""
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
    """Run `unmask demo`."""
    demo(cfg)


if __name__ == "__main__":
    main()
