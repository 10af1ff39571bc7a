"""Collect what a model card says about a run: its data, its metrics with intervals, and its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from unmask.config import Settings
from unmask.metrics.robustness import Robustness
from unmask.publishing.private import public_command
from unmask.reporting.across import matrix
from unmask.reporting.gather import gather
from unmask.reporting.remarks import remarks
from unmask.reporting.run import NAMES, Figure, RunReport
from unmask.reporting.table_generated import MEASURES, gather_generated
from unmask.runs.measured import Measured
from unmask.runs.run import Run, is_demo

SHOWN = ("auroc", "ap", "eer", "balanced_accuracy", "tpr_at_1", "tpr_at_5", "brier", "ece")  # metrics in the card
PRIVATE = ("Manifest",)  # entries of a protocol that no reader of a card needs


@dataclass(frozen=True)
class Facts:
    """What a model card says about a run.

    Attributes:
        name: name of the preset, and the seed if it is not 0.
        kind: the kind of the run.
        network: name of the network.
        data: name of the training data.
        demo: whether the run was trained on rendered demo data.
        faces: whether the detector sees faces; otherwise, it sees whole pictures.
        clips: number of frames of a clip; None if the detector sees single frames.
        image_size: side of the network's input, px.
        facts: size and cost of the network, heading -> text.
        command: the training command, without paths.
        protocol: how the metrics were measured, heading -> text.
        report: the metrics; None for a generator.
        suites: metrics after perturbations, by name of the suite.
        others: (name of another data set, AUC on it).
        generated: (name, value) of a generator's metrics.
        measured: the range of inputs in which the detector was measured; None if it is not known.
        limits: warnings about the run.
        figures: all metrics with their intervals, as JSON values.
        version: version of unmask.
    """

    name: str
    kind: str
    network: str
    data: str
    demo: bool
    faces: bool
    clips: int | None
    image_size: int | None
    facts: Mapping[str, str]
    command: str
    protocol: Mapping[str, str] = field(default_factory=dict)
    report: RunReport | None = None
    suites: Mapping[str, Sequence[Robustness]] = field(default_factory=dict)
    others: Sequence[tuple[str, Figure]] = ()
    generated: Sequence[tuple[str, str]] = ()
    measured: Measured | None = None
    limits: Sequence[str] = ()
    figures: Settings = field(default_factory=dict)
    version: str = ""


def facts_of(run: Run, resamples: int) -> Facts:
    """Collect the facts about a finished run.

    Args:
        run: the run.
        resamples: number of bootstrap resamples for each interval.
    """
    data, summary = run.config["data"], run.summary
    recipe = data.get("recipe") or {}
    shared: Settings = {
        "name": run.name,
        "kind": run.kind,
        "network": summary.network,
        "data": summary.data,
        "demo": is_demo(data),
        "faces": str(recipe.get("_target_", "")).endswith("FaceCrops"),
        "clips": (data.get("sampling") or {}).get("frames"),
        "image_size": (data.get("loader") or {}).get("image_size"),
        "command": public_command(str(run.metrics.get("command", ""))),
        "version": version("unmask"),
    }
    return Facts(**shared, **(_of_detector(run, resamples) if run.detects else _of_generator(run)))


def _of_detector(run: Run, resamples: int) -> Settings:
    report = gather(run, resamples)
    protocol = {key: text for key, text in report.protocol.items() if key not in PRIVATE}
    table = matrix([run], resamples)
    others = [(name, one) for name, one in zip(table.sets[1:], table.figures[0][1:], strict=True) if one is not None]
    summary = report.summary.replace({float("nan"): None}).to_dict("records")
    figures = {
        "protocol": protocol,
        "test": summary,
        "other_data": {name: one._asdict() for name, one in others},
        "robustness": {name: [_step(one) for one in steps] for name, steps in report.suites.items()},
    }
    return {
        "facts": dict(report.network),
        "protocol": protocol,
        "report": report,
        "suites": report.suites,
        "others": others,
        "measured": run.measured,
        "limits": remarks(report),
        "figures": figures,
    }


def _of_generator(run: Run) -> Settings:
    found = gather_generated(run)
    named = ((name, value) for name, value in found.figures.items() if name in MEASURES)
    shown = [(MEASURES[name].title, f"{value:.{MEASURES[name].digits}f}") for name, value in named]
    parameters = run.metrics.get("parameters")
    return {
        "facts": {} if parameters is None else {"Parameters": f"{parameters:,}"},
        "protocol": dict(found.protocol),
        "generated": shown,
        "limits": list(found.remarks),
        "figures": {"protocol": dict(found.protocol), "test": dict(found.figures)},
    }


def _step(one: Robustness) -> Settings:
    """Return one step of a suite as JSON values."""
    rates = {name: None if rate is None else list(rate) for name, rate in (("fpr", one.fpr), ("tpr", one.tpr))}
    return one._asdict() | rates


def rows(report: RunReport) -> list[tuple[str, Figure]]:
    """Return (title, metric) for the metrics in `SHOWN`, over all fakes and at the level of items."""
    titles = NAMES | {"balanced_accuracy": "Balanced accuracy"}
    found = ((titles[name], report.figure(report.whole, "all", name)) for name in SHOWN)
    return [(title, figure) for title, figure in found if figure is not None]
