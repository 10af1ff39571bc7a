"""Summarize a run in one line: network, data, seed, date and main metric. Only files of the run are read."""

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from unmask.config import Settings

FINISHED = "finished"  # key in the metrics.json of a pack: a file that was copied has lost its date


@dataclass(frozen=True)
class Summary:
    """A short summary of a run. A field is empty if the files of the run do not contain its value."""

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
        folder: the run folder; the date in the summary is the date of its metrics.json.
        config: the config in the folder, resolved or not.
        metrics: the content of metrics.json; None for an unfinished run.
    """
    module, data = (node if isinstance(node, dict) else {} for node in (config.get("module"), config.get("data")))
    return Summary(
        network=network(module.get("network") or module),
        data=data_set(data, "name"),
        seed="" if config.get("seed") is None else str(config["seed"]),
        finished="" if metrics is None else finished(folder, metrics).strftime("%Y-%m-%d"),
        figure="" if metrics is None else _figure(metrics),
    )


def network(node: object) -> str:
    """Return the class name in a network's config, followed by the model or encoder in parentheses if it is given."""
    if not isinstance(node, dict):
        return ""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    given = node.get("encoder")
    encoder = given if isinstance(given, dict) else {}
    model = node.get("name") or encoder.get("name") or str(encoder.get("_target_", "")).rpartition(".")[2]
    return f"{name} ({model})" if name and model else name


def data_set(data: Settings, key: str) -> str:
    """Return the value of `key` (`name` or `root`) in a data config; for a mixture, join its data sets' values."""
    if data.get(key):
        return str(data[key])
    parts: Settings = data.get("parts") or {}
    values = (part.get(key) or (part.get("source") or {}).get(key) or "unknown" for part in parts.values())
    return (" + " if key == "name" else ", ").join(map(str, values))


def finished(folder: Path, metrics: Settings) -> datetime:
    """Return when a run finished: the date in the metrics of a pack, or the modification time of metrics.json."""
    if FINISHED in metrics:
        return datetime.fromisoformat(metrics[FINISHED])
    return datetime.fromtimestamp((folder / "metrics.json").stat().st_mtime)


def _figure(metrics: Settings) -> str:
    """Return the AUC on the test items as text or, without an AUC, the metric that selected the weights."""
    test = metrics.get("test")
    value = test.get("video_auroc") if isinstance(test, dict) else None
    if isinstance(value, int | float):
        return f"test AUC {digits(value)}"
    score = metrics.get("score")
    return f"{metrics.get('monitor', 'score')} {digits(score)}" if isinstance(score, int | float) else ""


def digits(value: float) -> str:
    """Format a metric with three decimals; `n/a` if it is NaN or infinite."""
    return f"{value:.3f}" if math.isfinite(value) else "n/a"
