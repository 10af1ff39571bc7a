"""Summarize a run for people: network, data, seed, date and main metric, read only from its files."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from unmask.config import Settings


@dataclass(frozen=True)
class Summary:
    """A short summary of a run; a field is empty if the run's files do not contain the value."""

    network: str
    data: str
    seed: str
    finished: str
    figure: str

    def __str__(self) -> str:
        """Return the summary as one line."""
        parts = (self.network, self.data, f"seed {self.seed}" if self.seed else "", self.finished, self.figure)
        return ", ".join(part for part in parts if part)


def summarize(folder: Path, config: Settings, metrics: Settings | None) -> Summary:
    """Summarize a run.

    Args:
        folder: the run folder; the date is that of its metrics.json.
        config: the config in the folder, resolved or not.
        metrics: the metrics of a finished run; None for an unfinished one.
    """
    module = config.get("module")
    module = module if isinstance(module, dict) else {}
    data = config.get("data")
    finished = ""
    if metrics is not None:
        finished = datetime.fromtimestamp((folder / "metrics.json").stat().st_mtime).strftime("%Y-%m-%d")
    return Summary(
        network="+".join(dict.fromkeys(_networks(module.get("network") or module))),
        data=str(data.get("name", "")) if isinstance(data, dict) else "",
        seed=str(config.get("seed", "")),
        finished=finished,
        figure="" if metrics is None else _figure(metrics),
    )


def _networks(node: object) -> Iterator[str]:
    """Yield the class of a network and, for its encoder, the class or the model name (timm)."""
    if not isinstance(node, dict) or "_target_" not in node:
        return
    yield str(node["_target_"]).rpartition(".")[2]
    encoder = node.get("encoder")
    if isinstance(encoder, dict):
        yield str(encoder["name"]) if isinstance(encoder.get("name"), str) else next(_networks(encoder), "encoder")


def _figure(metrics: Settings) -> str:
    """Return a detector's AUC on its test items or, for other runs, the metric that selected the weights."""
    test = metrics.get("test")
    value = test.get("video_auroc") if isinstance(test, dict) else None
    if isinstance(value, int | float):
        return f"test AUC {_digits(value)}"
    score = metrics.get("score")
    return f"{metrics.get('monitor', 'score')} {_digits(score)}" if isinstance(score, int | float) else ""


def _digits(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"
