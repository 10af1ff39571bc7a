"""Examine uploaded files with an HTTP API and a web page; see docs/serving.md.

  unmask serve run=DIR                              then open http://127.0.0.1:8000
  unmask serve run=[DIR_A,DIR_B] processes=2        two detectors that must agree, in two processes
  UNMASK_TOKEN=... unmask serve run=DIR host=0.0.0.0 hosts=[unmask.example.org]

Child processes read the files, with limits on time, memory, pixels and duration. As far as the system supports it, they
have no access to the network or to other files. Uploads are deleted after use. Without a token, only programs on this
machine can connect.
"""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from unmask.application import verb
from unmask.config.build import build
from unmask.config.check import resolved

EXTRA = "unmask serve needs more packages: pip install 'unmask[serve]'"


def folders_of(run: object) -> tuple[Path, ...]:
    """Return the run folders that `run` names.

    Raises:
        ValueError: `run` names no folder.
    """
    named = run if isinstance(run, list) else str(run).split(",") if run is not None else []
    if not named:
        raise ValueError("run missing: unmask serve run=DIR")
    return tuple(Path(str(one)).absolute() for one in named)


@verb("serve")
def main(cfg: DictConfig) -> None:
    """Run `unmask serve`."""
    try:
        from unmask.web.child import Setup
        from unmask.web.loading import IMPORTS, load_runs
        from unmask.web.server import Address, default_spool, run
    except ImportError as error:
        raise ValueError(f"{EXTRA} ({error})") from None
    settings = resolved(cfg)
    folders = folders_of(settings["run"])
    load = partial(load_runs, folders, settings["calibration"], settings["trials"], settings["heatmaps"])
    setup = Setup(load, folders, build(settings["limits"]), IMPORTS)
    address = Address(settings["host"], settings["port"], tuple(settings["hosts"]))
    spool = Path(settings["spool"]) if settings["spool"] else default_spool()
    run(setup, address, settings["processes"], spool, settings["proxies"])


if __name__ == "__main__":
    main()
