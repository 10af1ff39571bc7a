"""The demo videos: list the clips and render them in the layout of Celeb-DF v2 (arXiv 1909.12962)."""

import csv
import io
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from unmask.demo.folder import Jobs, Progress, fill, write
from unmask.demo.forgeries import FaceSwap, Forgery, Resynthesis, Slide, film
from unmask.demo.people import Person
from unmask.demo.scenes import Scene
from unmask.media.encode import write_video

VERSION = 4  # increment when rendered pixels change, so that folders of older versions are rejected
GROUP = 3  # people per group; faces are swapped only within a group, so that no identity is in two splits
FPS = 25.0
CRF = (17, 24)  # range of x264's CRF, which is drawn for each clip, real or fake
METHODS = ("faceswap", "resynthesis", "temporal")  # clip n of person p is forged by method (n + p) % 3
MARK = {"comment": "synthetic: rendered by unmask demo", "synthetic": "true"}  # on both real and fake clips


@dataclass(frozen=True)
class Clip:
    """One video file: it shows `person` in scene `number` and, if `method` is faceswap, with the face of `donor`."""

    person: int
    number: int
    folder: str = "Celeb-real"
    method: str = "real"
    donor: int = -1

    @property
    def path(self) -> str:
        """The path of the file below the root, with a name as in Celeb-DF."""
        if self.folder == "YouTube-real":
            return f"{self.folder}/{self.number:05d}.mp4"
        face = f"id{self.person}" if self.method == "real" else f"id{self.person}_id{self.donor}"
        return f"{self.folder}/{face}_{self.number:04d}.mp4"


def clips(people: int) -> list[Clip]:
    """List all clips: three per person, each with a forgery by a different method, and the clips in YouTube-real.

    Celeb-DF's file names do not contain the method, so each fake needs its own source clip. A resynthesised or
    temporal forgery shows the person's own face, but its file name needs a donor. The donor in the name is therefore
    someone of the same group, as for a face swap.
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
    """Return the clips of the test list: those of the last `test_people` people, and the same share of YouTube-real."""
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
    progress: Progress | None = None,
) -> None:
    """Render the demo videos; files of an earlier call with the same arguments are kept.

    Args:
        root: A new folder, or the folder of an earlier call with the same arguments.
        people: Number of people with forgeries, a multiple of 3; YouTube-real shows `people` / 3 other people.
        test_people: Number of people with forgeries who are on the test list, a multiple of 3.
        frames: Number of frames per clip, at 25 frames per second.
        difficulty: How difficult it is to detect the forgeries, from 0 (obvious) to 1 (faint).
        seed: Random seed; together with the arguments above (without `root`), it determines every byte.
        workers: Number of processes; does not affect the files.
        progress: Called with (clips done, total); None for no call.

    Raises:
        ValueError: An argument is out of range, or `root` has files but was not filled with the same arguments.
    """
    _check(people, test_people, frames, difficulty, seed, workers)
    root = Path(root)
    every = clips(people)
    arguments = {"version": VERSION, "people": people, "test_people": test_people, "frames": frames,
                 "difficulty": float(difficulty), "seed": seed}  # fmt: skip
    job = partial(_write, root=root, frames=frames, difficulty=difficulty, seed=seed)
    fill(root, arguments, Jobs(every, lambda clip: (root / clip.path).exists(), job), workers, progress)
    _write_tables(root, every, held_out(people, test_people))


def _check(people: int, test_people: int, frames: int, difficulty: float, seed: int, workers: int) -> None:
    wrong = []
    if people < 2 * GROUP or people % GROUP:
        wrong.append(
            f"people={people}: expected a multiple of {GROUP}, at least {2 * GROUP}; faces are swapped within "
            "groups of this size"
        )
    if not GROUP <= test_people < people or test_people % GROUP:
        wrong.append(
            f"test_people={test_people}: expected a multiple of {GROUP}, at least {GROUP} and smaller than people"
        )
    if frames < 2:
        wrong.append(f"frames={frames}: expected at least 2, because the temporal forgery changes between frames")
    if not 0 <= difficulty <= 1:
        wrong.append(f"difficulty={difficulty}: expected a number from 0 (obvious) to 1 (faint)")
    if seed < 0:
        wrong.append(f"seed={seed}: expected 0 or more")
    if workers < 1:
        wrong.append(f"workers={workers}: expected at least 1")
    if wrong:
        raise ValueError("; ".join(wrong))


_person = lru_cache(maxsize=GROUP)(Person)


def _write(clip: Clip, root: Path, frames: int, difficulty: float, seed: int) -> None:
    """Render one clip. A fake has the same scene as its source clip, but its own random noise and forgery."""
    forged = METHODS.index(clip.method) + 1 if clip.method in METHODS else 0
    rng = np.random.default_rng([seed, 3, clip.person, clip.number, forged])
    scene = Scene([seed, 2, clip.person, clip.number], frames, FPS)
    slide = Slide(rng, difficulty, frames, flicker=clip.method == "temporal")
    forgery: Forgery | None = None
    if clip.method == "faceswap":
        forgery = FaceSwap(_person((seed, 1, clip.donor)), rng, difficulty)
    elif clip.method == "resynthesis":
        forgery = Resynthesis(rng, difficulty)
    # Each clip's quality is drawn independently, so that the file's size does not reveal the label.
    crf = int(np.random.default_rng([seed, 4, clip.person, clip.number, forged]).integers(*CRF, endpoint=True))
    frames_of_clip = film(_person((seed, 1, clip.person)), scene, slide, forgery, rng)
    write_video(root / clip.path, frames_of_clip, FPS, crf=crf, metadata=MARK)


def _write_tables(root: Path, every: list[Clip], test: list[Clip]) -> None:
    """Write the table of methods, and the test list in Celeb-DF's format (1 = REAL, no header, no final newline)."""
    write(root / "List_of_testing_videos.txt", "\n".join(f"{int(c.method == 'real')} {c.path}" for c in test))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "method"])
    writer.writerows([clip.path, clip.method] for clip in every if clip.method != "real")
    write(root / "methods.csv", table.getvalue())
