"""Where a page comes from: what wrote it and when, and the data and network of each run."""

import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from unmask.config import Settings
from unmask.runs.run import Run

CODE = Path(__file__).parents[1]  # the folder of the package


def of_report(written: datetime) -> dict[str, str]:
    """Return the date of a page, and the version and git commit of the code that wrote it."""
    found = {"Written": _iso(written), "Version": f"unmask {version('unmask')}"}
    if commit := _commit(CODE):
        found["Git commit"] = commit
    return found


def of_run(run: Run) -> dict[str, str]:
    """Collect the date, data set, network, seed and folder of a run; unknown values are left out.

    A run does not record when it finished, but it writes metrics.json last, so the date is this file's modification
    time.
    """
    config = run.config
    finished = datetime.fromtimestamp((run.folder / "metrics.json").stat().st_mtime)
    found = {
        "Data set": config["data"].get("name") or " + ".join(_per_part(config["data"], "name")),
        "Data root": config["data"].get("root") or ", ".join(_per_part(config["data"], "root")),
        "Network": network((config.get("module") or {}).get("network") or {}),
        "Seed": "" if config.get("seed") is None else str(config["seed"]),
        "Run finished": f"{_iso(finished)} (date of metrics.json)",
        "Run folder": str(run.folder),
    }
    return {name: str(text) for name, text in found.items() if text}


def network(node: Settings) -> str:
    """Return a network's class name and, if its config names one, the model inside it."""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    given = node.get("encoder")
    encoder = given if isinstance(given, dict) else {}
    model = node.get("name") or encoder.get("name") or str(encoder.get("_target_", "")).rpartition(".")[2]
    return f"{name} ({model})" if name and model else name


def _per_part(data: Settings, key: str) -> Iterator[str]:
    """Yield a value for each data set of a mixture."""
    parts: Mapping[str, Settings] = data.get("parts") or {}
    for part in parts.values():
        source = part.get("source") or {}
        yield str(part.get(key) or source.get(key) or "unknown")


def _iso(date: datetime) -> str:
    return date.astimezone().isoformat(sep=" ", timespec="seconds")


def _commit(folder: Path) -> str:
    """Return the commit of the git checkout that tracks this folder; empty outside a checkout or without git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", "__init__.py"
        )  # an installed package may be inside another project's checkout
        return git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=, with uncommitted changes")
    except (OSError, subprocess.SubprocessError):
        return ""
