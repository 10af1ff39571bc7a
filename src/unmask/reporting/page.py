"""The report: one self-contained HTML file."""

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
from unmask.metrics import bootstrap, detection
from unmask.reporting import examples, plots, tables
from unmask.reporting.lanes import crops, lanes
from unmask.reporting.remarks import remarks
from unmask.reporting.run import NAMES, Figure, RunReport, Strips, all_methods, common_unit, percent, shares

__all__ = ["RunReport", "Strips", "write"]


def write(
    path: Path,
    runs: Sequence[RunReport],
    title: str,
    strips: Strips | None = None,
    demo: bool = False,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write the report of one or several runs, atomically.

    Args:
        path: The HTML file; its folder is created.
        runs: The runs, in the order in which the page shows them.
        title: Heading of the page.
        strips: A callable that returns the face crops of an item, given its frame numbers and a track; None for a page
            without faces.
        demo: Whether to state at the top that rendered demo data were scored.
        about: Where the page itself comes from, such as its date and the version that wrote it.

    Returns:
        `path`.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    template = _environment().get_template("page.html.j2")
    html = template.render(
        title=title,
        demo=demo,
        about=about or {},
        runs=[_section(run, strips) for run in runs],
        **_comparison(runs),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)
    return path


def _environment() -> jinja2.Environment:
    """Return the environment of the templates, which escapes all values and rejects undefined ones."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(names=NAMES, few=bootstrap.FEWEST)
    environment.filters.update(percent=percent, exact=_exact, headings=_headings, png=_png)
    return environment


def _comparison(runs: Sequence[RunReport]) -> dict[str, object]:
    """Collect what compares the runs: the table, overlaid curves and paired differences; also a shared audit."""
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
    """Compare two runs on the items that both scored; None if there are no such items."""
    try:
        return bootstrap.paired(best.predictions, run.predictions)
    except ValueError:
        return None


def _section(run: RunReport, strips: Strips | None) -> dict[str, object]:
    """Collect one run's part of the page."""
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
        },
        "training": {name: _svg(content) for name, content in drawn.items()},
        "confusion": _confusion(scored, cut),
        "typical": [(choice, drawn_of(run, choice, strips)) for choice in examples.typical(run.predictions)],
        "errors": [(choice, _face(run, choice, strips)) for choice in wrong],
        "num_errors": errors,
        "heat": [(shown, _data(shown.png, "png")) for shown in run.heat.shown] if run.heat else [],
        "validation": None if run.validation is None else detection.quick(run.validation),
        "audit": _audit(run.audit),
    }


def _confusion(scored: pd.DataFrame, threshold: float) -> list[tuple[str, list[tuple[int, str]]]]:
    """Count the items by true class (rows) and predicted class (columns), with the share of the row."""
    called = scored["score"] > threshold
    rows = []
    for label, name in enumerate(("real", "fake")):
        of_class = called[scored["label"] == label]
        numbers = (int((~of_class).sum()), int(of_class.sum()))
        rows.append((name, list(zip(numbers, shares(numbers), strict=True))))
    return rows


def _audit(audit: Settings | None) -> Settings | None:
    """Add to the audit which of its intervals contain 0.5."""
    if audit is None:
        return None
    parts = {"all": audit, **audit.get("methods", {})}
    held = {name: bool(part["low"] <= 0.5 <= part["high"]) for name, part in parts.items()}
    missed = [name for name in parts if name != "all" and not held[name]]
    fine = held["all"] and bool(audit.get("passed", True))
    return {**audit, "parts": parts, "held": held, "missed": missed, "fine": fine}


def _over_time(run: RunReport, choice: examples.Choice, strips: Strips | None) -> dict[str, object]:
    """Collect a plot of a video's scores over time, its number of faces, and crops of the faces that score highest."""
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


def _png(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return _data(buffer.getvalue(), "png")


def _data(content: bytes, kind: str) -> str:
    """Encode a picture as a data URL, so that the page loads nothing."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _svg(content: bytes) -> str:
    return _data(content, "svg+xml")


def _exact(value: float) -> str:
    """Write all digits, for programs that read the page."""
    return repr(float(value))


def _headings(html: str) -> list[tuple[str, str, Markup]]:
    """List the headings of a page that have an id: level, id, escaped text."""
    found = re.findall(r'<h([23]) id="([^"]*)">(.*?)</h[23]>', html, flags=re.DOTALL)
    return [(level, name, Markup(text)) for level, name, text in found]
