"""Examine one file with one or several trained detectors, and return a careful answer with its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from unmask.inference import judge
from unmask.inference.caveats import caveats_of, seen_by
from unmask.inference.evidence import with_heat, with_masks
from unmask.inference.examination import Answer, Examination, Facts, Model, Person, Progress, Reason
from unmask.inference.join import joined
from unmask.inference.listen import Heard, listened
from unmask.inference.marks import marks_of
from unmask.inference.models import described, with_score
from unmask.inference.people import people_of
from unmask.inference.reach import looks_of, outside
from unmask.inference.reading import Reading, cut, facts_of, facts_read, read_frames, versions
from unmask.inference.refuse import UNREADABLE, bits_of, check_crops, check_frames, refusal, track_refusal
from unmask.inference.score import Score, Scorer
from unmask.inference.trials import Outcome, track_scores, tried
from unmask.media.crops import Crops
from unmask.runs.run import Run, is_demo

DEMO_RANGE = "was trained on rendered demo people, and the range in which it was measured is unknown"


def nothing(fraction: float, text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Inspection:
    """An examination and the scores behind it, which are needed for the drawing.

    Attributes:
        examination: the result.
        scored: the scores of the first run for pictures; None if there are none.
        scorer: the first run for pictures, or for sound if there is no other.
    """

    examination: Examination
    scored: Score | None
    scorer: Scorer


class Examiner:
    """Trained detectors that examine one file after another. The weights are read once, at the first file.

    Args:
        runs: the runs of the detectors of pictures, of sound, or of both. The scores of the faces come from the first
            run for pictures. If the score of another run for pictures is on the other side of its threshold, the answer
            is inconclusive. Each run for sound has an answer of its own.
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
        scorers = [Scorer(run) for run in runs]
        self.scorers = [scorer for scorer in scorers if scorer.recipe.sees]
        self.hearing = [scorer for scorer in scorers if not scorer.recipe.sees]
        self.calibration, self.trials, self.explain = calibration, trials, explain
        for run in runs:
            run.calibration(calibration)

    def examine(self, path: Path, progress: Progress = nothing) -> Examination:
        """Examine one file. A file that cannot be read gets the answer `CANNOT_ANALYSE` with a reason.

        Args:
            path: a video, a picture or a sound file.
            progress: called with a fraction in [0, 1] and a description of the current step.

        Raises:
            RunError: the weights or the scores of a run are not finite.
        """
        return self.inspect(path, progress).examination

    def inspect(self, path: Path, progress: Progress = nothing) -> Inspection:
        """Examine one file, as `examine` does, and also return the scores."""
        progress(0.0, "reading the file")
        facts = facts_of(path)
        pairs = zip(self.hearing, self._voices, strict=True)
        heard = [listened(scorer, about, path, self.calibration, self.trials) for scorer, about in pairs]
        if self.scorers:
            seen = self._seen(path, facts, heard, progress)
        else:
            marks, about = marks_of(path, None), versions(self.hearing[0].recipe, False, self.hearing[0].engine.library)
            silent = Examination(Answer.CANNOT_ANALYSE, (), facts, marks=marks, versions=about)
            seen = Inspection(silent, None, self.hearing[0])
        progress(1.0, "done")
        return replace(seen, examination=joined(seen.examination, heard))

    def _seen(self, path: Path, facts: Facts, heard: Sequence[Heard], progress: Progress) -> Inspection:
        """Examine the pictures of a file."""
        first = self.scorers[0]
        about = versions(first.recipe, facts.kind == "picture", first.engine.library)
        try:
            reading = read_frames(path, first.recipe)
            facts = facts_read(facts, reading, first.recipe)
            check_frames(reading, facts, first)
            progress(0.15, "searching for faces" if first.recipe.option == "faces" else "preparing the frames")
            crops = cut(first.recipe, reading, path)
            check_crops(crops, first)
        except UNREADABLE as error:
            marks = marks_of(path, None) if facts.kind else ()
            refused = Examination(Answer.CANNOT_ANALYSE, (refusal(error),), facts, marks=marks, versions=about)
            return Inspection(refused, None, first)
        progress(0.5, "scoring")
        scored = first.score_crops(crops, self.calibration)
        case = Case(path, facts, reading, scored, any(one.person for one in heard))
        found = self._examined(case, progress)
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
            caveats=caveats_of(first, scored.crops, people, case.facts, case.heard),
        )  # fmt: skip

    def _people(
        self, case: "Case", outcomes: Sequence[Outcome], others: Sequence["Other"], doubts: Sequence[Reason]
    ) -> tuple[Person, ...]:
        """Return the people with their answers."""
        first, crops = self.scorers[0], case.scored.crops
        what = "face" if first.recipe.option == "faces" else "picture"
        people = people_of(case.scored, first.run.calibration(self.calibration), seen_by(first.run))
        measured = first.run.measured
        looks = {} if measured is None else looks_of(case.scored, bits_of(case.facts))
        scores, judged = track_scores(case.scored, first.thresholds["video"]), list[Person]()
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
                crops = cut(scorer.recipe, reading, case.path)
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

    @cached_property
    def _voices(self) -> list[Model]:
        """The description of each run for sound."""
        return [described(scorer) for scorer in self.hearing]

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
    """A file that was scored by the first run; `heard` says whether its sound was scored by another run."""

    path: Path
    facts: Facts
    reading: Reading
    scored: Score
    heard: bool = False


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
