"""Write a finished run as a pack (see `unmask.runs.pack`), with a model card."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import yaml

from unmask.config import Settings
from unmask.files import write_text
from unmask.publishing.card import card
from unmask.publishing.facts import Facts, facts_of
from unmask.publishing.private import public_command, public_config, public_table, without_names
from unmask.runs import pack
from unmask.runs.errors import RunError
from unmask.runs.figures import write_json
from unmask.runs.folder import GENERATION
from unmask.runs.predictions import ROBUSTNESS, read_predictions, write_predictions
from unmask.runs.run import Run
from unmask.runs.summary import FINISHED
from unmask.runs.summary import finished as finished_at
from unmask.runs.tensors import write_tensors

#: Entries of metrics.json that are published as they are.
KEPT = (
    "kind", "monitor", "score", "best_epoch", "epochs", "remarks", "parameters", "thresholds", "score_thresholds",
    "calibration", "flops", "latency", "range", "cv", "val", "test",
)  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """What only the publisher knows.

    Attributes:
        licence: an identifier of the Hugging Face Hub, such as `mit`; None if it is not stated.
        cite: how to cite the detector, as plain text or BibTeX; empty if only unmask is to be cited.
        names: whether the prediction tables keep the names of the items.
    """

    licence: str | None = None
    cite: str = ""
    names: bool = False


def publish(run: Run, out: Path, terms: Terms, resamples: int = 1000) -> str:
    """Write a pack, and return the SHA-256 of its checksums.json.

    The pack is written next to `out` and renamed, so `out` is never incomplete. An earlier pack is replaced only if all
    of its files are as they were written.

    Args:
        run: a finished run with weights.
        out: the folder of the pack.
        terms: licence and citation.
        resamples: number of bootstrap resamples for each interval.

    Raises:
        RunError: the run has no weights or is a face swapper, a value would reveal a path of this machine, or `out`
            exists and is not an unchanged pack.
    """
    run.require_weights()
    require_publishable(run)
    require_free(out)
    facts = facts_of(run, resamples)
    with _replaced(out) as part:
        config = yaml.safe_dump(public_config(run.config), sort_keys=False, allow_unicode=True)
        write_text(part / pack.CONFIG, config)
        write_tensors(part / pack.WEIGHTS, run.weights())
        write_json(part / pack.METRICS, _metrics(run, facts))
        _write_tables(run, part, terms.names)
        for name in (pack.CLOUD, GENERATION):
            if (run.folder / name).is_file():
                shutil.copyfile(run.folder / name, part / name)
        write_text(part / pack.CARD, card(facts, terms.licence, terms.cite, terms.names))
        (part / pack.CHECKSUMS).write_bytes(pack.listing(pack.listed(part)))
        Run(part).module()  # the pack is verified, and its weights fit the config
    return pack.digest(out)


def require_publishable(run: Run) -> None:
    """Raise RunError for a face swapper, whose weights contain the faces of people."""
    if run.kind == "swapper":
        raise RunError(
            f"run={run.folder}: {run.name} is a swapper, and its weights contain the faces of the people on whom it "
            "was trained; only detectors, segmenters and generators can be published"
        )


def require_free(out: Path) -> None:
    """Raise RunError if `out` exists and is anything but an empty folder or an unchanged pack."""
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    if out.is_symlink() or not out.is_dir() or not pack.is_pack(out):
        raise RunError(f"out={out} exists and is not a pack; choose another folder")
    try:
        pack.verify(out)
    except RunError as error:
        raise RunError(f"out={out} was changed since it was written, and is not overwritten ({error})") from None


def _metrics(run: Run, facts: Facts) -> Settings:
    """Return the metrics.json of the pack: the run's entries, and the published metrics with their intervals."""
    found = {key: run.metrics[key] for key in KEPT if key in run.metrics}
    found["command"] = public_command(str(run.metrics.get("command", "")))
    found[FINISHED] = finished_at(run.folder, run.metrics).astimezone(UTC).isoformat(timespec="seconds")
    return found | {"unmask": version("unmask"), "demo": facts.demo, "published": facts.figures}


def _write_tables(run: Run, part: Path, names: bool) -> None:
    paths = [*run.folder.glob("predictions-*.parquet"), *run.folder.glob(f"{ROBUSTNESS}/*/*.parquet")]
    tables: Mapping[str, pd.DataFrame] = {
        path.relative_to(run.folder).as_posix(): public_table(read_predictions(path)) for path in sorted(paths)
    }
    for name, table in (tables if names else without_names(tables)).items():
        write_predictions(part / name, table, table.attrs["protocol"], table.attrs["figures"])


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """Yield a new folder next to `out`, which takes the place of `out` when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        part = place / "pack"
        part.mkdir()
        yield part
        if out.exists():
            require_free(out)
            out.rename(place / "earlier")
        part.rename(out)
    finally:
        shutil.rmtree(place, ignore_errors=True)
