"""The demo voices: rendered speakers and forgeries of their speech, in the layout of ASVspoof 2019 LA.

A forgery is made from the speech of a real recording, but recorded by another channel and scaled to another level, so
that length, pauses, noise and level are distributed alike for real and forged speech.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from unmask.demo.channels import at_level, draw_channel, record
from unmask.demo.folder import Jobs, Progress, fill, write
from unmask.demo.speech import Speaker, draw_speaker, speak
from unmask.demo.throat import Wave, synthesise
from unmask.demo.voice_forgeries import METHODS, convert, resynthesise, splice
from unmask.media.encode_sound import write_flac
from unmask.media.pcm import RATE, to_int16

VERSION = 2  # increment when rendered samples change, so that folders of older versions are rejected
SETS = ("train", "dev", "eval")
MARK = {"comment": "synthetic: rendered by unmask demo", "synthetic": "true"}  # in real and fake files alike
# Range of the size of a file, bytes per second, above that of all FLAC files: a vocoder changes how well speech can be
# compressed, and the size must not reveal this. The rest of the file is padding.
SIZES = (34_000, 42_000)
APART = 0.08  # minimum difference of the logarithms of two vocal tracts for a conversion
FEWEST = 6  # speakers


@dataclass(frozen=True)
class Utterance:
    """One recording: utterance `number` of `speaker`, real or forged by `method`."""

    part: str  # one of SETS
    speaker: int
    number: int
    method: str = "real"

    @property
    def name(self) -> str:
        """The name of the file without suffix, as in ASVspoof 2019."""
        forged = METHODS.index(self.method) + 1 if self.method in METHODS else 0
        return f"LA_{self.part[0].upper()}_{self.speaker:03d}{self.number:03d}{forged}"

    @property
    def path(self) -> str:
        """The path of the file below the root."""
        return f"ASVspoof2019_LA_{self.part}/flac/{self.name}.flac"


def part_of(speaker: int, speakers: int, test_speakers: int) -> str:
    """Return the set of a speaker: the last ones are for evaluation, an eighth of all before them for development."""
    first_test = speakers - test_speakers
    first_dev = first_test - max(2, speakers // 8)
    return SETS[int(speaker >= first_dev) + int(speaker >= first_test)]


def utterances(speakers: int, test_speakers: int, each: int) -> list[Utterance]:
    """List all recordings: `each` real ones per speaker, and a forgery of each real one; methods take turns."""
    made = list[Utterance]()
    for speaker in range(speakers):
        part = part_of(speaker, speakers, test_speakers)
        for number in range(each):
            made.append(Utterance(part, speaker, number))
            made.append(Utterance(part, speaker, number, METHODS[(number + speaker) % len(METHODS)]))
    return made


def render_voices(
    root: Path,
    *,
    speakers: int = 28,
    test_speakers: int = 8,
    each: int = 8,
    difficulty: float = 0.5,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Render the demo voices; files of an earlier call with the same arguments are kept.

    Args:
        root: A new folder, or the folder of an earlier call with the same arguments.
        speakers: Number of speakers.
        test_speakers: Number of speakers in the evaluation set; an eighth of all speakers is in the development set.
        each: Number of real recordings per speaker, and of forged ones.
        difficulty: How difficult it is to detect the forgeries, from 0 (obvious) to 1 (faint).
        seed: Random seed; together with the arguments above (without `root`), it determines every sample.
        workers: Number of processes; does not affect the files.
        progress: Called with (recordings done, total); None for no call.

    Raises:
        ValueError: An argument is out of range, or `root` has files but was not filled with the same arguments.
    """
    _check(speakers, test_speakers, each, difficulty, seed, workers)
    root = Path(root)
    every = utterances(speakers, test_speakers, each)
    arguments = {"version": VERSION, "speakers": speakers, "test_speakers": test_speakers, "each": each,
                 "difficulty": float(difficulty), "seed": seed}  # fmt: skip
    members = {part: tuple({one.speaker: None for one in every if one.part == part}) for part in SETS}
    job = partial(_write, root=root, members=members, difficulty=difficulty, seed=seed)
    fill(root, arguments, Jobs(every, lambda one: (root / one.path).exists(), job), workers, progress)
    for part, suffix in zip(SETS, ("trn", "trl", "trl"), strict=True):
        name = f"ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{part}.{suffix}.txt"
        write(root / name, "".join(_line(one) for one in every if one.part == part))


def _line(one: Utterance) -> str:
    attack, key = ("-", "bonafide") if one.method == "real" else (one.method, "spoof")
    return f"V_{one.speaker:03d} {one.name} - {attack} {key}\n"


def _check(speakers: int, test_speakers: int, each: int, difficulty: float, seed: int, workers: int) -> None:
    wrong = []
    if not FEWEST <= speakers <= 999:
        wrong.append(f"speakers={speakers}: expected {FEWEST} to 999")
    if not 2 <= test_speakers <= speakers - max(2, speakers // 8) - 2:
        wrong.append(
            f"test_speakers={test_speakers}: expected at least 2, and at least 2 other speakers for training and for "
            "development"
        )
    if not 1 <= each <= 999:
        wrong.append(f"each={each}: expected 1 to 999 recordings per speaker")
    if not 0 <= difficulty <= 1:
        wrong.append(f"difficulty={difficulty}: expected a number from 0 (obvious) to 1 (faint)")
    if seed < 0:
        wrong.append(f"seed={seed}: expected 0 or more")
    if workers < 1:
        wrong.append(f"workers={workers}: expected at least 1")
    if wrong:
        raise ValueError("; ".join(wrong))


def _write(one: Utterance, root: Path, members: dict[str, tuple[int, ...]], difficulty: float, seed: int) -> None:
    forged = METHODS.index(one.method) + 1 if one.method in METHODS else 0
    r = np.random.default_rng([seed, 3, one.speaker, one.number, forged])
    wave = at_level(_recorded(one, members[one.part], r, difficulty, seed), r)
    path, sound = root / one.path, to_int16(wave.astype(np.float32))
    wanted = round(r.uniform(*SIZES) * len(sound) / RATE)
    write_flac(path, sound, MARK)
    write_flac(path, sound, MARK, max(0, wanted - path.stat().st_size))


def _recorded(one: Utterance, group: Sequence[int], r: np.random.Generator, difficulty: float, seed: int) -> Wave:
    """Return a real or forged recording; all kinds of forgery pass through a room, a microphone and noise."""
    own = _speaker(seed, one.speaker)
    said = np.random.default_rng([seed, 2, one.speaker, one.number])
    speech = speak(own, said)
    wave = synthesise(own, speech, said)
    if one.method == "resynthesis":
        wave = resynthesise(wave, speech, r, difficulty)
    elif one.method == "conversion":
        wave = convert(wave, own, _other(own, one.speaker, group, r, seed), r, difficulty)
    heard = record(wave, draw_channel(r), r)
    if one.method != "splice":
        return heard
    second = speak(own, r)
    donor = record(synthesise(own, second, r), draw_channel(r), r)
    return splice(heard, speech, donor, second, r)


@lru_cache(maxsize=64)
def _speaker(seed: int, number: int) -> Speaker:
    return draw_speaker(np.random.default_rng([seed, 1, number]))


def _other(own: Speaker, number: int, group: Sequence[int], r: np.random.Generator, seed: int) -> Speaker:
    """Draw another speaker of the same set, whose vocal tract has a clearly different length if possible."""
    others = [_speaker(seed, one) for one in group if one != number]
    apart = [abs(float(np.log(one.tract / own.tract))) for one in others]
    fitting = [one for one, far in zip(others, apart, strict=True) if far >= APART]
    return fitting[r.integers(len(fitting))] if fitting else others[int(np.argmax(apart))]
