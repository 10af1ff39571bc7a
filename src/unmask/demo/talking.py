"""Demo clips of people who talk, in the layout of FakeAVCeleb (arXiv:2108.05080): sound in time with the mouth, or not.

In the two kinds of forgery, sound and image are genuine, but do not belong together: `other_sound` has the sound of
another clip of the same person, and in `other_mouth` the mouth was rendered to other words. Neither the sound nor the
image alone shows that.
"""

import csv
import io
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.demo.channels import at_level, draw_channel, record
from unmask.demo.folder import Jobs, Progress, fill, write
from unmask.demo.forgeries import Slide, film
from unmask.demo.people import Person, Pose
from unmask.demo.scenes import Scene
from unmask.demo.speech import RATE, STEP, Random, Speaker, Speech, draw_speaker, speak
from unmask.demo.throat import synthesise
from unmask.media.encode import write_video
from unmask.media.encode_sound import write_flac
from unmask.media.pcm import to_int16

VERSION = 2  # increment when rendered clips change, so that folders of older versions are rejected
FPS = 25.0
CRF = (17, 24)  # range of x264's CRF, which is drawn for each clip, real or fake
#: method -> type of FakeAVCeleb
METHODS = {"other_sound": "RealVideo-FakeAudio", "other_mouth": "FakeVideo-RealAudio"}
MARK = {"comment": "synthetic: rendered by unmask demo", "synthetic": "true"}  # on both real and fake clips
COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")


@dataclass(frozen=True)
class Clip:
    """One clip: `person` in scene `number`, and what is heard and what the mouth says (numbers of utterances)."""

    person: int
    number: int
    heard: int
    mouthed: int
    method: str = "real"

    @property
    def folder(self) -> str:
        """The folder below the root."""
        return f"{METHODS.get(self.method, 'RealVideo-RealAudio')}/demo/demo/id{self.person:05d}"

    @property
    def path(self) -> str:
        """The path of the file below the root."""
        forged = "" if self.method == "real" else f"_{self.method}"
        return f"{self.folder}/{self.number:05d}{forged}.mp4"


def clips(people: int, each: int) -> list[Clip]:
    """List all clips: `each` real ones per person, and a forgery of each real one; the two kinds take turns.

    Utterance k of a person is spoken in real clip k. Utterances from `each` on are spoken in no real clip.
    """
    made = list[Clip]()
    for person in range(people):
        for number in range(each):
            method = list(METHODS)[(person + number) % len(METHODS)]
            other = each + number
            made.append(Clip(person, number, number, number))
            heard, mouthed = (other, number) if method == "other_sound" else (number, other)
            made.append(Clip(person, number, heard, mouthed, method))
    return made


def render_talking(
    root: Path,
    *,
    people: int = 24,
    each: int = 4,
    frames: int = 50,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Render the clips; files of an earlier call with the same arguments are kept.

    Args:
        root: A new folder, or the folder of an earlier call with the same arguments.
        people: Number of people, at least 2.
        each: Number of real clips per person, and of forged ones.
        frames: Number of frames per clip, at 25 frames per second, at least 10.
        seed: Random seed; together with the arguments above (without `root`), it determines every file.
        workers: Number of processes; does not affect the files.
        progress: Called with (clips done, total); None for no call.

    Raises:
        ValueError: An argument is out of range, or `root` has files but was not filled with the same arguments.
    """
    for name, value, least in (("people", people, 2), ("each", each, 1), ("frames", frames, 10), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name}={value}: expected at least {least}")
    root, every = Path(root), clips(people, each)
    arguments = {"version": VERSION, "people": people, "each": each, "frames": frames, "seed": seed}
    job = partial(_write, root=root, frames=frames, seed=seed)
    fill(root, arguments, Jobs(every, lambda clip: (root / clip.path).exists(), job), workers, progress)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(clip) for clip in every)
    write(root / "meta_data.csv", table.getvalue())


def mouths(poses: list[Pose], speech: Speech) -> list[Pose]:
    """Return poses whose mouth moves with an utterance; the first pose is at the start of the utterance."""
    times = np.arange(len(poses)) / FPS
    opened = np.interp(times, (np.arange(len(speech.mouth)) + 0.5) * STEP / RATE, speech.mouth, right=0.0)
    return [replace(pose, mouth=float(mouth)) for pose, mouth in zip(poses, opened, strict=True)]


def words_for(speaker: Speaker, samples: int, r: Random) -> tuple[Speech, NDArray[np.float64]]:
    """Let a speaker talk for this number of samples, or until a little later; return the speech and its sound [S]."""
    speech = speak(speaker, r)
    while speech.samples < samples:
        speech = joined(speech, speak(speaker, r))
    return speech, synthesise(speaker, speech, r)


def joined(one: Speech, other: Speech) -> Speech:
    """Return two utterances, one after the other."""
    words = (*one.words, *((a + len(one.pitch), b + len(one.pitch)) for a, b in other.words))
    names = ("pitch", "formants", "voice", "breath", "noise", "centre", "mouth")
    return Speech(**{name: np.concatenate([vars(one)[name], vars(other)[name]]) for name in names}, words=words)


def _row(clip: Clip) -> list[str]:
    category = "A" if clip.method == "real" else "B" if clip.method == "other_sound" else "C"
    kind, *_, person = clip.folder.split("/")
    file = clip.path.rpartition("/")[2]
    return [person, "-", "-", clip.method, category, kind, "demo", "demo", file, f"FakeAVCeleb/{clip.folder}"]


_person = lru_cache(maxsize=4)(Person)


def _write(clip: Clip, root: Path, frames: int, seed: int) -> None:
    forged = list(METHODS).index(clip.method) + 1 if clip.method in METHODS else 0
    r = np.random.default_rng([seed, 5, clip.person, clip.number, forged])
    samples = round(frames / FPS * RATE)
    speaker = draw_speaker(np.random.default_rng([seed, 1, clip.person]))
    said = {
        number: words_for(speaker, samples, np.random.default_rng([seed, 4, clip.person, number]))
        for number in {clip.heard, clip.mouthed}
    }
    wave = at_level(record(said[clip.heard][1], draw_channel(r), r)[:samples], r)
    scene = Scene([seed, 2, clip.person, clip.number], frames, FPS)
    scene.poses = mouths(scene.poses, said[clip.mouthed][0])
    slide = Slide(r, 0.6, frames)
    crf = int(r.integers(*CRF, endpoint=True))
    sound = root / f"{clip.path}.sound000flac.tmp"  # named like an unfinished file, so that a later call removes it
    write_flac(sound, to_int16(wave.astype(np.float32)))
    try:
        shown = film(_person((seed, 1, clip.person)), scene, slide, None, r)
        write_video(root / clip.path, shown, FPS, crf=crf, metadata=MARK, sound=sound)
    finally:
        sound.unlink(missing_ok=True)
