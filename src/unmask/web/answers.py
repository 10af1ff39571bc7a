"""The answers of the server: models with types and descriptions, from which the OpenAPI description is made."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unmask.inference.examination import Answer, Examination, Moment
from unmask.runs.figures import without_nan

Fraction = Annotated[float, Field(ge=0, le=1)]
State = Literal["waiting", "running", "done", "failed"]
Kind = Literal["crop", "heat", "mask"]
NOT_PROOF = (
    "A score is evidence, not proof. This answer does not say whether what the file shows is true.",
    "“No signs found” does not mean that the file is real: the detector knows only the fakes it was trained on.",
    "Files that were sent through messengers or social networks are often compressed; this changes scores.",
)


class Model(BaseModel):
    """Base class of all answers. An answer can be built from a record with the same attributes."""

    model_config = ConfigDict(from_attributes=True)


class Problem(Model):
    """Why a request failed. Every error has this form."""

    code: str = Field(description="a name for programs, such as `queue_full`", examples=["queue_full"])
    message: str = Field(description="one or two sentences for people")
    retry_after: int | None = Field(default=None, description="seconds after which a new attempt makes sense")


class Reason(Model):
    """One reason for an answer."""

    code: str = Field(description="a name for programs, such as `no_face`")
    text: str = Field(description="one sentence for people")


class Facts(Model):
    """Facts about the file."""

    name: str = Field(description="the name that was uploaded, without folders and control characters")
    sha256: str | None = Field(description="hash of the bytes, in hexadecimal")
    size: int | None = Field(description="bytes")
    kind: str | None = Field(description="`picture` or `video`; null if unreadable")
    width: int | None = Field(description="px, as displayed")
    height: int | None = Field(description="px, as displayed")
    duration: float | None = Field(description="s; null for a picture")
    frames: int | None = Field(description="number of frames")
    read: int = Field(description="number of frames that were examined")
    details: dict[str, str] = Field(description="other facts, such as codec and container")


class ScoredMoment(Model):
    """One scored frame or clip of one person."""

    time: float | None = Field(description="s from the start; null if unknown")
    frame: int = Field(description="number of the frame")
    score: float | None = Field(description="probability by the first run, in [0, 1], not calibrated")
    area: float | None = Field(description="share of the crop that a localising run predicts as manipulated, in [0, 1]")
    pictures: list[Kind] = Field(description="kinds available at `GET /jobs/{id}/people/{number}/{moment}/{kind}`")


class Person(Model):
    """One face that was followed through the file, the whole picture, or the sound."""

    number: int = Field(description="1 is the main face")
    answer: Answer
    score: float | None = Field(description="mean probability over the moments, in [0, 1]")
    calibrated: float | None = Field(description="calibrated probability; null without calibration")
    box: list[float | None] = Field(description="mean box [x0, y0, x1, y1], px")
    side: float | None = Field(description="median shorter side of the box, px")
    moments: list[ScoredMoment] = Field(description="sorted by time; of the sound, windows with spectrograms as crops")
    reasons: list[Reason]
    sees: Literal["face", "image", "sound"] = Field(description="what was scored")
    model: int = Field(description="position of the run that gave the scores, in `models`")


class Trial(Model):
    """The file's score after a small change that does not change what it shows."""

    name: str = Field(description="the change, in words")
    score: float | None = Field(description="probability, in [0, 1]; null if it could not be scored")
    above_threshold: bool | None


class ModelResult(Model):
    """One run's result for the file."""

    run: str = Field(description="name of the run folder")
    name: str = Field(description="network and training data, in words")
    weights: str = Field(description="SHA-256 of the checkpoint")
    score: float | None = Field(description="probability, in [0, 1], of the face with the highest score")
    calibrated: float | None
    calibration: str = Field(description="its method and the data to which it was fitted, in words")
    threshold: float | None = Field(description="the run's threshold, in [0, 1]")
    above_threshold: bool


class Examined(Model):
    """The answer for one file. No answer says that a file is real."""

    answer: Answer
    reasons: list[Reason] = Field(description="at least one if the answer is inconclusive or the file was not analysed")
    not_proof: list[str] = Field(default=list(NOT_PROOF), description="what this answer does not tell")
    caveats: list[str] = Field(description="what cannot be concluded for this file")
    facts: Facts
    models: list[ModelResult] = Field(description="one per run; empty if the file was not analysed")
    people: list[Person]
    trials: list[Trial]
    sound_trials: list[Trial]
    marks: list[str] = Field(description="marks of generators in the file, in words")
    versions: dict[str, str]

    @classmethod
    def of(cls, found: Examination) -> "Examined":
        """Return the answer without pictures; NaN becomes null."""
        plain = without_nan(found.as_dict())
        assert isinstance(plain, dict)
        for person, given in zip(plain["people"], found.people, strict=True):
            for moment, seen in zip(person["moments"], given.moments, strict=True):
                moment["pictures"] = pictures(seen)
        for model in plain["models"]:  # clients do not get the full path of the run folder
            model["run"] = model["run"].replace("\\", "/").rstrip("/").rpartition("/")[2]
        return cls.model_validate(plain)


def pictures(moment: Moment) -> list[Kind]:
    """Return which pictures a moment has."""
    kinds: tuple[Kind, ...] = ("crop", "heat", "mask")
    found = {"crop": moment.crop, "heat": moment.heat, "mask": moment.mask}
    return [kind for kind in kinds if found[kind]]


class Job(Model):
    """A file that is waiting, is being examined or was examined."""

    id: str = Field(description="random; anyone who knows the ID can read the result")
    state: State
    place: int | None = Field(description="number of waiting files ahead of this one; null unless it is waiting")
    fraction: Fraction = Field(description="progress")
    doing: str = Field(description="the current step, in words")
    result: Examined | None = Field(description="the answer; null unless the state is `done`")
    problem: Problem | None = Field(description="why the job failed; null unless the state is `failed`")


class ModelCard(Model):
    """One detector that the server runs."""

    name: str = Field(description="name of the preset")
    summary: str = Field(description="network, training data, seed, date and main metric")
    kind: str = Field(description="`detector` or `segmenter`")
    weights: str = Field(description="SHA-256 of the checkpoint")
    threshold: float | None = Field(description="threshold for a file, in [0, 1], chosen on validation data")
    faces: bool = Field(description="whether faces are searched; otherwise, the whole picture is scored")
    demo: bool = Field(description="whether it was trained on rendered demo people and says nothing about real faces")
    remarks: list[str] = Field(description="warnings about the run")


class About(Model):
    """The detectors and the limits of this server."""

    version: str = Field(description="version of unmask")
    models: list[ModelCard]
    limits: dict[str, float] = Field(description="see docs/serving.md")
    formats: list[str] = Field(description="formats that are accepted; the content of a file counts, not its name")
    sandbox: list[str] = Field(description="the measures in force that confine the processes that read files")


class Health(Model):
    """Whether the server can examine files."""

    status: Literal["ok", "starting"]
    processes: int = Field(description="number of processes that are ready")
    waiting: int = Field(description="number of files that wait")
