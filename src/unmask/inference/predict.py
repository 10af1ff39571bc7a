"""Examine files with trained detectors; print the answers, and write a report, JSON and a drawing for each file.

No training code is imported, so the command starts almost as fast as PyTorch can be imported.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unmask.console import say
from unmask.data.store import MemoryStore
from unmask.files import printable, replace_file
from unmask.inference import verdict
from unmask.inference.examination import Examination
from unmask.inference.examine import Examiner, Inspection
from unmask.inference.outputs import Outputs, outputs_for
from unmask.inference.progress import shown
from unmask.media.crops import Crops
from unmask.media.reader import open_media
from unmask.runs.run import Run


def predict(
    path: Path,
    runs: Run | Sequence[Run],
    out: Path | None = None,
    calibration: str = "none",
    trials: bool = True,
    explain: bool = True,
) -> Examination:
    """Examine one file, print the answer, and write a report, JSON and a drawing.

    Args:
        path: a video, a picture or a sound file.
        runs: the run of a detector, or several runs; see `Examiner`.
        out: the folder for the outputs, or the path of the drawing, which ends in `.png`; in this case, the report and
            the JSON are written to the folder of the drawing. None is the working directory.
        calibration: name of the calibration for the calibrated probability; `none` for no calibration.
        trials: whether to score the file again after small changes.
        explain: whether to compute heat maps.

    Raises:
        RunError: a run is not the finished run of a detector with weights, or its weights, thresholds or scores are
            not finite.
        ValueError: there is no file at `path`, an output cannot be written or would replace the input, or the
            calibration is unknown.
    """
    if not path.exists():
        raise ValueError(f"{printable(str(path))}: no such file")
    (outputs,) = outputs_for([path], out)
    examiner = Examiner(
        [runs] if isinstance(runs, Run) or not isinstance(runs, Sequence) else runs, calibration, trials, explain
    )
    with shown() as progress:
        found = examiner.inspect(path, progress)
    verdict.print_answer(found.examination, calibration)
    with shown() as progress:
        progress(1.0, "writing the report")
        write(path, found, outputs)
    say("\n".join(f"{name}: {printable(str(place))}" for name, place in outputs.written(found.examination)))
    return found.examination


def write(path: Path, found: Inspection, outputs: Outputs) -> None:
    """Write the drawing, the report and the JSON of one file.

    Raises:
        ValueError: a file cannot be written.
    """
    from unmask.inference.page import report  # imports jinja2, which only the report needs

    contents = {outputs.report: report(found.examination).encode(), outputs.json: as_json(found.examination).encode()}
    if found.scored is not None:
        recipe, cuts = found.scorer.recipe, found.scorer.thresholds
        drawn = draw(path, recipe.decoder, found.scored.crops, found.scored.predictions, cuts)
        contents[outputs.drawing(found.examination)] = drawn
    for place, content in contents.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, content)
        except OSError as error:
            raise ValueError(f"out={printable(str(place))}: cannot be written ({error.strerror})") from None


def as_json(examination: Examination, indent: int | None = 2) -> str:
    """Return an examination as strict JSON, without pictures; NaN is null."""
    return json.dumps(examination.as_dict(), indent=indent, allow_nan=False, ensure_ascii=False)


def draw(path: Path, decoder: str, crops: Crops, predictions: pd.DataFrame, cuts: dict[str, float]) -> bytes:
    """Return a PNG of the scores: of a video over time, of the single crop of an image, or of all faces in an image."""
    from unmask.reporting import group, timeline  # imports Matplotlib, which only drawing needs

    strips = MemoryStore({"file": crops}).strips
    if len(np.unique(crops.frame)) > 1:
        return timeline.timeline(predictions, strips, score_threshold=cuts["frame"])
    rows = predictions.drop_duplicates("track")  # a clip model reads the repeated image and gives one score
    if len(rows) == 1:
        return timeline.single(rows, strips, score_threshold=cuts["video"])
    whole: NDArray[np.uint8] = open_media(path, decoder).read([int(crops.frame[0])])[0]
    return group.group(rows, strips, whole, crops.box, score_threshold=cuts["video"])
