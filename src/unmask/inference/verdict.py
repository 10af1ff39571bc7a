"""Print the examination of a file: the answer, its reasons, the scores, the limits of the answer, and marks."""

import textwrap
from collections.abc import Sequence

from unmask.console import console
from unmask.console import say as say_verbatim
from unmask.files import printable
from unmask.inference.caveats import DEMO
from unmask.inference.examination import Answer, Examination, Model, Person, Trial

STYLES = {
    Answer.SIGNS: "bold red",
    Answer.NO_SIGNS: "bold green",
    Answer.INCONCLUSIVE: "bold yellow",
    Answer.CANNOT_ANALYSE: "bold magenta",
}
MEANING = {
    Answer.SIGNS: "the score is above the threshold, and it is stable. This is evidence, not proof.",
    Answer.NO_SIGNS: "the score is below the threshold, and it is stable. The file may still be manipulated.",
    Answer.INCONCLUSIVE: "the scores of this file cannot be relied on:",
    Answer.CANNOT_ANALYSE: "the file was not scored:",
}
PARTLY = "a score is above its threshold, and it is stable. This is evidence, not proof:"


def say(text: str, style: str | None = None) -> None:
    """Print text; on a terminal, its lines are wrapped between words."""
    say_verbatim(wrapped(text, console.width) if console.is_terminal else text, style)


def wrapped(text: str, width: int) -> str:
    """Wrap lines at `width` characters, between words; the rest of a line is indented like its beginning."""
    lines = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip()) + 2
        lines += textwrap.wrap(
            line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def print_answer(examination: Examination, calibration: str) -> None:
    """Print an examination, the answer first.

    Args:
        examination: the result.
        calibration: name of the calibration.
    """
    name, answer = examination.facts.name, examination.answer
    say(f"\n{printable(name)}: {answer}", style=STYLES[answer])
    say(f"  {meaning(examination)}")
    for reason in examination.reasons:
        say(f"  - {printable(reason.text)}")
    if examination.models:
        _scores(examination, calibration)
        say("\nLimits of this answer:")
        for caveat in examination.caveats:
            say(f"  - {caveat}", style="yellow" if caveat == DEMO or "Do not rely" in caveat else None)
    if examination.facts.kind is not None:
        _marks(examination.marks)


def meaning(examination: Examination) -> str:
    """Return what the answer means for this file, in words."""
    if examination.answer is Answer.SIGNS and examination.reasons:  # one of pictures and sound
        return PARTLY if examination.trials or examination.sound_trials else PARTLY.replace(", and it is stable", "")
    if examination.answer in (Answer.SIGNS, Answer.NO_SIGNS) and not (examination.trials or examination.sound_trials):
        return MEANING[examination.answer].replace(", and it is stable", " (its stability was not tested)")
    return MEANING[examination.answer]


def _scores(examination: Examination, calibration: str) -> None:
    model, people = examination.models[0], examination.faces
    say(f"\n  score {digits(model.score, model.threshold)} (0: real, 1: fake)", style="bold")
    if model.calibrated is not None:
        shown = calibrated(model.calibrated)
        how = f"{calibration}, fitted to the run's validation split; assumes the same share of fakes"
        say(f"  calibrated: {shown} ({how})")
    if model.sees == "face":
        _faces(people, model)
    _model(model, examination)
    others = [other for other in examination.models[1:] if other.sees != "sound"]
    for other in others if model.sees != "sound" else ():
        side, shown = "above" if other.above_threshold else "below", digits(other.threshold, other.score)
        say(f"  another run, {other.name}: {digits(other.score, other.threshold)}, {side} its threshold of {shown}")
    _trials(examination.trials or (examination.sound_trials if model.sees == "sound" else ()))
    _sound([voice for voice in examination.voices if voice.model], examination)


def _trials(trials: Sequence[Trial]) -> None:
    if trials:
        scores = ("not scored" if trial.score is None else f"{trial.score:.2f}" for trial in trials)
        tried = ", ".join(f"{trial.name}: {score}" for trial, score in zip(trials, scores, strict=True))
        say(f"  after small changes: {tried}")


def _sound(voices: Sequence[Person], examination: Examination) -> None:
    """Print the results for the sound, except that of the first run, which is printed as the score of the file."""
    for at, voice in enumerate(voices):
        model = examination.models[voice.model]
        side, shown = "above" if voice.above else "below", digits(model.threshold, voice.score)
        score = digits(voice.score, model.threshold)
        say(f"\n  sound: {score}, {side} the threshold of {shown}: {voice.answer}", "bold")
        say(f"  {model.scored} scored with {model.name}")
        say(f"  {model.errors}")
        if not at and examination.models[0].sees != "sound":
            _trials(examination.sound_trials)


def calibrated(prob: float) -> str:
    """Format a calibrated probability. Too few items support extreme values: `below 0.01`, `above 0.99`."""
    return f"{prob:.2f}" if 0.01 <= prob <= 0.99 else "below 0.01" if prob < 0.01 else "above 0.99"


def _faces(people: Sequence[Person], model: Model) -> None:
    """Print the number of faces and, if there are several, one line per face; face 1 is the main face."""
    several = len(people) > 1
    words = "faces found and scored; the highest score is the score of the file:" if several else "face found"
    say(f"  {len(people)} {words}")
    for person in people if several else ():
        left, top, right, bottom = person.box
        times = [moment.time for moment in person.moments]
        when = f", seen from {min(times):.1f} to {max(times):.1f} s" if len(times) > 1 else ""
        side, shown = "above" if person.above else "below", digits(person.score, model.threshold)
        say(
            f"    face {person.number}: {shown}, {side} the threshold; its centre is at "
            f"({(left + right) / 2:.0f}, {(top + bottom) / 2:.0f}) px{when}: {person.answer}"
        )


def _model(model: Model, examination: Examination) -> None:
    """Print whether a run's score is above its threshold, and how often this threshold errs on test items."""
    several, above = len(examination.faces) > 1, model.above_threshold
    seen = f"{model.sees} with the highest score" if several else model.sees
    subject = f"even the {seen}" if several and not above else f"the {seen}"
    kind = "fakes" if above else f"real {model.items}"
    shown, verb = digits(model.threshold, model.score), "sounds" if model.sees == "sound" else "looks"
    say(
        f"  {'above' if above else 'below'} this detector's threshold of {shown}: {subject} {verb} more like the "
        f"{kind} that it was trained on"
    )
    say(f"  {model.scored} scored with {model.name}")
    say(f"  the run: {model.summary}")
    say(f"  {model.errors}")


def _marks(marks: Sequence[str]) -> None:
    say("\nMarks in the file:")
    for mark in marks or ["no mark of a generator was found"]:
        say(f"  - {printable(mark)}")
    say("  - Marks can be removed or forged, so their absence proves nothing.\n")


def digits(value: float, other: float) -> str:
    """Format a probability with 2 decimals, or with up to 6 if it would otherwise look equal to `other`."""
    places = next((count for count in range(2, 6) if f"{value:.{count}f}" != f"{other:.{count}f}"), 6)
    return f"{value:.{places}f}"
