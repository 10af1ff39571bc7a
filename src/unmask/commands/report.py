"""Write report.html for finished runs: one self-contained page with figures, plots, faces, protocol and audit.

  unmask report run=DIR
  unmask report run=[DIR_A,DIR_B] out=compare.html
  unmask report table=demo                 a table of conf/table: measured and published values, or "not run"
  unmask report table=demo run=true        run what is missing first

Everything is computed from files in the run folders: prediction tables, and heat maps made when the run was trained.
No model is run.
"""

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from unmask.application import refuse_unread, verb
from unmask.reporting.publish import report
from unmask.studies import tables


@verb("report")
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    if cfg.get("table") is not None:
        refuse_unread(("table", "table.", "run", "out", "overrides", "resamples"), "has no effect on a table")
        tables.make(cfg)
        return
    if cfg.run is None or str(cfg.run).lower() == "true":
        raise ValueError("nothing to report: pass run=DIR, run=[DIR_A,DIR_B] or table=NAME (unmask list tables)")
    refuse_unread(
        ("run", "out", "title", "resamples"), "has no effect on a report of runs; for a table, use table=NAME"
    )
    folders = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    report([Path(folder) for folder in folders], Path(cfg.out) if cfg.out else None, cfg.title, cfg.resamples)


if __name__ == "__main__":
    main()
