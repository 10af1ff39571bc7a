"""Examine one file with one or several trained detectors, and give a careful answer with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.data.recipe import Recipe
from unmask.files import file_hash, printable
from unmask.inference.examination import Answer, Examination, Facts, Model, Person, Progress, Reason
from unmask.inference.people import people_of
from unmask.inference.reading import Reading, facts_of, facts_read, read_frames, versions
from unmask.inference.score import Score, Scorer
from unmask.media.crops import Crops
from unmask.media.kinds import MediaError, first_line
from unmask.runs.run import Run


def nothing(fraction: float, text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Inspection:
    """An examination and the data behind it, for drawing.

    Attributes:
        examination: the result.
        scored: the scores of the first run; None if the file could not be analysed.
        scorer: the first run.
    """

    examination: Examination
    scored: Score | None
    scorer: Scorer


class Examiner:
    """Trained detectors that examine one file after another. The weights are read once, at the first file.

    Args:
        runs: the runs of detectors. The first gives the scores. If another one decides differently, the answer is
            inconclusive.
        calibration: `platt`, `temperature`, `isotonic` or `none`.
        trials: whether the file is scored again after small changes; an answer that flips is inconclusive.
        explain: whether heat maps are computed.

    Raises:
        RunError: a run is not the finished run of a detector with weights.
        ValueError: there is no run, or the calibration is unknown.
    """

    def __init__(
        self, runs: Sequence[Run], calibration: str = "platt", trials: bool = True, explain: bool = True
    ) -> None:
        if not runs:
            raise ValueError("run=[]: expected the folder of at least one run")
        self.scorers = [Scorer(run) for run in runs]
        self.calibration, self.trials, self.explain = calibration, trials, explain
        for run in runs:
            run.calibration(calibration)

    def examine(self, path: Path, progress: Progress = nothing) -> Examination:
        """Examine one file. A file that cannot be read gets the answer `CANNOT_ANALYSE` with a reason.

        Args:
            path: a video or a picture.
            progress: called with a fraction in [0, 1] and with what is being done.

        Raises:
            RunError: the weights or the scores of a run are not finite.
        """
        return self.inspect(path, progress).examination

    def inspect(self, path: Path, progress: Progress = nothing) -> Inspection:
        """Examine one file, as `examine` does, and also return the scores."""
        first = self.scorers[0]
        progress(0.0, "reading the file")
        facts = facts_of(path)
        about = versions(first.recipe, facts.kind == "picture")
        try:
            reading = read_frames(path, first.recipe)
            facts = facts_read(facts, reading, first.recipe)
            progress(0.2, "searching for faces" if first.recipe.option == "faces" else "preparing the frames")
            crops = cut(first.recipe, reading)
        except (MediaError, OSError, MemoryError) as error:
            return Inspection(Examination(Answer.CANNOT_ANALYSE, (refusal(error),), facts, versions=about), None, first)
        progress(0.5, "scoring")
        scored = first.score_crops(crops, self.calibration)
        people = people_of(
            scored, first.samples(crops), first.thresholds["video"], first.run.calibration(self.calibration)
        )
        models = tuple(self._model(scorer, scored) for scorer in self.scorers[:1])
        answer, reasons = concluded(people)
        progress(1.0, "done")
        return Inspection(Examination(answer, reasons, facts, models, people, versions=about), scored, first)

    def _model(self, scorer: Scorer, scored: Score) -> Model:
        run = scorer.run
        return Model(
            run=printable(str(run.folder)),
            name=f"{run.name}, trained on {run.config['data']['name']}",
            weights=file_hash(run.checkpoint),
            score=scored.probability,
            calibrated=scored.calibrated,
            calibration=self.calibration,
            threshold=scored.threshold,
            above_threshold=scored.above_threshold,
        )


def cut(recipe: Recipe, reading: Reading) -> Crops:
    """Return the crops that a recipe takes from decoded frames.

    Raises:
        MediaError: no face is found.
    """
    return recipe.cut(reading.frames, reading.numbers, reading.times)


def refusal(error: BaseException) -> Reason:
    """Return why a file cannot be analysed."""
    text = first_line(error)
    return Reason("no_face" if text.startswith("no face found") else "unreadable", text)


def concluded(people: Sequence[Person]) -> tuple[Answer, tuple[Reason, ...]]:
    """Return the answer for a file, and the reasons for it, from the answers for its people."""
    answers = {person.answer for person in people}
    for answer in (Answer.SIGNS, Answer.INCONCLUSIVE):
        if answer in answers:
            return answer, tuple(reason for person in people if person.answer is answer for reason in person.reasons)
    return Answer.NO_SIGNS, ()


__all__ = ["Examiner", "Facts", "Inspection"]
