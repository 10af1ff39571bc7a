"""Write a run folder from scores that were computed elsewhere: predictions and thresholds, but no weights."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import yaml

from unmask.config import Settings
from unmask.files import printable
from unmask.metrics import detection
from unmask.metrics.calibrate import fit_all
from unmask.runs.errors import RunError
from unmask.runs.figures import write_json
from unmask.runs.folder import clear
from unmask.runs.identity import write_config
from unmask.runs.predictions import predictions_path, write_predictions

IMPORTED = "imported"  # key in config.yaml and metrics.json that marks a run with imported scores
PLAIN = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
MONITOR = "video_auroc"


@dataclass(frozen=True)
class Origin:
    """Where imported scores come from.

    Attributes:
        file: name of the file with the scores.
        column: name of the column with the scores.
        holds: what the column holds: `logits` or `probabilities`.
        sha256: hash of the file.
        command: the command line of the import.
    """

    file: str
    column: str
    holds: str
    sha256: str
    command: str


def write_run(folder: Path, name: str, test: pd.DataFrame, val: pd.DataFrame, origin: Origin) -> float:
    """Write a run of kind `detector` without weights; an earlier import in the same folder is replaced.

    Args:
        folder: the run folder.
        name: name of the run, `GROUP/NAME` or `NAME`; tables show only `NAME`.
        test: the prediction table of the test split.
        val: the prediction table of the validation split; may be empty. The threshold is fitted to this table.
        origin: where the scores come from.

    Returns:
        The threshold for the score of an item (not of a single frame), as a probability.

    Raises:
        RunError: the folder contains anything but an earlier import, or a part of `name` is not a valid file name.
    """
    if wrong := [part for part in name.split("/") if not PLAIN.fullmatch(part) or part in (".", "..")]:
        raise RunError(
            f"name={printable(name)}: '{printable(wrong[0])}' is not a valid file name; choose another with name=NAME"
        )
    _require_free(folder)
    clear(folder)
    about = asdict(origin)
    write_config({"name": name, "data": {"name": _dataset(test)}, IMPORTED: about}, folder)
    cuts, words = _thresholds(val)
    tables = {"test": test} | ({"val": val} if len(val) else {})
    figures = {split: detection.quick(table) | detection.per_dataset(table) for split, table in tables.items()}
    for split, table in tables.items():
        protocol = _protocol(table, split, origin) | {"Threshold": words}
        write_predictions(predictions_path(folder, split), table, protocol, figures[split])
    shown = {level: float(detection.probability(cut)) for level, cut in cuts.items()}
    detects: Settings = {"thresholds": shown, "score_thresholds": cuts, "calibration": _calibration(val)}
    score = figures["val"][MONITOR] if "val" in figures else None
    facts = {"kind": "detector", IMPORTED: about, "monitor": f"val/{MONITOR}", "score": score, **detects}
    remarks = [f"The threshold is {words}."] if words.startswith("0.5") else []
    write_json(folder / "metrics.json", facts | {"remarks": remarks, "command": origin.command} | figures)
    return shown["video"]


def _require_free(folder: Path) -> None:
    """Raise RunError unless a folder is missing or empty, or contains an earlier import."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    config = folder / ".hydra" / "config.yaml"
    try:
        earlier = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None
    except (OSError, ValueError, yaml.YAMLError):
        earlier = None
    if not isinstance(earlier, dict) or IMPORTED not in earlier:
        raise RunError(f"{folder} is not empty and holds no imported scores; choose another name with name=NAME")


def _dataset(table: pd.DataFrame) -> str:
    """Return the names of all data sets of a table, joined into one name without slashes."""
    names = " + ".join(dict.fromkeys(table["dataset"]))
    return re.sub(r"[/\\]", "-", names)[:200]


def _thresholds(val: pd.DataFrame) -> tuple[dict[str, float], str]:
    """Return the thresholds as logits, and a text that says how they were chosen."""
    scored = val[val["logit"].notna()]
    counts = [int((scored["label"] == label).sum()) for label in (0, 1)]
    if not len(val):
        return {"frame": 0.0, "video": 0.0}, "0.5, not fitted, because no validation scores were imported"
    if not min(counts):
        missing = ("real", "fake")[counts.index(0)]
        return {"frame": 0.0, "video": 0.0}, f"0.5, not fitted, because no {missing} validation item was scored"
    return detection.threshold(val), "the one with the best balanced accuracy on the imported validation scores"


def _calibration(val: pd.DataFrame) -> Settings:
    """Fit the calibrations to the validation items and return the fitted settings; empty if no item has a score."""
    scored = detection.videos(val).dropna(subset=["score"])
    return dict(fit_all(scored["score"], scored["label"])) if len(scored) else {}


def _protocol(table: pd.DataFrame, split: str, origin: Origin) -> dict[str, str]:
    items = table.drop_duplicates("item")
    real, names = int((items["label"] == 0).sum()), " + ".join(dict.fromkeys(table["dataset"]))
    converted = ", converted to logits" if origin.holds == "probabilities" else ""
    image = detection.unit(table) == "image"
    return {
        "Data": f"{names}, {split} split: {real} real and {len(items) - real} fake items",
        "Split": "as in the imported file",
        "Scores": f"Scores of {printable(origin.file)}, column {printable(origin.column)} ({origin.holds}{converted})",
        "File": f"SHA-256 {origin.sha256[:12]}",
        "Aggregation": "none" if image else "a video's score is the mean probability of its rows",
        "Selection": "not known: the detector was trained elsewhere",
    }
