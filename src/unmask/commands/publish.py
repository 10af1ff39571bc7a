"""Publish a finished run as a pack: a folder with weights, config, metrics and a model card that others can use.

  unmask publish run=DIR out=PACK licence=mit
  unmask predict photo.jpg run=PACK
  unmask publish run=DIR out=PACK licence=mit push=owner/name        upload it to the Hugging Face Hub
  unmask predict photo.jpg run=hf://owner/name@REVISION

predict, evaluate, report, serve, sample and module.network.encoder.run accept a pack wherever they accept a run folder.
checksums.json in a pack holds the size and the SHA-256 of each file. They are checked before anything else is read, and
nothing in a pack is executed.

The pack contains no pictures, no paths of this machine and, without names=true, no names of files. The model card
(README.md) states intended use, training data, metrics with intervals, robustness, limits, licence and citation. It
shows the results after ordinary handling if you run unmask evaluate run=DIR suite=handling first.

push=owner/name needs your login (hf auth login). A new repository is private unless you set private=false.
"""

from pathlib import Path

from omegaconf import DictConfig

from unmask.application import verb
from unmask.config.check import resolved
from unmask.console import say
from unmask.publishing.pack import Terms, publish
from unmask.publishing.push import push, require_repository
from unmask.runs.opening import open_run


@verb("publish")
def main(cfg: DictConfig) -> None:
    """Run `unmask publish`."""
    settings = resolved(cfg)
    run, out, licence, repository = (settings[key] for key in ("run", "out", "licence", "push"))
    missing = [key for key in ("run", "out") if not settings[key]]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: unmask publish run=DIR out=PACK")
    for key in ("names", "private"):
        if not isinstance(settings[key], bool):
            raise ValueError(f"{key}={settings[key]}: expected true or false")
    if repository is not None:
        require_repository(str(repository))
        if not licence:
            raise ValueError(
                "licence missing: others may not use weights without a licence; add licence=NAME, such as licence=mit"
            )
    terms = Terms(licence and str(licence), str(settings["cite"] or ""), settings["names"])
    digest = publish(open_run(run), Path(out), terms, settings["resamples"])
    say(f"pack: {out} (SHA-256 of checksums.json: {digest})")
    if repository is not None:
        address = push(Path(out), str(repository), settings["private"])
        say(f"uploaded: use it with run={address}")


if __name__ == "__main__":
    main()
