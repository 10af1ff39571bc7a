"""The record of a run that an exported file carries, as text by name: what is needed to use the model elsewhere."""

import json
from importlib.metadata import version

from unmask.config import Settings
from unmask.export.wrapped import AnyParts, Parts, SoundParts, Wrapped
from unmask.files import file_hash
from unmask.inference.caveats import errors_of, item_of
from unmask.inference.models import trained_on
from unmask.media.pcm import RATE
from unmask.metrics.calibrate import Calibration
from unmask.runs.figures import without_nan
from unmask.runs.run import Run, is_demo

FORMAT = 1  # version of the record
UNSTATED = "not stated"


def wrapped_of(run: Run, calibration: str = "platt") -> Wrapped:
    """Return the detector of a run as a module that takes raw pixels or sound.

    Args:
        run: the finished run of a detector or segmenter.
        calibration: `platt`, `temperature`, `isotonic` or `none`; `none` and a calibration that the run does not have
            give the sigmoid of the logit.

    Raises:
        RunError: the run is not the finished run of a detector with weights.
        ValueError: the calibration is unknown, or the run is a detector of clips with sound.
    """
    run.require_weights()
    found = run.calibration(calibration)
    _ = run.score_thresholds  # raises an error if the run is not a detector
    return Wrapped(run.network(), parts_of(run, found)).eval()


def parts_of(run: Run, calibration: Calibration | None) -> AnyParts:
    """Return what is exported together with the network of a run.

    Raises:
        ValueError: the run is a detector of clips with sound.
    """
    recipe, sampling, measured = run.build("data.recipe"), run.build("data.sampling"), run.measured
    cloud = None if measured is None else measured.cloud
    if recipe.sees and recipe.hears:
        raise ValueError(
            f"{run.name} is a detector of clips with sound; only detectors of pictures, of videos without their sound, "
            "and of sound alone can be exported"
        )
    if recipe.hears:
        return SoundParts(round(sampling.seconds * RATE), calibration, cloud)
    side = run.build("data.loader").image_size
    return Parts(recipe.crop_size, side, frames_of(run), calibration, cloud, run.kind == "segmenter")


def require_pictures(run: Run, what: str) -> None:
    """Raise an error if a run is a detector of sound.

    Args:
        run: the run of a detector.
        what: what needs pictures, for the message.

    Raises:
        ValueError: the run is a detector of sound.
    """
    if not run.build("data.recipe").sees:
        raise ValueError(f"{what} is for detectors of pictures and videos, but {run.name} is a detector of sound")


def frames_of(run: Run) -> int | None:
    """Return the number of frames of a clip; None for a detector of single frames."""
    frames = run.config["data"]["sampling"]["frames"]
    return None if frames is None else int(frames)


def record_of(run: Run, model: Wrapped, calibration: str = "platt", licence: str | None = None) -> dict[str, str]:
    """Return the record of a run, JSON or plain text by name; it holds no path of this machine.

    Args:
        run: the run.
        model: the exported module.
        calibration: name of its calibration.
        licence: the licence of the weights; None if it is not stated.
    """
    known = model.parts.calibration
    stored = {"name": "none"} if known is None else {"name": calibration, **known.to_settings()}
    return {
        "unmask": version("unmask"),
        "format": str(FORMAT),
        **model.parts.input.facts(),
        "labels": json.dumps(["real", "fake"]),
        "input": json.dumps(model.parts.input.describe()),
        "outputs": json.dumps(model.names),
        "threshold": json.dumps(run.score_thresholds),
        "calibration": json.dumps(stored),
        "recipe": json.dumps(run.config["data"]["recipe"]),
        "training_data": trained_on(run),
        "licence": licence or UNSTATED,
        "weights": file_hash(run.checkpoint),
        "config": json.dumps(_config(run)),
        "metrics": json.dumps(without_nan(_metrics(run))),
    }


def _config(run: Run) -> Settings:
    """Return the parts of the config that prepare a file for the detector."""
    data = run.config["data"]
    kept = {name: data[name] for name in ("recipe", "sampling", "loader")}
    about = {"name": trained_on(run), "demo": is_demo(data)}
    return {"name": run.config.get("name", run.preset), "seed": run.config.get("seed", 0), "data": about | kept}


def _metrics(run: Run) -> Settings:
    """Return the entries of metrics.json that an examination needs, and texts about the run's test split."""
    names = ("kind", "thresholds", "score_thresholds", "calibration", "remarks", "range")
    kept = {name: run.metrics[name] for name in names if name in run.metrics}
    return kept | {"about": {"errors": errors_of(run), "item": item_of(run), "summary": str(run.summary)}}
