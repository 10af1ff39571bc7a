"""Score one file with a trained detector and draw the scores.

No training code is imported, so the command starts almost as fast as PyTorch can be imported.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.console import say
from unmask.data.store import MemoryStore
from unmask.files import printable, replace_file
from unmask.inference import verdict
from unmask.inference.score import Scorer
from unmask.media.crops import Crops
from unmask.media.reader import open_media
from unmask.runs.run import Run

LONGEST = 255 - 17  # bytes: maximum length of a file name on most file systems, minus a temporary file's suffix


def predict(path: Path, run: Run, out: Path | None = None, calibration: str = "none") -> float:
    """Score one file, print the verdict and draw the scores; return the probability of being fake.

    Args:
        path: a video or a picture.
        run: the run of a detector.
        out: path of the `.png` to draw; None for a default name in the working directory.
        calibration: name of the calibration whose probability is printed, too; `none` for no calibration.

    Raises:
        MediaError: the file cannot be read or contains no face.
        RunError: the run's weights, thresholds or scores are not finite.
        ValueError: `out` is not a `.png`, is the input file or cannot be written, or the calibration is unknown.
    """
    _check_out(path, out)
    scorer = Scorer(run)
    scored = scorer.score(path, calibration)
    crops, predictions, cuts, decoder = scored.crops, scored.predictions, scorer.thresholds, scorer.recipe.decoder
    value, picture = scored.logit, len(np.unique(crops.frame)) == 1
    drawn = draw(path, decoder, crops, predictions, cuts)
    out = out or Path(_name(path.stem, "score.png" if picture else "timeline.png"))
    _write(out, drawn)
    unit = "image" if picture else "frame" if run.config["data"]["sampling"]["frames"] is None else "clip"
    count, found = 1 if picture else len(predictions), int(predictions["track"].nunique())
    verdict.tell_score(path, value, cuts["video"])
    if scored.calibrated is not None:
        verdict.tell_calibrated(calibration, scored.calibrated)
    if scorer.recipe.option == "faces":
        verdict.tell_faces(crops, predictions, cuts["video"])
    verdict.tell_run(run, value, cuts["video"], f"{count} {unit}{'s' if count > 1 else ''}", found)
    verdict.tell_caveats(run, found)
    verdict.tell_marks(path, decoder)
    say(f"{'score' if picture else 'timeline'}: {printable(str(out))}")
    return scored.probability


def draw(path: Path, decoder: str, crops: Crops, predictions: pd.DataFrame, cuts: dict[str, float]) -> bytes:
    """Return a PNG of what was scored: the scores of a video over time, an image's crop, or an image with its faces."""
    from unmask.reporting import group, timeline  # imports Matplotlib, which only drawing needs

    strips = MemoryStore({"file": crops}).strips
    if len(np.unique(crops.frame)) > 1:
        return timeline.timeline(predictions, strips, score_threshold=cuts["frame"])
    rows = predictions.drop_duplicates("track")  # a clip model reads the repeated image and gives one score
    if len(rows) == 1:
        return timeline.single(rows, strips, score_threshold=cuts["video"])
    whole: NDArray[np.uint8] = open_media(path, decoder).read([int(crops.frame[0])])[0]
    return group.group(rows, strips, whole, crops.box, score_threshold=cuts["video"])


def _check_out(path: Path, out: Path | None) -> None:
    if out is None:
        return
    if out.suffix.lower() != ".png":
        raise ValueError(f"out={out}: expected a name ending in .png")
    if out.exists() and path.exists() and out.samefile(path):
        raise ValueError(f"out={out}: this is the input file; choose another name")


def _name(stem: str, end: str) -> str:
    """Return `STEM-END`; if this is too long for a file name, shorten the stem and insert its hash."""
    raw = os.fsencode(f"{stem}-{end}")
    if len(raw) <= LONGEST:
        return os.fsdecode(raw)
    end = f"-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}-{end}"
    kept = stem
    while len(os.fsencode(kept + end)) > LONGEST:
        kept = kept[:-1]
    return kept + end


def _write(out: Path, drawn: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, drawn)
    except OSError as error:
        raise ValueError(f"out={printable(str(out))}: cannot be written ({error.strerror})") from None
