"""Score a file again after small changes that do not change what it shows. If the answer flips, it is inconclusive.

The decoded frames are changed, not the file: a frame is saved again as JPEG, reduced to half its size, or cropped by a
few pixels. Faces are not searched again; their boxes are moved with the frame. So a different face box cannot be the
cause if the score changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unmask.inference.examination import Trial
from unmask.inference.reading import Reading
from unmask.inference.score import Score, Scorer
from unmask.media.crops import Crops
from unmask.metrics import detection
from unmask.perturb.kinds import OnFrames
from unmask.perturb.pictures import Jpeg, Resize, Screenshot

CUT = 4  # px cut off on each side; this shifts the 8 px grid of an earlier JPEG compression by half a block


@dataclass(frozen=True)
class Change:
    """A small change: its name in words, and a perturbation with a single level."""

    name: str
    step: OnFrames


CHANGES = (
    Change("saved again as JPEG, quality 75", Jpeg([{"quality": 75, "subsampling": "4:2:0"}])),
    Change("half size", Resize([0.5])),
    Change(f"cropped by {CUT} px on each side", Screenshot([1.0], CUT)),
)


@dataclass(frozen=True)
class TrackScore:
    """The probability of one track, in [0, 1], and whether its logit is above the threshold."""

    prob: float
    above: bool


@dataclass(frozen=True)
class Outcome:
    """The scores after one change.

    Attributes:
        trial: the score of the file.
        scores: the score of each track.
    """

    trial: Trial
    scores: dict[int, TrackScore]


def tried(scorer: Scorer, reading: Reading, scored: Score, changes: Sequence[Change] = CHANGES) -> list[Outcome]:
    """Score a file again after each of the changes.

    Args:
        scorer: the detector.
        reading: the decoded frames.
        scored: the scores of the unchanged file.
        changes: the changes of the frames.
    """
    return [_outcome(scorer, change, again(scorer, reading, scored.crops, change.step)) for change in changes]


def again(scorer: Scorer, reading: Reading, crops: Crops, step: OnFrames) -> Crops:
    """Cut the same crops from changed frames. Only frames that the detector reads are changed, one at a time."""
    place = {int(number): at for at, number in enumerate(reading.numbers)}
    wanted = set(scorer.frames_read(crops).tolist())
    pixels = crops.pixels.copy()
    for number in sorted(wanted):
        frame = step.frame(reading.frames[place[number]], 1)
        for row in np.flatnonzero(crops.frame == number):
            box = step.moved(crops.box[row].reshape(2, 2), 1).reshape(4)
            pixels[row] = scorer.recipe.recut(frame, box, step.moved(crops.landmarks[row], 1)).transpose(2, 0, 1)
    return replace(crops, pixels=pixels)


def track_scores(scored: Score, cut: float) -> dict[int, TrackScore]:
    """Return the score of each track; `cut` is the threshold, a logit."""
    tracks = detection.tracks(scored.predictions)
    rows = zip(tracks["track"], tracks["prob"], tracks["score"], strict=True)
    return {int(track): TrackScore(float(prob), bool(score > cut)) for track, prob, score in rows}


def _outcome(scorer: Scorer, change: Change, crops: Crops) -> Outcome:
    scored = scorer.score_crops(crops, "none")
    trial = Trial(change.name, scored.probability, scored.above_threshold)
    return Outcome(trial, track_scores(scored, scorer.thresholds["video"]))


def flips(above: bool, outcomes: Sequence[bool]) -> bool:
    """Return whether a small change moves a score to the other side of the threshold.

    Args:
        above: whether the score of the unchanged file is above the threshold.
        outcomes: for each change, whether the score after it is above the threshold.
    """
    return any(outcome is not above for outcome in outcomes)
