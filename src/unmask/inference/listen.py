"""Examine the sound of a file with detectors of sound: the score of each window of it, and of the whole recording."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.inference import judge
from unmask.inference.caveats import heard_caveats
from unmask.inference.examination import Answer, Model, Moment, Person, Reason, Trial
from unmask.inference.models import with_score
from unmask.inference.people import encode, shown_rows
from unmask.inference.refuse import UNREADABLE, refusal
from unmask.inference.score import Score, Scorer
from unmask.inference.trials import Outcome, track_scores
from unmask.media.crops import Crops
from unmask.media.pcm import RATE, to_float32, to_int16
from unmask.metrics import detection

Wave = NDArray[np.float32]
CUT = 0.02  # s that are cut off at the start; this shifts the frames of an earlier compression


def _saved_again(x: Wave) -> Wave:
    from unmask.perturb.codecs import coded  # imports PyAV, which a picture does not need

    return coded(x, "aac", 64)


#: Changes in words that do not change what is said: waveform [S] -> waveform.
CHANGES: tuple[tuple[str, Callable[[Wave], Wave]], ...] = (
    ("saved again as AAC at 64 kbit/s", _saved_again),
    ("half as loud", lambda x: np.float32(0.5) * x),
    (f"cut by {CUT} s at its start", lambda x: x[round(CUT * RATE) :]),
)


@dataclass(frozen=True)
class Heard:
    """The result of one run for the sound of a file.

    Attributes:
        scorer: the run.
        model: the result; None if the sound could not be scored.
        person: the lane of the sound; None if the sound could not be scored.
        trials: scores after small changes.
        caveats: what cannot be concluded, in words.
        seconds: duration of the sound, s.
        details: facts about the sound: codec, sample rate, channels.
        failure: why the sound could not be scored.
    """

    scorer: Scorer
    model: Model | None = None
    person: Person | None = None
    trials: tuple[Trial, ...] = ()
    caveats: tuple[str, ...] = ()
    seconds: float = 0.0
    details: dict[str, str] = field(default_factory=dict)
    failure: Reason | None = None


def listened(scorer: Scorer, about: Model, path: Path, calibration: str, trials: bool) -> Heard:
    """Score the sound of a file.

    Args:
        scorer: a detector of sound.
        about: the description of the run.
        path: a sound file, or a video with sound.
        calibration: name of the calibration.
        trials: whether to score the sound again after small changes.

    Raises:
        RunError: the weights or the scores are not finite.
    """
    try:
        crops = scorer.recipe(path)
    except UNREADABLE as error:
        return Heard(scorer, failure=refusal(error))
    scored = scorer.score_crops(crops, calibration)
    outcomes = [_outcome(scorer, crops, *change) for change in CHANGES] if trials else []
    return Heard(
        scorer,
        with_score(about, scorer, scored, calibration),
        _lane(scorer, scored, outcomes, calibration),
        tuple(outcome.trial for outcome in outcomes),
        heard_caveats(scorer),
        0.0 if crops.sound is None else len(crops.sound) / RATE,
        _details(crops),
    )


def _details(crops: Crops) -> dict[str, str]:
    about = crops.statistics
    rate, channels = float(about["sample_rate"]), int(float(about["channels"]))
    return {"codec": str(about["codec"]), "sample rate": f"{rate:,.0f} Hz", "channels": str(channels)}


def _outcome(scorer: Scorer, crops: Crops, name: str, change: Callable[[Wave], Wave]) -> Outcome:
    assert crops.sound is not None
    changed = change(to_float32(crops.sound))
    scored = scorer.score_crops(replace(crops, sound=to_int16(changed)), "none")
    trial = Trial(name, scored.probability, scored.above_threshold)
    return Outcome(trial, track_scores(scored, scorer.thresholds["video"]))


def _lane(scorer: Scorer, scored: Score, outcomes: Sequence[Outcome], calibration: str) -> Person:
    """Return the sound as a lane beside the people, with its answer."""
    known = scorer.run.calibration(calibration)
    rows = detection.frames(scored.predictions).reset_index(drop=True)
    shown, moments = set(shown_rows(rows)), list[Moment]()
    for index, time, frame, prob in zip(rows.index, rows["time"], rows["frame"], rows["prob"], strict=True):
        drawn = _drawn(scored.samples.crops([int(index)])[0]) if index in shown else b""
        moments.append(Moment(float(time), int(frame), float(prob), drawn))
    lane = Person(
        number=1, answer=Answer.INCONCLUSIVE, score=scored.probability,
        calibrated=None if known is None else float(known(scored.logit)), box=(0.0, 0.0, 0.0, 0.0), side=0.0,
        moments=tuple(sorted(moments, key=lambda moment: moment.time)), sees="sound",
    )  # fmt: skip
    doubts = [Reason("unreliable_run", f"the run {scorer.run.name}: {remark}") for remark in scorer.run.remarks]
    unstable = judge.unstable(0, scored.probability, scored.above_threshold, outcomes)
    return judge.judged(lane, scored.above_threshold, [*doubts, *([] if unstable is None else [unstable])])


def _drawn(window: NDArray[np.generic]) -> bytes:
    """Return the spectrogram of a window, float [S] in [-1, 1], as a small JPEG."""
    from unmask.reporting.sounds import spectrogram  # imports Matplotlib, which only drawing needs

    return encode(spectrogram(to_int16(np.asarray(window, np.float32)), len(window) / RATE))
