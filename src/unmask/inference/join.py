"""Join what was found in the pictures and in the sound of a file into one answer. All functions are pure."""

from collections.abc import Sequence
from dataclasses import replace

from unmask.inference.examination import Answer, Examination, Facts, Person, Reason
from unmask.inference.judge import concluded
from unmask.inference.listen import Heard

#: What the reasons call the pictures and the sound.
PICTURES, SOUND = "the pictures", "the sound"


def joined(seen: Examination, heard: Sequence[Heard]) -> Examination:
    """Add the results for the sound to an examination.

    The answer is signs of manipulation if the pictures or the sound have signs; otherwise, it is inconclusive if one of
    them is. A part that could not be scored is named in the caveats.

    Args:
        seen: the examination of the pictures; it cannot be analysed and has no reasons if no run is for pictures.
        heard: the results of the runs for sound.
    """
    scored = [one for one in heard if one.person is not None and one.model is not None]
    lost = [one.failure for one in heard if one.failure is not None]
    if not heard:
        return seen
    if not scored:
        if seen.models:
            return replace(seen, caveats=(*seen.caveats, *_missing(SOUND, lost)))
        return replace(seen, reasons=_unique([*seen.reasons, *lost]))
    models = (*seen.models, *(one.model for one in scored if one.model is not None))
    first = len(seen.models)
    voices = [
        replace(one.person, number=len(seen.people) + at + 1, model=first + at)
        for at, one in enumerate(scored)
        if one.person is not None
    ]
    answer, reasons = _answer(seen, voices)
    missing = [] if seen.models else _missing(PICTURES, seen.reasons)
    caveats = dict.fromkeys([*seen.caveats, *missing, *_missing(SOUND, lost), *_caveats(scored)])
    return replace(
        seen, answer=answer, reasons=reasons, facts=_facts(seen.facts, scored[0]), models=models,
        people=(*seen.people, *voices), sound_trials=scored[0].trials, caveats=tuple(caveats),
    )  # fmt: skip


def _answer(seen: Examination, voices: Sequence[Person]) -> tuple[Answer, tuple[Reason, ...]]:
    """Return the answer for pictures and sound together, and its reasons."""
    answer, reasons = concluded(voices)
    if not seen.models:
        return answer, _of_sound(voices) if answer is Answer.INCONCLUSIVE else reasons
    answers = {PICTURES: seen.answer, SOUND: answer}
    signs = [part for part, found in answers.items() if found is Answer.SIGNS]
    if len(signs) == 2:
        return Answer.SIGNS, ()
    if signs:
        other = next(part for part in answers if part not in signs)
        text = f"{signs[0]} of the file: {Answer.SIGNS}; {other}: {answers[other]}"
        return Answer.SIGNS, (Reason("signs_in_sound" if signs == [SOUND] else "signs_in_pictures", text),)
    if Answer.INCONCLUSIVE in answers.values():
        return Answer.INCONCLUSIVE, _unique([*seen.reasons, *_of_sound(voices)])
    return Answer.NO_SIGNS, ()


def _of_sound(voices: Sequence[Person]) -> tuple[Reason, ...]:
    return tuple(replace(reason, text=f"sound: {reason.text}") for voice in voices for reason in voice.reasons)


def _missing(part: str, why: Sequence[Reason]) -> list[str]:
    return [f"{part[0].upper()}{part[1:]} of the file could not be examined: {reason.text}." for reason in why[:1]]


def _caveats(scored: Sequence[Heard]) -> list[str]:
    return [caveat for one in scored for caveat in one.caveats]


def _facts(facts: Facts, heard: Heard) -> Facts:
    """Return the facts of a file; those of a file without pictures are completed by what its sound says."""
    if facts.kind is not None:
        return facts
    return replace(facts, kind="sound", duration=heard.seconds, details=facts.details | heard.details)


def _unique(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))
