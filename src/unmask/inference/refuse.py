"""Decide whether a file can be analysed at all: it needs a large enough face or picture, enough frames, and detail."""

import numpy as np

from unmask.inference.examination import Facts, Reason
from unmask.inference.reading import Reading
from unmask.inference.score import Scorer
from unmask.media.crops import Crops
from unmask.media.kinds import MediaError, first_line
from unmask.media.quality import blockiness

SMALLEST = 32  # px: a face or picture with a shorter side below this is not scored
BLOCKS = 4.0  # maximum blockiness of the frames; above it, too little detail is left. A JPEG of quality 5 has about 4
FEWEST_BITS = 0.003  # minimum bits per pixel of a video; H.264 at CRF 51, the strongest compression, has about 0.005
FRAMES = 3  # number of frames whose blockiness is measured


class CannotAnalyse(Exception):
    """A file cannot be analysed; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason


UNREADABLE = (CannotAnalyse, MediaError, OSError, MemoryError)
#: Codes of refusals, by the beginning of the message of a recipe.
CODES = {
    "no face found": "no_face", "the file has no sound": "no_sound", "too short": "too_short", "too long": "too_long",
}  # fmt: skip


def refusal(error: BaseException) -> Reason:
    """Return why a file cannot be analysed, given the error that was raised while it was read or cropped."""
    if isinstance(error, CannotAnalyse):
        return error.reason
    text = first_line(error)
    if not isinstance(error, MediaError):
        return Reason("unreadable", f"cannot be read ({text})")
    return Reason(next((code for start, code in CODES.items() if text.startswith(start)), "unreadable"), text)


def check_frames(reading: Reading, facts: Facts, scorer: Scorer) -> None:
    """Check a file before faces are searched.

    Raises:
        CannotAnalyse: the file has too few frames, is too small or is too strongly compressed.
    """
    height, width = reading.frames.shape[1:3]
    if min(height, width) < SMALLEST:
        raise CannotAnalyse(
            Reason("too_small", f"the {facts.kind} has {width}x{height} px, expected at least {SMALLEST} px per side")
        )
    need = clip_length(scorer)
    if len(reading.numbers) < need:
        has = "a picture has one" if facts.kind == "picture" else f"the video has {reading.total}"
        raise CannotAnalyse(Reason("too_short", f"this detector scores clips of {need} frames, but {has}"))
    bits = bits_of(facts)
    if facts.kind == "video" and bits is not None and bits < FEWEST_BITS:
        text = f"the video is too strongly compressed ({bits:.2g} bits per pixel, expected at least {FEWEST_BITS})"
        raise CannotAnalyse(Reason("too_compressed", text))
    some = np.unique(np.linspace(0, len(reading.frames) - 1, FRAMES).round().astype(int))
    blocks = float(np.median([blockiness(reading.frames[at]) for at in some]))
    if blocks > BLOCKS:
        text = f"the {facts.kind} is too strongly compressed (blockiness {blocks:.1f}, expected at most {BLOCKS:g})"
        raise CannotAnalyse(Reason("too_compressed", text))


def check_crops(crops: Crops, scorer: Scorer) -> None:
    """Check the faces that were found, or the whole picture.

    Raises:
        CannotAnalyse: every face is too small or appears in too few frames.
    """
    tracks = np.unique(crops.track)
    reasons = [track_refusal(crops, int(track), scorer) for track in tracks]
    if all(reasons) and reasons[0] is not None:
        raise CannotAnalyse(reasons[0])


def track_refusal(crops: Crops, track: int, scorer: Scorer) -> Reason | None:
    """Return why one face cannot be analysed: it is too small, or appears in too few frames for a clip; else None."""
    rows, need = crops.track == track, clip_length(scorer)
    what = "face" if scorer.recipe.option == "faces" else "picture"
    box = crops.box[rows]
    side = float(np.median(np.minimum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])))
    if side < SMALLEST:
        return Reason("too_small", f"the {what} measures {side:.0f} px, expected at least {SMALLEST} px")
    if (seen := int(rows.sum())) < need:
        text = (
            f"this detector scores clips of {need} frames, but the face is seen in {seen} of the frames that were read"
        )
        return Reason("too_short", text)
    return None


def clip_length(scorer: Scorer) -> int:
    """Return the number of frames that the detector reads at once: 1 for a detector of single frames."""
    return int(scorer.run.config["data"]["sampling"]["frames"] or 1)


def bits_of(facts: Facts) -> float | None:
    """Return the bits per pixel of a file; None if its size is unknown."""
    if facts.size is None or not facts.width or not facts.height or not facts.frames:
        return None
    return 8 * facts.size / (facts.width * facts.height * facts.frames)
