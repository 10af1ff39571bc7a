"""Examine one file with one or several trained detectors, and return a careful answer with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from unmask.inference import judge
from unmask.inference.caveats import caveats_of
from unmask.inference.evidence import with_heat, with_masks
from unmask.inference.examination import Answer, Examination, Facts, Model, Person, Progress, Reason
from unmask.inference.marks import marks_of
from unmask.inference.models import described, with_score
from unmask.inference.people import people_of
from unmask.inference.reach import looks_of, outside
from unmask.inference.reading import Reading, facts_of, facts_read, read_frames, versions
from unmask.inference.refuse import CannotAnalyse, bits_of, check_crops, check_frames, refusal, track_refusal
from unmask.inference.score import Score, Scorer
from unmask.inference.trials import Outcome, track_scores, tried
from unmask.media.crops import Crops
from unmask.media.kinds import MediaError
from unmask.runs.run import Run, is_demo

DEMO_RANGE = "was trained on rendered demo people, and the range in which it was measured is unknown"
UNREADABLE = (CannotAnalyse, MediaError, OSError, MemoryError)


def nothing(fraction: float, text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Inspection:
    """An examination and the scores behind it, which are needed for the drawing.

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
        runs: the runs of the detectors. The scores come from the first run. If the score of another run is on the
            other side of its threshold, the answer is inconclusive.
        calibration: `platt`, `temperature`, `isotonic` or `none`.
        trials: whether to score the file again after small changes; if a change flips the answer, it is inconclusive.
        explain: whether to compute heat maps.

    Raises:
        RunError: a run is not the finished run of a detector with weights.
        ValueError: `runs` is empty, or the calibration is unknown.
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
            progress: called with a fraction in [0, 1] and a description of the current step.

        Raises:
            RunError: the weights or the scores of a run are not finite.
        """
        return self.inspect(path, progress).examination

    def inspect(self, path: Path, progress: Progress = nothing) -> Inspection:
        """Examine one file, as `examine` does, and also return the scores."""
        first = self.scorers[0]
        progress(0.0, "reading the file")
        facts = facts_of(path)
        about = versions(first.recipe, facts.kind == "picture", first.engine.library)
        try:
            reading = read_frames(path, first.recipe)
            facts = facts_read(facts, reading, first.recipe)
            check_frames(reading, facts, first)
            progress(0.15, "searching for faces" if first.recipe.option == "faces" else "preparing the frames")
            crops = first.recipe.cut(reading.frames, reading.numbers, reading.times)
            check_crops(crops, first)
        except UNREADABLE as error:
            marks = marks_of(path, None) if facts.kind else ()
            refused = Examination(Answer.CANNOT_ANALYSE, (refusal(error),), facts, marks=marks, versions=about)
            return Inspection(refused, None, first)
        progress(0.5, "scoring")
        scored = first.score_crops(crops, self.calibration)
        case = Case(path, facts, reading, scored)
        found = self._examined(case, progress)
        progress(1.0, "done")
        return Inspection(replace(found, versions=about), scored, first)

    def _examined(self, case: "Case", progress: Progress) -> Examination:
        """Collect the evidence about a scored file, and draw the conclusion."""
        first, scored = self.scorers[0], case.scored
        others = [self._other(scorer, case) for scorer in self.scorers[1:]]
        models = (self._model(first, scored), *(other.model for other in others if other.model is not None))
        progress(0.6, "scoring again after small changes" if self.trials else "comparing with the validation data")
        outcomes = tried(first, case.reading, scored) if self.trials else []
        doubts = self._doubts(models, others)
        people = self._people(case, outcomes, others, doubts)
        progress(0.8, "drawing heat maps" if self.explain else "reading marks")
        if self.explain:
            people = with_heat(people, first, case.scored.samples)
        for scorer, crops in [(first, scored.crops), *((other.scorer, other.crops) for other in others)]:
            if scorer.run.kind == "segmenter" and crops is not None:
                people = with_masks(people, scorer, crops)
        answer, reasons = judge.concluded(people, doubts)
        return Examination(
            answer, reasons, case.facts, models, people,
            trials=tuple(outcome.trial for outcome in outcomes),
            marks=marks_of(case.path, case.reading.frames),
            caveats=caveats_of(first, scored.crops, people, case.facts),
        )  # fmt: skip

    def _people(
        self, case: "Case", outcomes: Sequence[Outcome], others: Sequence["Other"], doubts: Sequence[Reason]
    ) -> tuple[Person, ...]:
        """Return the people with their answers."""
        first, crops = self.scorers[0], case.scored.crops
        cut = first.thresholds["video"]
        people = people_of(case.scored, first.run.calibration(self.calibration))
        measured = first.run.measured
        looks = {} if measured is None else looks_of(case.scored, bits_of(case.facts))
        what = "face" if first.recipe.option == "faces" else "picture"
        scores, judged = track_scores(case.scored, cut), list[Person]()
        same = {other.name: other.tracks for other in others if other.tracks is not None}
        general = [doubt for doubt in doubts if not (doubt.code == "runs_disagree" and same)]
        for person in people:
            track = person.number - 1
            above = scores[track].above
            own = [
                track_refusal(crops, track, first),
                judge.unstable(track, person.score, above, outcomes),
                judge.track_disagreement(track, above, same),
            ]
            reasons = [*general, *(reason for reason in own if reason is not None)]
            reasons += [] if measured is None else outside(looks[track], measured, what)
            judged.append(judge.judged(person, above, reasons))
        return tuple(judged)

    def _other(self, scorer: Scorer, case: "Case") -> "Other":
        """Score a file with another run; the crops of the first run are reused if both recipes are equal."""
        first = self.scorers[0]
        same = scorer.recipe.describe() == first.recipe.describe()
        try:
            if same:
                crops = case.scored.crops
            else:
                reading = read_frames(case.path, scorer.recipe)
                check_frames(reading, case.facts, scorer)
                crops = scorer.recipe.cut(reading.frames, reading.numbers, reading.times)
            check_crops(crops, scorer)
        except UNREADABLE as error:
            return Other(scorer, failure=refusal(error).text)
        scored = scorer.score_crops(crops, self.calibration)
        tracks = {track: one.above for track, one in track_scores(scored, scorer.thresholds["video"]).items()}
        return Other(scorer, self._model(scorer, scored), crops, tracks if same else None)

    def _model(self, scorer: Scorer, scored: Score) -> Model:
        return with_score(self._models[self.scorers.index(scorer)], scorer, scored, self.calibration)

    @cached_property
    def _models(self) -> list[Model]:
        """The description of each run, which is the same for all files."""
        return [described(scorer) for scorer in self.scorers]

    def _doubts(self, models: Sequence[Model], others: Sequence["Other"]) -> list[Reason]:
        """Return the reasons why no answer for this file can be relied on."""
        found = [
            Reason("unreliable_run", f"the run {scorer.run.name}: {remark}")
            for scorer in self.scorers
            for remark in scorer.run.remarks
        ]
        found += [
            Reason("unreliable_run", f"the run {scorer.run.name} {DEMO_RANGE}")
            for scorer in self.scorers
            if is_demo(scorer.run.config["data"]) and scorer.run.measured is None
        ]
        found += [
            Reason("run_failed", f"the run {other.name} could not score the file: {other.failure}")
            for other in others
            if other.model is None
        ]
        clash = judge.disagreement(models)
        return found + ([] if clash is None else [clash])


@dataclass(frozen=True)
class Case:
    """A file that was scored by the first run."""

    path: Path
    facts: Facts
    reading: Reading
    scored: Score


@dataclass(frozen=True)
class Other:
    """The result of another run.

    Attributes:
        scorer: the run.
        model: the result; None if the run could not score the file.
        crops: the crops that the run scored.
        tracks: for each track, whether its score is above the run's threshold; None if the run's recipe differs from
            that of the first run.
        failure: why the run could not score the file.
    """

    scorer: Scorer
    model: Model | None = None
    crops: Crops | None = None
    tracks: dict[int, bool] | None = None
    failure: str = ""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.scorer.run.name
