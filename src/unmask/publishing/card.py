"""Write the model card of a pack: Markdown with the front matter of the Hugging Face Hub."""

import math
import re
from pathlib import Path

import jinja2
import yaml

from unmask.config import Settings
from unmask.publishing.facts import Facts, rows
from unmask.reporting import tables
from unmask.reporting.robustness import area_text, rate_text
from unmask.reporting.run import Figure, percent
from unmask.runs.measured import MEASURES, Measured

WORDS = {
    "side": "shorter side of the face or picture, px",
    "sharpness": "sharpness (variance of the Laplacian of the crop)",
    "blockiness": "blockiness of the crop",
    "bits": "bits per pixel of the file",
}
UNSTATED = "other"  # the hub's identifier for a licence that it does not know
#: The hub's names of metrics, by their titles.
TYPES = {"AUC": "roc_auc", "AP": "average_precision", "Balanced accuracy": "balanced_accuracy"}
_MARKUP = re.compile(r"([\\`*_\[\]<>&|#~])")


def card(facts: Facts, licence: str | None, cite: str, names: bool = False) -> str:
    """Return the text of README.md.

    Args:
        facts: what is known about the run.
        licence: an identifier of the hub, such as `mit`; None if it is not stated.
        cite: how to cite the detector; empty if only unmask is to be cited.
        names: whether the prediction tables contain the names of the items.
    """
    front = yaml.safe_dump(front_matter(facts, licence), sort_keys=False, allow_unicode=True)
    filled = (
        _environment()
        .get_template("card.md.j2")
        .render(
            facts=facts,
            licence=licence,
            cite=cite.strip(),
            names=names,
            metrics=_metrics(facts),
            suites={name: _suite(facts, name) for name in facts.suites},
            others=_others(facts),
            generated=tables.markdown_grid(["Metric", "Value"], facts.generated, 1) if facts.generated else "",
            ranges=_ranges(facts.measured),
        )
    )
    return f"---\n{front}---\n\n{filled}"


def front_matter(facts: Facts, licence: str | None) -> Settings:
    """Return the front matter of a model card: what the hub's search and its result tables read."""
    tags = ["unmask", "deepfake", "demonstration" if facts.demo else "research"]
    tags += ["deepfake-detection"] if facts.report is not None else ["image-generation"]
    task = "video-classification" if facts.clips else "image-classification"
    task = task if facts.report is not None else "unconditional-image-generation"
    terms = {"license": licence} if licence else {"license": UNSTATED, "license_name": "not-stated"}
    found: Settings = {**terms, "library_name": "unmask", "pipeline_tag": task, "tags": tags}
    if facts.report is None:
        return found
    known = [(title, figure) for title, figure in rows(facts.report) if figure.known]
    metrics = [
        {"type": TYPES.get(title, title.lower()), "name": title, "value": round(figure.value, 4)}
        for title, figure in known
    ]
    data = {"name": f"{facts.data}, test split", "type": facts.data}
    results = [{"task": {"type": task}, "dataset": data, "metrics": metrics}]
    index = [{"name": facts.name, "results": results}] if metrics and not facts.demo else []
    return found | {"metrics": ["roc_auc"]} | ({"model-index": index} if index else {})


def _environment() -> jinja2.Environment:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(  # Markdown: `md` escapes the values that come from a run
        loader=folder, autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(md=escaped)
    return environment


def escaped(text: object) -> str:
    """Escape the characters of a text that Markdown or HTML would interpret, and join its lines."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def _metrics(facts: Facts) -> str:
    """Return a table of the metrics over all fakes, and one of the AUC by manipulation; empty for a generator."""
    report = facts.report
    if report is None:
        return ""
    shown = [[title, *_cells(figure)] for title, figure in rows(report)]
    methods = [name for name in report.methods() if name != "all"]
    found = [(name, report.figure(report.whole, name, "auroc")) for name in methods]
    shown += [[f"AUC, {escaped(name)}", *_cells(figure)] for name, figure in found if figure is not None]
    return tables.markdown_grid(["Metric", "Value", "95 % interval", "Real/fake", "Scored"], shown, 1)


def _cells(figure: Figure) -> list[str]:
    value = f"{figure.value:.3f}" if figure.known else f"n/a ({figure.reason})"
    interval = f"{figure.low:.3f} to {figure.high:.3f}" if figure.bounded else figure.unbounded
    return [value, interval, f"{figure.real}/{figure.fake}", percent(figure.coverage)]


def _suite(facts: Facts, name: str) -> str:
    """Return the robustness curve of a suite as a table: the AUC after each perturbation, by level."""
    body = []
    for one in facts.suites[name]:
        bounds = "too few" if math.isnan(one.low) else f"{one.low:.3f} to {one.high:.3f}"
        words = escaped(one.words) if one.level else "none"
        body.append([words, str(one.level), area_text(one), bounds, rate_text(one.tpr), rate_text(one.fpr)])
    return tables.markdown_grid(["Perturbation", "Level", "AUC", "95 % interval", "TPR", "FPR"], body, 1)


def _others(facts: Facts) -> str:
    if not facts.others:
        return ""
    body = [[escaped(name), *_cells(figure)] for name, figure in facts.others]
    return tables.markdown_grid(["Data set", "AUC", "95 % interval", "Real/fake", "Scored"], body, 1)


def _ranges(measured: Measured | None) -> list[str]:
    """Return a line for each measure of the range in which the detector was measured."""
    if measured is None:
        return []
    known = [(WORDS[name], measured.limits[name]) for name in MEASURES if name in measured.limits]
    return [f"{words}: {limits.low:.3g} to {limits.high:.3g}" for words, limits in known]
