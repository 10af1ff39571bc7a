"""Render an examination as one self-contained HTML page, in the same style as the reports of runs."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from unmask import reporting
from unmask.inference import charts
from unmask.inference.examination import Examination, Moment, Person, Trial
from unmask.inference.verdict import calibrated, digits, meaning
from unmask.provenance.manifests import is_installed

EACH = 3  # maximum number of crops that are labelled as those with the highest scores


def report(examination: Examination) -> str:
    """Return the page of an examination; it loads no other files."""
    model = examination.models[0] if examination.models else None
    cut = model.threshold if model is not None else 0.5
    parts = (examination.faces, examination.voices)
    faces, voices = ([(one, _line(one, examination)) for one in part] for part in parts)
    return _environment().get_template("examination.html.j2").render(
        examination=examination,
        kind=examination.answer.name.lower(),
        meaning=_sentence(meaning(examination)),
        scale=None if model is None else charts.scale(model.score, cut, _scores(examination)),
        spread=_spread(examination),
        people=faces,
        voices=voices,
        trials=_trials(examination),
        used=len({moment.frame for person in examination.faces for moment in person.moments}),
        has_heat=any(moment.heat for person in examination.people for moment in person.moments),
        c2pa=is_installed(),
        digits=digits,
        calibrated=calibrated,
    )  # fmt: skip


@cache  # a server writes many reports, and compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    """Return the template environment; it escapes all values and raises an error for undefined ones."""
    folders = [Path(__file__).parent, *map(Path, reporting.__path__)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(jpeg=_jpeg, png=_png, clock=clock, shown=_shown, sentence=_sentence)
    return environment


def _line(person: Person, examination: Examination) -> Markup | None:
    """Draw the scores of a person or of the sound over time; None for a picture and for a single moment of sound."""
    if examination.facts.kind == "picture" or (person.sees == "sound" and len(person.moments) < 2):
        return None
    return charts.timeline(person.moments, examination.models[person.model].threshold, examination.facts.duration)


def _trials(examination: Examination) -> tuple[Trial, ...]:
    """Return the scores after small changes by the first run, which is for sound only if no run is for pictures."""
    return examination.trials if examination.faces else examination.sound_trials


def _scores(examination: Examination) -> list[float]:
    return [trial.score for trial in _trials(examination) if trial.score is not None]


def _spread(examination: Examination) -> tuple[float, float]:
    scores = [*_scores(examination), *(model.score for model in examination.models[:1])]
    return (min(scores), max(scores)) if scores else (0.0, 0.0)


def _shown(moments: Sequence[Moment]) -> list[tuple[Moment, str]]:
    """Return the moments that have crops, those with the highest scores first, each with a label."""
    found = sorted((moment for moment in moments if moment.crop), key=lambda moment: -moment.score)
    if len(found) < 2:
        return [(moment, "") for moment in found]
    half = min(EACH, (len(found) + 1) // 2)
    return [(moment, "highest" if at < half else "lowest") for at, moment in enumerate(found)]


def clock(seconds: float) -> str:
    """Format a time as `m:ss.s`, or `h:mm:ss` from one hour."""
    tenths = round(seconds * 10)
    if tenths < 36000:
        return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _sentence(text: str) -> str:
    """Capitalise the first letter, and add a full stop unless the text ends with a full stop or a colon."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ":")) else ".")


def _jpeg(content: bytes) -> Markup:
    return _data(content, "jpeg")


def _png(content: bytes) -> Markup:
    return _data(content, "png")


def _data(content: bytes, kind: str) -> Markup:
    """Encode a picture as a data URL."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
