"""Write `generation.json` in a run folder: the metrics of a generator or face swapper, by data set and split."""

from pathlib import Path

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.files import read_json
from unmask.runs.figures import write_json
from unmask.runs.folder import GENERATION
from unmask.runs.run import Run


def keep(run: Run, data: DataModule, split: str, found: Settings) -> Path:
    """Add groups of metrics to a run's `generation.json`, in the entry of a data set and split; return its path.

    Args:
        run: the run.
        data: the data set.
        split: its split.
        found: metrics by group; a group with the same name is replaced, and other groups are kept.
    """
    place = run.folder / GENERATION
    known = read_json(place, "delete it; the same command computes the metrics again") if place.is_file() else {}
    protocol = data.protocol_words(split)
    entry = known.setdefault(_key(known, data.name, split, protocol), {})
    entry |= {"demo": data.source.demo, "protocol": protocol} | found
    write_json(place, known)
    return place


def _key(known: Settings, name: str, split: str, protocol: dict[str, str]) -> str:
    """Return the key of a data set and split; it is longer if other data in `known` already has the short key."""
    rule, _, _ = protocol["Split"].partition(" ")
    for key in (f"{name}/{split}", f"{name}-{rule}/{split}"):
        before = known.get(key, {}).get("protocol", protocol)
        if all(before.get(word, protocol[word]) == protocol[word] for word in ("Split", "Manifest")):
            return key
    return f"{name}-{rule}-{protocol['Manifest']}/{split}"
