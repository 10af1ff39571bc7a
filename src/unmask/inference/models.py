"""Describe a run and its result for one file."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from unmask.files import file_hash, printable
from unmask.inference.caveats import errors_of, item_of, seen_by
from unmask.inference.examination import Model
from unmask.inference.score import Score, Scorer
from unmask.metrics import detection
from unmask.runs.run import Run

METHODS = {"platt": "Platt scaling", "temperature": "temperature scaling", "isotonic": "isotonic regression"}


def described(scorer: Scorer) -> Model:
    """Describe a run without the result for a file: the score is NaN until `with_score` fills it in."""
    run = scorer.run
    return Model(
        run=shown_folder(Path(run.folder)),
        name=f"{run.name}, trained on {trained_on(run)}",
        weights=file_hash(Path(run.checkpoint)),
        score=math.nan,
        calibrated=None,
        calibration="none",
        threshold=float(detection.probability(run.score_thresholds["video"])),
        above_threshold=False,
        errors=errors_of(run),
        summary=str(run.summary),
        sees=seen_by(run),
        items=f"{item_of(run)}s",
    )


def with_score(model: Model, scorer: Scorer, scored: Score, calibration: str) -> Model:
    """Add the result for one file to a model.

    Args:
        model: the description of the run, as `described` returns it.
        scorer: the run.
        scored: the scores of the file.
        calibration: name of the calibration.
    """
    return replace(
        model,
        score=scored.probability,
        calibrated=scored.calibrated,
        calibration=calibration_words(scorer.run, calibration, scored.calibrated is not None),
        above_threshold=scored.above_threshold,
        scored=_scored(scorer, scored),
    )


def _scored(scorer: Scorer, scored: Score) -> str:
    """Return number and kind of the scored samples, such as `8 frames`."""
    if not scorer.recipe.sees:
        count = len(scored.predictions)
        return f"{count} window{'s' if count > 1 else ''} of {scorer.run.config['data']['sampling']['seconds']:g} s"
    if len(np.unique(scored.crops.frame)) == 1:
        return "1 image"
    unit = "frame" if scorer.run.config["data"]["sampling"]["frames"] is None else "clip"
    count = scored.predictions["frame"].nunique()  # each has a row per face
    return f"{count} {unit}{'s' if count > 1 else ''}"


def trained_on(run: Run) -> str:
    """Return the name of the data set that a run was trained on."""
    data = run.config["data"]
    return str(data["name"] or data.get("run"))


def calibration_words(run: Run, name: str, known: bool) -> str:
    """Describe a calibration, and the data to which it was fitted."""
    if name == "none":
        return "none: no calibration was asked for"
    if not known:
        return f"none: {METHODS[name]} could not be fitted to the run's validation split"
    return f"{METHODS[name]}, fitted to the validation split of {trained_on(run)}; assumes the same share of fakes"


def shown_folder(folder: Path) -> str:
    """Return the path of a run folder for display, without parent folders that may contain a person's name.

    A path inside the working directory becomes relative to it. Of other absolute paths, the last three parts remain.
    """
    if not folder.is_absolute():
        return printable(str(folder))
    if folder.is_relative_to(Path.cwd()):
        return printable(str(folder.relative_to(Path.cwd())))
    return printable("/".join(folder.parts[-3:]))
