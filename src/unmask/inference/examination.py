"""The result of the examination of one file: the answer, the reasons for it, and the evidence.

The classes are plain records without the pixels of whole frames. They can be sent from a worker process to a server,
written as JSON and rendered as a page.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from unmask.runs.figures import without_nan

Progress = Callable[[float, str], None]  # called with a fraction in [0, 1] and a description of the current step


class Answer(StrEnum):
    """The answer to the question whether a file shows signs of manipulation. No answer says that a file is real."""

    SIGNS = "signs of manipulation"
    NO_SIGNS = "no signs found"
    INCONCLUSIVE = "inconclusive"
    CANNOT_ANALYSE = "cannot analyse"

    @property
    def exit_code(self) -> int:
        """The exit status of `unmask predict`: 0 no signs, 10 signs, 20 inconclusive, 30 cannot analyse."""
        return {Answer.NO_SIGNS: 0, Answer.SIGNS: 10, Answer.INCONCLUSIVE: 20, Answer.CANNOT_ANALYSE: 30}[self]


@dataclass(frozen=True)
class Reason:
    """One reason for an answer.

    Attributes:
        code: a name for programs, such as `no_face`, `too_small`, `unstable`, `runs_disagree`.
        text: one sentence for people.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Facts about the file.

    Attributes:
        name: the file's name, without its folder.
        sha256: the hash of its bytes, in hexadecimal.
        size: bytes.
        kind: `picture`, `video` or `sound` (a file without pictures); None if the file is unreadable.
        width: px, as displayed (after rotation); None if unknown.
        height: px, as displayed; None if unknown.
        duration: s; None for a picture or if unknown.
        frames: number of frames of a video; 1 for a picture; None if unknown.
        read: number of frames that were examined.
        details: other facts, such as codec, container and decoder.
    """

    name: str
    sha256: str | None = None
    size: int | None = None
    kind: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    frames: int | None = None
    read: int = 0
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """One scored frame or clip of one person.

    Attributes:
        time: s from the start of the file; 0 for a picture.
        frame: number of the frame.
        score: probability by the first run, in [0, 1], not calibrated.
        crop: the scored crop as a small JPEG; empty if the report does not show this moment.
        heat: the crop with the heat map of the first run ("where the model looked") as a JPEG; may be empty.
        mask: the manipulated area as a localising run predicts it, as a PNG; may be empty.
        area: share of the crop that is manipulated according to this run (probability above 0.5), in [0, 1]; None
            without a mask.
    """

    time: float
    frame: int
    score: float
    crop: bytes = b""
    heat: bytes = b""
    mask: bytes = b""
    area: float | None = None


@dataclass(frozen=True)
class Person:
    """One face track of the file, the whole picture if the run's recipe does not search for faces, or the sound.

    Attributes:
        number: 1 is the main face.
        answer: the answer for this person alone.
        score: mean probability over the moments, by the first run, in [0, 1].
        calibrated: the calibrated probability by the first run; None if the run has no calibration.
        box: mean box [x0, y0, x1, y1], px.
        side: median shorter side of the box, px.
        moments: sorted by time; those with the highest and the lowest scores have crops.
        reasons: the reasons for this person's answer; empty unless it is inconclusive.
        above: whether the score is above the threshold of the run, regardless of the answer.
        sees: what was scored: `face`, `image` (the whole picture) or `sound`. For sound, `box` and `side` are 0, and
            the moments are windows, whose crops are spectrograms.
        model: position of the run that gave the scores, in `Examination.models`.
    """

    number: int
    answer: Answer
    score: float
    calibrated: float | None
    box: tuple[float, float, float, float]
    side: float
    moments: tuple[Moment, ...]
    reasons: tuple[Reason, ...] = ()
    above: bool = False
    sees: str = "face"
    model: int = 0


@dataclass(frozen=True)
class Trial:
    """The file's score after a small change that does not change what it shows.

    Attributes:
        name: the change in words, such as `saved again as JPEG, quality 75`.
        score: probability by the first run, in [0, 1]; None if the changed file could not be scored.
        above_threshold: whether this score is above the threshold; None if it could not be scored.
    """

    name: str
    score: float | None
    above_threshold: bool | None


@dataclass(frozen=True)
class Model:
    """One run's result for the file.

    Attributes:
        run: the run folder, as given.
        name: network and training data, in words.
        weights: SHA-256 of the checkpoint.
        score: probability, in [0, 1], of the face with the highest score.
        calibrated: the calibrated probability; None without a calibration.
        calibration: the method of the calibration and the data to which it was fitted, in words.
        threshold: the run's threshold for videos or pictures, in [0, 1].
        above_threshold: whether `score` is above it.
        errors: how often the threshold errs on the run's test split, in words.
        summary: network, data, seed, date and main metric of the run, in words.
        sees: what the detector sees or hears: `face`, `image` or `sound`.
        items: the kind of the run's items: `videos`, `images` or `recordings`.
        scored: number and kind of the scored samples, in words, such as `8 frames`.
    """

    run: str
    name: str
    weights: str
    score: float
    calibrated: float | None
    calibration: str
    threshold: float
    above_threshold: bool
    errors: str = ""
    summary: str = ""
    sees: str = "face"
    items: str = "videos"
    scored: str = ""


@dataclass(frozen=True)
class Examination:
    """The result for one file.

    Attributes:
        answer: one of the four answers; none of them is "real".
        reasons: the reasons for the answer; at least one if it is inconclusive or the file cannot be analysed.
        facts: facts about the file.
        models: the result of each run that scored the file; empty if the file cannot be analysed.
        people: one record per face track that was scored, and one per run that scored the sound.
        trials: scores after small changes.
        sound_trials: scores of the sound after small changes, by the first run for sound.
        marks: marks of generators in the file, in words.
        caveats: what cannot be concluded for this file, in words.
        versions: versions of unmask and of the libraries that decoded and scored the file.
    """

    answer: Answer
    reasons: tuple[Reason, ...]
    facts: Facts
    models: tuple[Model, ...] = ()
    people: tuple[Person, ...] = ()
    trials: tuple[Trial, ...] = ()
    sound_trials: tuple[Trial, ...] = ()
    marks: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """Probability by the first run, in [0, 1]; None if the file was not scored."""
        return self.models[0].score if self.models else None

    @property
    def faces(self) -> tuple[Person, ...]:
        """The people, or the whole picture, without the sound."""
        return tuple(person for person in self.people if person.sees != "sound")

    @property
    def voices(self) -> tuple[Person, ...]:
        """The results for the sound."""
        return tuple(person for person in self.people if person.sees == "sound")

    def as_dict(self) -> dict[str, object]:
        """Return all fields except the pictures as a dictionary for JSON; NaN becomes None."""
        found = asdict(self)
        for person in found["people"]:
            for moment in person["moments"]:
                for picture in ("crop", "heat", "mask"):
                    del moment[picture]
        plain = without_nan(found)
        assert isinstance(plain, dict)
        return plain
