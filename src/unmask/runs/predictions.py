"""Read and write the prediction tables of a run: one file per split, with the protocol in its metadata."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from unmask.files import replace_file
from unmask.runs.errors import RunError
from unmask.runs.figures import figures_of, without_nan

ITEMS = "Items"  # entry of a protocol: what the names of the items are, if they are not the names of the files
ROBUSTNESS = "robustness"  # folder in a run folder with the predictions of robustness suites


def predictions_path(folder: Path, split: str, dataset: str | None = None) -> Path:
    """Return the path of a split's predictions; `dataset` is a label of other data, or None for the run's own data."""
    return folder / f"predictions-{f'{dataset}-' if dataset else ''}{split}.parquet"


def labels(folder: Path, split: str) -> list[str]:
    """Return the labels (see `free_label`) of all predictions of a split in a run folder, in alphabetical order."""
    names = (path.stem.removeprefix("predictions-") for path in folder.glob(f"predictions-*-{split}.parquet"))
    return sorted(name.removesuffix(f"-{split}") for name in names)


def robustness_path(folder: Path, suite: str, name: str, level: int) -> Path:
    """Return the path of the predictions for one step of a robustness suite: perturbation `name` at `level`."""
    return folder / ROBUSTNESS / suite / f"{name}-{level}.parquet"


def step_of(path: Path) -> tuple[str, int]:
    """Return the perturbation's name and level from a path that `robustness_path` returned."""
    name, _, level = path.stem.rpartition("-")
    return name, int(level) if level.isdecimal() else 0


def free_label(
    folder: Path, split: str, name: str, own: bool, table: pd.DataFrame, protocol: Mapping[str, str]
) -> str | None:
    """Choose a label for the file name of new predictions, so that they do not overwrite different predictions.

    Args:
        folder: the run folder.
        split: the scored split.
        name: name of the data set.
        own: whether the run was trained on this data set.
        table: the new predictions.
        protocol: the protocol of the new predictions.

    Returns:
        None for the run's own data, else `name`. If a file with this label already contains predictions with another
        protocol or for other crops, the protocol and, if needed, the crops' fingerprint and a number are appended.
    """
    rule, _, _ = protocol["Split"].partition(" ")
    longer = [f"{name}-{rule}", f"{name}-{rule}-{protocol['Manifest']}"]
    for label in (None if own else name, *longer):
        path = predictions_path(folder, split, label)
        if not path.is_file() or _same_protocol(path, table, protocol):
            return label
    number = len(list(folder.glob(f"predictions-{longer[-1]}*-{split}.parquet")))
    return f"{longer[-1]}-{number + 1}"


def _same_protocol(path: Path, table: pd.DataFrame, protocol: Mapping[str, str]) -> bool:
    """Return whether new predictions may replace a file: if it is damaged or has the same items, split and crops."""
    try:
        before = read_predictions(path)
    except RunError:  # damaged, so the file is written again
        return True
    known = before.attrs["protocol"]
    return set(before["item"]) == set(table["item"]) and all(
        known.get(key, protocol[key]) == protocol[key] for key in ("Split", "Manifest")
    )


def find_label(folder: Path, split: str, name: str, rules: Sequence[str]) -> str | None:
    """Find the label (see `free_label`) of predictions on a data set with one of these protocols, or return None.

    Args:
        folder: the run folder.
        split: the scored split.
        name: name of the data set.
        rules: accepted split protocols, such as `official`.
    """
    for label in (name, *(f"{name}-{rule}" for rule in rules)):
        path = predictions_path(folder, split, label)
        if path.is_file() and read_predictions(path).attrs["protocol"].get("Split", rules[0]).split(" ")[0] in rules:
            return label
    return None


def write_predictions(
    path: Path, table: pd.DataFrame, protocol: Mapping[str, str], figures: Mapping[str, float] | None = None
) -> None:
    """Write a prediction table atomically, with its protocol in the file's metadata.

    Args:
        path: the file.
        table: the predictions.
        protocol: how the predictions were made.
        figures: metrics of the same evaluation, including pixel metrics, which cannot be computed from the table.
    """
    import pyarrow as pa  # an exported model has no tables, so it needs no Parquet
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    about = {"protocol": protocol, "figures": without_nan(figures or {})}
    metadata = {name.encode(): json.dumps(value).encode() for name, value in about.items()}
    metadata[b"checksum"] = _checksum(arrow.to_pandas(), metadata)
    metadata = {**(arrow.schema.metadata or {}), **metadata}
    buffer = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata(metadata), buffer, write_page_checksum=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getbuffer())


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a prediction table; its `.attrs` contain the `protocol` and the metrics (`figures`) of the evaluation."""
    if not path.is_file():
        raise RunError(f"{path} is missing: the run has not been evaluated on this split")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # `pq.read_table` would import all of pyarrow.dataset.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            arrow = file.read()
        table: pd.DataFrame = arrow.to_pandas()
        metadata = arrow.schema.metadata or {}
        if metadata.get(b"checksum") != _checksum(table, metadata):
            raise ValueError("its checksum is missing or does not match")
        protocol, figures = (json.loads(metadata.get(key, b"{}")) for key in (b"protocol", b"figures"))
        table.attrs = {"protocol": protocol, "figures": figures_of(figures)}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        said = str(error).partition("\n")[0][:120]
        raise RunError(f"{path} is damaged ({said}); {_repair(path)} writes it again") from None
    return table


def _repair(path: Path) -> str:
    """Return the command that writes the predictions at `path` again."""
    folder = path.parent
    if folder.parent.name == ROBUSTNESS:
        return f"unmask evaluate run={folder.parent.parent} suite={folder.name}"
    data, _, split = path.stem.removeprefix("predictions-").rpartition("-")
    other = f" data={data} data.root=DIR" if data else ""
    return f"unmask evaluate run={folder} split={split}{other}"


def _checksum(table: pd.DataFrame, metadata: Mapping[bytes, bytes]) -> bytes:
    """Return a checksum of a table and its metadata; Parquet's own page checksums do not cover the metadata."""
    values = pd.util.hash_pandas_object(table, index=False).to_numpy()
    names = json.dumps([[name, str(kind)] for name, kind in table.dtypes.items()])
    about = b"".join(metadata.get(key, b"") for key in (b"protocol", b"figures"))
    return b"%08x" % zlib.crc32(values.tobytes() + names.encode() + about)
