"""Examine uploaded files with an HTTP API and a web page; see docs/serving.md.

  unmask serve run=DIR                              then open http://127.0.0.1:8000
  unmask serve run=[DIR_A,DIR_B] processes=2        two detectors that must agree, in two processes
  unmask serve model=meso4.onnx                     an exported model, without PyTorch
  UNMASK_TOKEN=... unmask serve run=DIR host=0.0.0.0 hosts=[unmask.example.org]

Child processes read the files, with limits on time, memory, pixels and duration. As far as the system supports it, they
have no access to the network or to other files. Uploads are deleted after use. Without a token, only programs on this
machine can connect.
"""

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from unmask.application import verb
from unmask.config import Settings
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.runs.address import folder_of

EXTRA = "unmask serve needs more packages: pip install 'unmask[serve]'"


def folders_of(run: object) -> tuple[Path, ...]:
    """Return the run folders or exported models that `run` names; packs on the Hugging Face Hub are downloaded.

    Raises:
        ValueError: `run` names no folder, or a pack cannot be downloaded.
    """
    named = run if isinstance(run, list) else str(run).split(",") if run is not None else []
    if not named:
        raise ValueError("run missing: unmask serve run=DIR")
    return tuple(folder_of(str(one)).absolute() for one in named)


def check(settings: Settings) -> None:
    """Check the switches and the number of processes.

    Raises:
        ValueError: a value is not true or false, or not a positive whole number.
    """
    for key in ("trials", "explain"):
        if not isinstance(settings[key], bool):
            raise ValueError(f"{key}={settings[key]}: expected true or false")
    count = settings["processes"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"processes={count}: expected a whole number of 1 or more")


@verb("serve")
def main(cfg: DictConfig) -> None:
    """Run `unmask serve`."""
    try:
        from unmask.web.child import Setup
        from unmask.web.loading import load_runs, read_by
        from unmask.web.server import Address, default_spool, run
    except ImportError as error:
        raise ValueError(f"{EXTRA} ({error})") from None
    settings = resolved(cfg)
    check(settings)
    if settings["run"] is not None and settings["model"] is not None:
        raise ValueError("run and model are both given: give run folders or exported models, not both")
    folders = folders_of(settings["run"] if settings["model"] is None else settings["model"])
    load = partial(load_runs, folders, settings["calibration"], settings["trials"], settings["explain"])
    setup = Setup(load, *read_by(folders, build(settings["limits"])))
    address = Address(settings["host"], settings["port"], tuple(settings["hosts"]))
    spool = Path(settings["spool"]) if settings["spool"] else default_spool()
    run(setup, address, settings["processes"], spool, settings["proxies"])


if __name__ == "__main__":
    main()
