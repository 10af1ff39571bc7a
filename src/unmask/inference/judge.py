"""Draw the conclusion: the answers for each person and for the file, with their reasons. All functions are pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unmask.inference.examination import Answer, Model, Person, Reason
from unmask.inference.trials import Outcome, flips


def judged(person: Person, above: bool, doubts: Sequence[Reason]) -> Person:
    """Return a person with an answer: inconclusive if there are doubts; otherwise, the threshold decides."""
    if doubts:
        return replace(person, answer=Answer.INCONCLUSIVE, reasons=tuple(doubts), above=above)
    return replace(person, answer=Answer.SIGNS if above else Answer.NO_SIGNS, reasons=(), above=above)


def unstable(track: int, score: float, above: bool, outcomes: Sequence[Outcome]) -> Reason | None:
    """Return a reason if a small change moves the score of a track to the other side of the threshold; else None."""
    scores = [outcome.scores[track] for outcome in outcomes if track in outcome.scores]
    if not flips(above, [one.above for one in scores]):
        return None
    changed = [outcome.trial.name for outcome in outcomes if track in outcome.scores]
    causes = " and ".join(name for name, one in zip(changed, scores, strict=True) if one.above is not above)
    values = [score, *(one.prob for one in scores)]
    return Reason(
        "unstable",
        f"the score moves to the other side of the threshold if the file is {causes}; the scores range from "
        f"{min(values):.2f} to {max(values):.2f}",
    )


def disagreement(models: Sequence[Model]) -> Reason | None:
    """Return a reason if another run decides differently from the first run about the file; None if all agree."""
    others = [model for model in models[1:] if model.above_threshold is not models[0].above_threshold]
    if not others:
        return None
    said = " and ".join(f"{model.name} ({_side(model)})" for model in others)
    return Reason("runs_disagree", f"the runs disagree: {models[0].name} ({_side(models[0])}), but {said}")


def _side(model: Model) -> str:
    return f"{model.score:.2f}, {'above' if model.above_threshold else 'below'} its threshold of {model.threshold:.2f}"


def track_disagreement(track: int, above: bool, others: Mapping[str, Mapping[int, bool]]) -> Reason | None:
    """Return a reason if another run decides differently about the same face; None if all agree.

    Args:
        track: number of the face track.
        above: whether the score of this track by the first run is above the threshold.
        others: for each other run with the same crops, by name: whether the score of each track is above the run's
            threshold.
    """
    names = [name for name, tracks in others.items() if tracks.get(track, above) is not above]
    if not names:
        return None
    return Reason("runs_disagree", f"{' and '.join(names)} decide{'s' if len(names) == 1 else ''} differently")


def concluded(people: Sequence[Person], doubts: Sequence[Reason] = ()) -> tuple[Answer, tuple[Reason, ...]]:
    """Return the answer for a file, and the reasons for it.

    A doubt about the file as a whole makes the answer inconclusive. Otherwise, the answer is signs of manipulation if
    at least one person has signs, else inconclusive if at least one person is inconclusive, else no signs found.

    Args:
        people: the people, with their answers.
        doubts: doubts about the file as a whole.
    """
    if doubts:
        return Answer.INCONCLUSIVE, (*doubts, *_own(people, doubts))
    answers = {person.answer for person in people}
    if Answer.SIGNS in answers:
        return Answer.SIGNS, ()
    if Answer.INCONCLUSIVE not in answers:
        return Answer.NO_SIGNS, ()
    return Answer.INCONCLUSIVE, tuple(_own(people, ()))


def _own(people: Sequence[Person], doubts: Sequence[Reason]) -> list[Reason]:
    """Return the people's reasons except those in `doubts`; with several people, each text names the face."""
    own = [(person.number, reason) for person in people for reason in person.reasons if reason not in doubts]
    if len(people) == 1:
        return [reason for _, reason in own]
    return [replace(reason, text=f"face {number}: {reason.text}") for number, reason in own]
