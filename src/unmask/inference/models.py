"""Describe a run and its result for one file."""

from pathlib import Path

from unmask.files import printable
from unmask.inference.caveats import errors_of
from unmask.inference.examination import Model
from unmask.inference.score import Score, Scorer
from unmask.runs.run import Run

METHODS = {"platt": "Platt scaling", "temperature": "temperature scaling", "isotonic": "isotonic regression"}


def model_of(scorer: Scorer, scored: Score, calibration: str, weights: str) -> Model:
    """Return a run's result for a file.

    Args:
        scorer: the run.
        scored: the scores of the file.
        calibration: name of the calibration.
        weights: SHA-256 of the checkpoint.
    """
    run = scorer.run
    return Model(
        run=shown_folder(Path(run.folder)),
        name=f"{run.name}, trained on {trained_on(run)}",
        weights=weights,
        score=scored.probability,
        calibrated=scored.calibrated,
        calibration=calibration_words(run, calibration, scored.calibrated is not None),
        threshold=scored.threshold,
        above_threshold=scored.above_threshold,
        errors=errors_of(run),
        summary=str(run.summary),
    )


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
    """Return a run's folder without the place of the working directory, which may contain a person's name."""
    if not folder.is_absolute():
        return printable(str(folder))
    if folder.is_relative_to(Path.cwd()):
        return printable(str(folder.relative_to(Path.cwd())))
    return printable("/".join(folder.parts[-3:]))
