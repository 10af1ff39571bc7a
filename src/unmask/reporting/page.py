"""The report: one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from unmask.config import Settings
from unmask.files import write_text
from unmask.metrics import bootstrap, detection
from unmask.reporting import examples, plots, tables
from unmask.reporting.remarks import remarks
from unmask.reporting.run import NAMES, Figure, RunReport, Strips, all_methods, common_unit, percent, shares
from unmask.reporting.timeline import crops

__all__ = ["RunReport", "Strips", "write"]


def write(path: Path, runs: Sequence[RunReport], title: str, strips: Strips | None = None, demo: bool = False) -> Path:
    """Write the report of one or several runs, all at once or not at all.

    Args:
        path: The HTML file; its folder is made.
        runs: In the order of the page.
        title: Heading of the page.
        strips: Gives face crops by item, frame numbers and track; without it the page has no faces.
        demo: Say on top that rendered demo data were scored.

    Returns:
        `path`.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, exact=_exact)
    html = environment.get_template("page.html.j2").render(
        title=title,
        demo=demo,
        names=NAMES,
        few=bootstrap.FEWEST,
        runs=[_section(run, strips) for run in runs],
        **_comparison(runs),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)
    return path


def _comparison(runs: Sequence[RunReport]) -> dict[str, object]:
    """Gather what concerns all runs: the table, the overlaid curves, paired differences, a shared audit."""
    shared = all(run.audit == runs[0].audit for run in runs)
    scored = {run.name: run.scored[run.whole] for run in runs}
    best = max(runs, key=lambda run: _value(run.figure("video", "all", "auroc")))
    return {
        "unit": common_unit(runs),
        "methods": all_methods(runs),
        "table": [(*row, tables.counts(row[0]), tables.coverage(row[0])) for row in tables.rows(runs)],
        "overlay": _svg(plots.roc(scored)) if len(runs) > 1 else None,
        "best": best.name,
        "pairs": [(run.name, _paired(best, run)) for run in runs if run is not best],
        "audit": _audit(runs[0].audit) if shared else None,
        "audit_shared": shared,
    }


def _value(figure: Figure | None) -> float:
    return -1.0 if figure is None or not figure.known else figure.value


def _paired(best: RunReport, run: RunReport) -> bootstrap.Comparison | None:
    """Compare on common videos; None where two runs have none (scored on different data)."""
    try:
        return bootstrap.paired(best.predictions, run.predictions)
    except ValueError:
        return None


def _section(run: RunReport, strips: Strips | None) -> dict[str, object]:
    """Gather one run's part of the page."""
    levels, items = run.scored, detection.videos(run.predictions)
    scored, cut = levels[run.whole], run.score_thresholds["video"]
    drawn_of = _timeline if run.unit == "video" else _face
    wrong, errors = examples.errors(run.predictions, cut)
    drawn = None if run.curves is None else plots.training(run.curves)
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
            "training": _svg(drawn) if drawn else None,
        },
        "confusion": _confusion(scored, cut),
        "typical": [(choice, drawn_of(run, choice, strips)) for choice in examples.typical(run.predictions)],
        "errors": [(choice, _face(run, choice, strips)) for choice in wrong],
        "num_errors": errors,
        "heat": [(shown, _data(shown.png, "png")) for shown in run.heat.shown] if run.heat else [],
        "validation": None if run.validation is None else detection.quick(run.validation),
        "audit": _audit(run.audit),
    }


def _confusion(scored: pd.DataFrame, threshold: float) -> list[tuple[str, list[tuple[int, str]]]]:
    """Count truth against call: rows real, fake; columns called real, called fake, with the share of the row."""
    called = scored["score"] > threshold
    rows = []
    for label, name in enumerate(("real", "fake")):
        of_class = called[scored["label"] == label]
        numbers = (int((~of_class).sum()), int(of_class.sum()))
        rows.append((name, list(zip(numbers, shares(numbers), strict=True))))
    return rows


def _audit(audit: Settings | None) -> Settings | None:
    """Judge each interval of the audit: does it hold 0.5?"""
    if audit is None:
        return None
    parts = {"all": audit, **audit.get("methods", {})}
    held = {name: bool(part["low"] <= 0.5 <= part["high"]) for name, part in parts.items()}
    missed = [name for name in parts if name != "all" and not held[name]]
    fine = held["all"] and bool(audit.get("passed", True))
    return {**audit, "parts": parts, "held": held, "missed": missed, "fine": fine}


def _timeline(run: RunReport, choice: examples.Choice, strips: Strips | None) -> str:
    rows = run.predictions[run.predictions["item"] == choice.item]
    return _data(plots.timeline(rows, strips, score_threshold=run.score_thresholds["frame"]), "png")


def _face(run: RunReport, choice: examples.Choice, strips: Strips | None) -> str | None:
    if strips is None:
        return None
    frame, track = examples.wrongest_frame(run.predictions, choice.item, choice.label)
    return _data(_png(crops(strips, choice.item, [frame], track)[0]), "png")


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _data(content: bytes, kind: str) -> str:
    """Put a picture into its own address, so that the page refers to nothing outside."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _svg(content: bytes) -> str:
    return _data(content, "svg+xml")


def _exact(value: float) -> str:
    """Write all digits, for machines that read the page."""
    return repr(float(value))
