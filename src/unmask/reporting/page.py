"""Render the report as one self-contained HTML file."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from unmask.config import Settings
from unmask.files import write_text
from unmask.metrics import aggregate, bootstrap, detection
from unmask.metrics.groups import Gap, Group, largest_gap
from unmask.metrics.robustness import Robustness, mean_auroc
from unmask.reporting import examples, plots, robustness, tables
from unmask.reporting.across import Matrix
from unmask.reporting.cost import HEADINGS, digits
from unmask.reporting.lanes import crops, lanes
from unmask.reporting.remarks import remarks
from unmask.reporting.run import NAMES, Figure, RunReport, Strips, all_methods, common_unit, percent, shares
from unmask.reporting.sounds import Sounds, player
from unmask.reporting.speech import HEADINGS as SPEECH
from unmask.reporting.speech import by_level

EDGE = 1e-6  # calibrated probabilities are clipped to [EDGE, 1 - EDGE] for the log loss

__all__ = ["RunReport", "Strips", "write"]

RESAMPLES = 1000  # number of bootstrap resamples for the comparison of runs


def write(
    path: Path,
    runs: Sequence[RunReport],
    title: str,
    strips: Strips | None = None,
    demo: bool = False,
    about: Mapping[str, str] | None = None,
    across: Matrix | None = None,
    sounds: Sounds | None = None,
) -> Path:
    """Write the report of one or several runs. The file is replaced atomically.

    Args:
        path: The HTML file; its folder is created.
        runs: The runs, in the order in which the page shows them.
        title: Heading of the page.
        strips: Callable that returns face crops (see `reporting.run.Strips`); None for a page without faces.
        demo: Whether the page states that rendered demo data were scored.
        about: Facts about the page itself, such as its date and the version that wrote it.
        across: The AUC of the runs on all data sets; None if there is only one data set.
        sounds: Callable that returns the recording of an item, for the players of the largest errors.

    Returns:
        `path`.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    shown = {"title": title, "demo": demo, "about": about or {}, "across": across}
    sections = [_section(run, strips, sounds) for run in runs]
    html = _environment().get_template("page.html.j2").render(shown, runs=sections, **_comparison(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)
    return path


def _environment() -> jinja2.Environment:
    """Return the environment of the templates, which escapes all values and rejects undefined values."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(names=NAMES, few=bootstrap.FEWEST, speech_names=SPEECH)
    environment.filters.update(digits=digits, percent=percent, exact=_exact, headings=_headings, png=_png, p=_p)
    return environment


def _comparison(runs: Sequence[RunReport]) -> dict[str, object]:
    """Collect the values for the comparison of runs: table, ROC curves, paired differences, and common audit."""
    shared = all(run.audit == runs[0].audit for run in runs)
    scored = {run.name: run.scored[run.whole] for run in runs}
    ranked = sorted(runs, key=lambda run: _value(run.figure("video", "all", "auroc")), reverse=True)
    return {
        "unit": common_unit(runs),
        "methods": all_methods(runs),
        "table": [(*row, tables.counts(row[0]), tables.coverage(row[0])) for row in tables.rows(runs)],
        "costs": _costs(runs),
        "seeds": list(tables.seed_rows(runs)),
        "overlay": _svg(plots.roc(scored)) if len(runs) > 1 else None,
        "pairs": bootstrap.pairwise({run.name: scored[run.name] for run in ranked}, RESAMPLES),
        "resamples": RESAMPLES,
        "audit": _audit(runs[0].audit) if shared else None,
        "audit_shared": shared,
    }


def _costs(runs: Sequence[RunReport]) -> dict[str, str]:
    """Return the cost table's columns, name -> heading; empty for one run, because its section shows the costs."""
    shown = {name: heading for name, heading in HEADINGS.items() if any(name in run.cost for run in runs)}
    return shown if len(runs) > 1 else {}


def _value(figure: Figure | None) -> float:
    return -1.0 if figure is None or not figure.known else figure.value


def _section(run: RunReport, strips: Strips | None, sounds: Sounds | None) -> dict[str, object]:
    """Collect the values for the section of one run."""
    levels, items = run.scored, detection.videos(run.predictions)
    scored, cut = levels[run.whole], run.score_thresholds["video"]
    drawn_of = _over_time if run.unit == "video" else _face
    wrong, errors = examples.errors(run.predictions, cut)
    drawn = {} if run.curves is None else plots.training(run.curves)
    return {
        "run": run,
        "remarks": remarks(run),
        "counts": {
            "real": int((items["label"] == 0).sum()),
            "fake": int((items["label"] == 1).sum()),
            "scored": len(scored),
            "frames": len(next(iter(levels.values()))),
        },
        "coverage": tables.coverage(run),
        "plots": {
            "roc": _svg(plots.roc(levels)),
            "pr": _svg(plots.precision_recall(levels)),
            "methods": _svg(plots.by_method(run)),
            "histogram": _svg(plots.histogram(scored, run.thresholds["video"], f"{run.unit}s")),
            "reliability": _svg(plots.reliability(levels)),
            "risk": _svg(plots.risk(levels, run.score_thresholds)),
        },
        "training": {name: _svg(content) for name, content in drawn.items()},
        "confusion": _confusion(scored, cut),
        "typical": [(choice, drawn_of(run, choice, strips)) for choice in examples.typical(run.predictions)],
        "errors": [(choice, _face(run, choice, strips), _player(choice, sounds)) for choice in wrong],
        "num_errors": errors,
        "heat": [(shown, _data(shown.png, "png")) for shown in run.heat.shown] if run.heat else [],
        "layers": [(one, [(shown, _data(shown.png, "png")) for shown in one.shown]) for one in run.layers],
        "validation": None if run.validation is None else detection.quick(run.validation),
        "audit": _audit(run.audit),
        "aggregations": _aggregations(run),
        "groups": [(name, groups, _gaps(groups)) for name, groups in run.groups.items()],
        "calibrations": _calibrations(run, scored),
        "suites": [_suite(name, found) for name, found in run.suites.items()],
        "speech": [] if run.speech is None else by_level(run.speech),
    }


def _gaps(groups: Sequence[Group]) -> list[tuple[str, Gap | None]]:
    return [(name, largest_gap(groups, label)) for label, name in enumerate(("FPR", "TPR"))]


def _aggregations(run: RunReport) -> list[tuple[str, bool, float]]:
    """Return (name, whether its validation AUC is best, test AUC) for each way to aggregate a video's frame scores."""
    if run.unit != "video" or run.validation is None or not len(run.scored["frame"]):
        return []
    chosen, found = aggregate.choose(run.validation), []
    for name in aggregate.AGGREGATIONS:
        scored = detection.videos(run.predictions, name).dropna(subset=["score"])
        found.append((name, name == chosen, float(detection.auroc(scored["score"], scored["label"]))))
    return found


def _calibrations(run: RunReport, scored: pd.DataFrame) -> list[tuple[str, float, float, float]]:
    """Return (name, ECE, Brier score, log loss) of the scored items without calibration and with each calibration."""
    if not len(scored):
        return []
    label = scored["label"]
    maps = {"none": detection.probability, **run.calibrations}
    found = []
    for name, one in maps.items():
        prob = one(scored["score"])
        loss = detection.log_loss(detection.logit(np.clip(prob, EDGE, 1 - EDGE)), label)
        found.append((name, float(detection.ece(prob, label)), float(detection.brier(prob, label)), float(loss)))
    return found


def _suite(name: str, found: Sequence[Robustness]) -> dict[str, object]:
    """Collect the values for one robustness suite."""
    rates = (found[0].fpr, found[0].tpr)
    count = sum(rate.total for rate in rates if rate is not None)
    drawn = _svg(robustness.plot(found))
    return {"name": name, "steps": found, "count": count, "mean": mean_auroc(found), "plot": drawn}


def _confusion(scored: pd.DataFrame, threshold: float) -> list[tuple[str, list[tuple[int, str]]]]:
    """Count the items by true class (rows) and predicted class (columns); add each count's share of its row."""
    called = scored["score"] > threshold
    rows = []
    for label, name in enumerate(("real", "fake")):
        of_class = called[scored["label"] == label]
        numbers = (int((~of_class).sum()), int(of_class.sum()))
        rows.append((name, list(zip(numbers, shares(numbers), strict=True))))
    return rows


def _audit(audit: Settings | None) -> Settings | None:
    """Add to an audit whether each interval contains 0.5 (`held`), and the methods for which it does not (`missed`)."""
    if audit is None:
        return None
    if audit["auroc"] is None:
        return {**audit, "fine": True}
    parts = {"all": audit, **audit.get("methods", {})}
    held = {name: bool(part["low"] <= 0.5 <= part["high"]) for name, part in parts.items()}
    missed = [name for name in parts if name != "all" and not held[name]]
    fine = held["all"] and bool(audit.get("passed", True))
    return {**audit, "parts": parts, "held": held, "missed": missed, "fine": fine}


def _over_time(run: RunReport, choice: examples.Choice, strips: Strips | None) -> dict[str, object]:
    """Collect a plot of a video's scores over time, its number of faces, and crops of the highest-scoring faces."""
    rows, cut = run.predictions[run.predictions["item"] == choice.item], run.score_thresholds["frame"]
    return {
        "plot": _svg(plots.scores(rows, score_threshold=cut)),
        "tracks": rows.dropna(subset=["logit"])["track"].nunique(),
        "lanes": lanes(rows, strips, score_threshold=cut) if strips else [],
    }


def _face(run: RunReport, choice: examples.Choice, strips: Strips | None) -> str | None:
    if strips is None:
        return None
    frame, track = examples.wrongest_frame(run.predictions, choice.item, choice.label)
    return _png(crops(strips, choice.item, [frame], track)[0])


def _player(choice: examples.Choice, sounds: Sounds | None) -> str | None:
    sound = None if sounds is None else sounds(choice.item)
    return None if sound is None else player(sound)


def _png(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return _data(buffer.getvalue(), "png")


def _data(content: bytes, kind: str) -> str:
    """Encode a picture as a data URL, so that the page loads no other files."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _svg(content: bytes) -> str:
    return _data(content, "svg+xml")


def _exact(value: float) -> str:
    """Format a number with all digits, for programs that read the page."""
    return repr(float(value))


def _p(value: float) -> str:
    """Format a p-value with three decimals; very small values become `< 0.001`, not 0."""
    return f"{value:.3f}" if value >= 0.0005 else "< 0.001"


def _headings(html: str) -> list[tuple[str, str, Markup]]:
    """List the headings of a page that have an id, each as level, id and escaped text."""
    found = re.findall(r'<h([23]) id="([^"]*)">(.*?)</h[23]>', html, flags=re.DOTALL)
    return [(level, name, Markup(text)) for level, name, text in found]
