"""Facts about a report page and its runs: version, date, data and network."""

import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from unmask.runs.run import Run
from unmask.runs.summary import FINISHED, data_set, finished

CODE = Path(__file__).parents[1]  # the folder of the package


def of_report(written: datetime) -> dict[str, str]:
    """Return the date of a report page, and the version and git commit of the code that wrote it."""
    found = {"Written": _iso(written), "Version": f"unmask {version('unmask')}"}
    if commit := _commit(CODE):
        found["Git commit"] = commit
    return found


def of_run(run: Run) -> dict[str, str]:
    """Return the date, data set, network, seed and folder of a run; unknown values are left out."""
    config, summary = run.config, run.summary
    found = {
        "Data set": summary.data,
        "Data root": data_set(config["data"], "root"),
        "Network": summary.network,
        "Seed": summary.seed,
        "Run finished": _finished(run),
        "Run folder": str(run.folder),
    }
    return {name: text for name, text in found.items() if text}


def _finished(run: Run) -> str:
    origin = "" if FINISHED in run.metrics else " (date of metrics.json)"
    return f"{_iso(finished(run.folder, run.metrics))}{origin}"


def _iso(date: datetime) -> str:
    return date.astimezone().isoformat(sep=" ", timespec="seconds")


def _commit(folder: Path) -> str:
    """Return the commit of the git checkout that tracks this folder; empty if there is no checkout or no git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails if the package is in another project's checkout
        return git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=, with uncommitted changes")
    except (OSError, subprocess.SubprocessError):
        return ""
