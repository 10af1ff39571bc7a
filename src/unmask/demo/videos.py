"""The demo data set: which clips there are, and rendering them into Celeb-DF v2's layout (arXiv 1909.12962)."""

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from unmask.demo.forgeries import FaceSwap, Forgery, Resynthesis, Slide, film
from unmask.demo.people import Person
from unmask.demo.scenes import Scene
from unmask.media.encode import write_video

VERSION = 3  # raise it when the renderer changes what it draws: older folders are then refused, not mixed
GROUP = 3  # people who swap faces with each other only, so that identity-disjoint splits exist
FPS = 25.0
CRF = (17, 24)  # x264's quality, drawn for each clip, real or fake
METHODS = ("faceswap", "resynthesis", "temporal")  # clip n of person p is forged by number (n + p) modulo 3
MARK = {"comment": "synthetic: rendered by unmask demo", "synthetic": "true"}  # on real and fake alike


@dataclass(frozen=True)
class Clip:
    """One file of the set: `person` filmed in scene `number`, wearing `donor`'s face where `method` says so."""

    person: int
    number: int
    folder: str = "Celeb-real"
    method: str = "real"
    donor: int = -1

    @property
    def path(self) -> str:
        """Where it lies under the root, in Celeb-DF's naming."""
        if self.folder == "YouTube-real":
            return f"{self.folder}/{self.number:05d}.mp4"
        face = f"id{self.person}" if self.method == "real" else f"id{self.person}_id{self.donor}"
        return f"{self.folder}/{face}_{self.number:04d}.mp4"


def clips(people: int) -> list[Clip]:
    """All clips: each person filmed three times, each of these forged by another method, and people of YouTube.

    Celeb-DF's names know no method, so that every fake has a source clip of its own. A re-synthesised or a flickering
    face is the person's own; the donor in its name is then nominal, one of the same group like a real one.
    """
    made = []
    for person in range(people):
        for number, shift in enumerate(range(person, person + len(METHODS))):
            made.append(Clip(person, number))
            step = 1 + (number + person // GROUP) % (GROUP - 1)
            donor = person - person % GROUP + (person % GROUP + step) % GROUP
            made.append(Clip(person, number, "Celeb-synthesis", METHODS[shift % len(METHODS)], donor))
    return made + [Clip(people + number, number, "YouTube-real") for number in range(people // GROUP)]


def held_out(people: int, test_people: int) -> list[Clip]:
    """The clips of the test list: the last groups whole, and as large a share of YouTube's."""
    tube = people // GROUP
    last = people + tube - max(1, tube * test_people // people)
    everyone = range(people - test_people, people)
    return [c for c in clips(people) if (c.person >= last if c.folder == "YouTube-real" else c.person in everyone)]


def render(
    root: Path,
    *,
    people: int = 36,
    test_people: int = 12,
    frames: int = 48,
    difficulty: float = 0.6,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render the demo data set; what an earlier call with the same arguments finished is kept.

    Args:
        root: A new folder, or one of an earlier call.
        people: How many are filmed and forged, a multiple of 3; a third as many more are in YouTube-real.
        test_people: How many of them the test list holds out, a multiple of 3.
        frames: Frames a clip, at 25 a second.
        difficulty: From 0 (marks that anyone sees) to 1 (faint).
        seed: Which people, scenes and forgeries; together with the others it decides every byte.
        workers: Processes; they decide no byte.
        progress: Called with the clips done and all clips.

    Raises:
        ValueError: An argument out of range, or a folder that holds other things.
    """
    _check(people, test_people, frames, difficulty, seed, workers)
    root = Path(root)
    _claim(root, {"version": VERSION, "people": people, "test_people": test_people, "frames": frames,
                  "difficulty": float(difficulty), "seed": seed})  # fmt: skip
    for leftover in root.glob("*/.*.part"):  # of a call that was killed
        leftover.unlink()
    every = clips(people)
    missing = [clip for clip in every if not (root / clip.path).exists()]
    done = len(every) - len(missing)
    if progress:
        progress(done, len(every))
    shoot = partial(_write, root=root, frames=frames, difficulty=difficulty, seed=seed)
    for _ in _spread(shoot, missing, workers):
        done += 1
        if progress:
            progress(done, len(every))
    _write_tables(root, every, held_out(people, test_people))


def _check(people: int, test_people: int, frames: int, difficulty: float, seed: int, workers: int) -> None:
    wrong = []
    if people < 2 * GROUP or people % GROUP:
        wrong.append(f"people={people}: take a multiple of {GROUP}, at least {2 * GROUP}; faces are swapped in threes")
    if not GROUP <= test_people < people or test_people % GROUP:
        wrong.append(f"test_people={test_people}: take a multiple of {GROUP}, at least {GROUP} and less than people")
    if frames < 2:
        wrong.append(f"frames={frames}: take at least 2; the temporal forgery lives between frames")
    if not 0 <= difficulty <= 1:
        wrong.append(f"difficulty={difficulty}: take a number from 0 (plain) to 1 (faint)")
    if seed < 0:
        wrong.append(f"seed={seed}: take 0 or more")
    if workers < 1:
        wrong.append(f"workers={workers}: take at least 1")
    if wrong:
        raise ValueError("; ".join(wrong))


def _claim(root: Path, arguments: dict[str, int | float]) -> None:
    """Write `demo.json` into a new folder; refuse one that holds anything else than these very clips."""
    note = root / "demo.json"
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found != arguments:
            keys = sorted({*found, *arguments})
            other = ", ".join(
                f"{k} {found.get(k)} not {arguments.get(k)}" for k in keys if found.get(k) != arguments.get(k)
            )
            raise ValueError(f"{root} holds demo data of other arguments ({other}); delete that folder or take another")
    elif root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and has no demo.json; take a new folder for the demo data")
    else:
        _replace(note, json.dumps(arguments, indent=2) + "\n")


def _spread(job: Callable[[Clip], None], work: list[Clip], workers: int) -> Iterator[None]:
    """Do the work here or in processes, yielding after each clip."""
    workers = min(workers, len(work))
    if workers < 2:
        yield from map(job, work)
        return
    # Spawned, for a fork would copy the locks of whatever threads the caller runs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(job, work)


_person = lru_cache(maxsize=GROUP)(Person)


def _write(clip: Clip, root: Path, frames: int, difficulty: float, seed: int) -> None:
    """Film one clip. The scene is its source's, the noise and the forgery's draws are its own."""
    forged = METHODS.index(clip.method) + 1 if clip.method in METHODS else 0
    rng = np.random.default_rng([seed, 3, clip.person, clip.number, forged])
    scene = Scene([seed, 2, clip.person, clip.number], frames, FPS)
    slide = Slide(rng, difficulty, frames, flicker=clip.method == "temporal")
    forgery: Forgery | None = None
    if clip.method == "faceswap":
        forgery = FaceSwap(_person((seed, 1, clip.donor)), rng, difficulty)
    elif clip.method == "resynthesis":
        forgery = Resynthesis(rng, difficulty)
    # Every upload has its own quality; its draw depends on nothing else, so that size says nothing about the label.
    crf = int(np.random.default_rng([seed, 4, clip.person, clip.number, forged]).integers(*CRF, endpoint=True))
    frames_of_clip = film(_person((seed, 1, clip.person)), scene, slide, forgery, rng)
    write_video(root / clip.path, frames_of_clip, FPS, crf=crf, metadata=MARK)


def _write_tables(root: Path, every: list[Clip], test: list[Clip]) -> None:
    """Write the test list as the official one is (1 = REAL, no header, no last newline) and the table of methods."""
    _replace(root / "List_of_testing_videos.txt", "\n".join(f"{int(c.method == 'real')} {c.path}" for c in test))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "method"])
    writer.writerows([clip.path, clip.method] for clip in every if clip.method != "real")
    _replace(root / "methods.csv", table.getvalue())


def _replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all; leave it alone where it is already so."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
