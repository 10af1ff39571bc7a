"""Write report.html for finished runs: one self-contained page with metrics, plots, faces, protocol and audit.

  unmask report run=DIR
  unmask report run=[DIR_A,DIR_B] out=compare.html
  unmask report table=demo                 a table of conf/table: measured and published values, or "not run"
  unmask report table=demo run=true        first train and evaluate what is missing
  unmask report table=demo run=true hydra/launcher=joblib    train what is missing as jobs of one sweep
  unmask report run=DIR scores=out.csv     write the scores of the run: .csv, .parquet or .jsonl; no page

Everything is computed from files in the run folders: prediction tables, and heat maps made when the run was trained.
No model is run.
"""

from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from unmask.application import refuse_unread, verb
from unmask.console import say
from unmask.evaluation.scores import write_scores
from unmask.files import printable
from unmask.reporting.publish import report
from unmask.runs.errors import RunError
from unmask.runs.opening import open_run, writable
from unmask.runs.predictions import predictions_path
from unmask.studies import tables
from unmask.studies.launch import Launch


def export(cfg: DictConfig) -> Path:
    """Write the validation and test predictions of a run as one table of scores, and return its path.

    Raises:
        ValueError: several runs are given, or the run is not a detector's.
    """
    if isinstance(cfg.run, ListConfig):
        raise ValueError(f"scores={cfg.scores}: expected one run, because a table holds the scores of one detector")
    run, path = open_run(str(cfg.run)), Path(cfg.scores)
    if not run.detects:
        raise RunError(f"run={run.folder}: {run.name} is a {run.kind} and has no scores; expected a run of a detector")
    parts = [run.predictions("test")]
    if predictions_path(run.folder, "val").is_file():  # missing for imported scores without validation rows
        parts.insert(0, run.predictions("val"))
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    write_scores(path, table)
    say(f"scores: {printable(str(path))}")
    return path


def chosen_launcher() -> Launch | None:
    """Return what starts trainings through the launcher chosen by `hydra/launcher=...`; None if none was chosen."""
    job = HydraConfig.get()
    if job.runtime.choices["hydra/launcher"] == "basic":
        return None
    from unmask.commands.train import run  # imported here, because a report does not need PyTorch Lightning

    keys = ("hydra/launcher=", "hydra.launcher.")
    return Launch(run, [text for text in job.overrides.hydra if text.lstrip("+~").startswith(keys)])


@verb("report")
def main(cfg: DictConfig) -> None:
    """Run `unmask report`."""
    if cfg.get("table") is not None:
        refuse_unread(("table", "table.", "run", "out", "overrides", "resamples"), "has no effect on a table")
        tables.make(cfg, chosen_launcher())
        return
    if not cfg.run or str(cfg.run).lower() == "true":
        raise ValueError("nothing to report: pass run=DIR, run=[DIR_A,DIR_B] or table=NAME (unmask list tables)")
    if cfg.scores is not None:
        refuse_unread(("run", "scores"), "has no effect when scores are written, because no page is made")
        export(cfg)
        return
    refuse_unread(
        ("run", "out", "title", "resamples"), "has no effect on a report of runs; for a table, use table=NAME"
    )
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    report(
        [writable(open_run(str(folder))).folder for folder in folders],
        Path(cfg.out) if cfg.out else None,
        cfg.title,
        cfg.resamples,
    )


if __name__ == "__main__":
    main()
