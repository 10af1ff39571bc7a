"""Turn a data set into face crops: decode, find, track, crop, once for all trainings.

  unmask prepare data=celebdf_v2 data.root=DIR              prepare
  unmask prepare data=celebdf_v2 data.root=DIR check=true   say what is there and what is missing, do nothing
  unmask prepare experiment=celebdf/cnn_lstm                prepare just what a preset reads

  unmask prepare data=celebdf_v2 prepare.shard=3/16         prepare the third of sixteen shares, on any of many machines

Crops are kept below outputs/prepared (paths.prepared) under a key of the recipe and the decoder. A killed call goes
on where it was; rerun=true starts over. What cannot be prepared is set aside with its reason in rejected.csv. Shares
lie beside each other until a call without prepare.shard joins them.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.application import verb
from unmask.config.check import validate
from unmask.console import console, say
from unmask.data import checksums, duplicates
from unmask.data.datamodule import CropDataModule
from unmask.data.manifest import ManifestError, check_leaks
from unmask.data.prepare import parse_shard, prepare_parts
from unmask.data.prepare import prepare as prepare_items
from unmask.data.store import DUPLICATES, CropStore, StoreError, shard_path
from unmask.files import file_hash, printable
from unmask.media.kinds import VIDEOS
from unmask.parallel.workers import run


def prepare(cfg: DictConfig) -> None:
    """Prepare one data set, or with check=true only say what there is."""
    validate(cfg, "data")
    data: CropDataModule = instantiate(cfg.data, _convert_="all")
    workers = min(os.cpu_count() or 1, 16) if cfg.prepare.num_workers is None else cfg.prepare.num_workers
    how = {"num_workers": workers, "timeout": cfg.prepare.timeout, "memory": _memory(cfg.prepare.memory)}
    if cfg.check:
        explain(data, how)
        return
    items = data.manifest()
    say(f"{data.name}: {counts(items)} below {data.root}")
    how["progress"] = show_progress
    shard = parse_shard(cfg.prepare.shard)
    if shard is None:
        most = cfg.prepare.max_rejected
        conclude(prepare_items(items, data.root, data.folder, data.recipe, rerun=cfg.rerun, max_rejected=most, **how))
        if (problem := compare_contents(data)) is not None:
            say(f"unmask train will refuse this: {problem}", style="yellow")
        return
    if cfg.rerun:
        raise ValueError(f"rerun=true would throw away other shards too: delete {data.folder} once, then start them")
    remaining = prepare_parts(items, data.root, data.folder, data.recipe, shard=shard, **how)
    say(
        f"shard {shard[0]} of {shard[1]} is prepared; {remaining} of {len(items)} items remain. "
        + ("They are for other shards." if remaining else "To join them: the same command without prepare.shard.")
    )


def _memory(bound: Any) -> float | None:
    """What `prepare.memory` says.

    Raises:
        ValueError: it is no number above 0.
    """
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < float("inf"):
        raise ValueError(f"prepare.memory={bound}: GB that one process may hold are expected, such as 4, or null")
    return float(bound)


def explain(data: CropDataModule, how: dict[str, Any]) -> None:
    """Where to download the data set, its layout, what was found, what is missing, and what is there twice.

    Args:
        data: the data set.
        how: its files are read, see `hashes`.
    """
    say(data.explain())
    say(f"data.root is {data.root}; crops go to {data.folder}")
    try:
        items = data.manifest()
    except ManifestError as error:
        say(f"missing: {str(error).splitlines()[0]}", style="yellow")
        raise SystemExit(1) from None
    say(f"found: {counts(items)}")
    completeness(data, items)
    table = items.groupby(["split", "method"], dropna=False).size().reset_index(name="number")
    for row in table.to_dict("records"):
        say(f"  {row['split']!s:<6} {row['method']:<20} {row['number']}")
    try:
        store = data.store
    except StoreError:
        say("not prepared yet: only bytes are compared here, and contents once the data set is prepared")
        problem = contradiction(items.assign(sha256=hashes(items, data.root, **how)))
    else:
        problem = damage(data, store) or compare_contents(data)
    if problem is not None:
        say(f"refused: {problem}", style="yellow")
        raise SystemExit(1)


def damage(data: CropDataModule, store: CropStore) -> str | None:
    """What changed in a store since it was prepared, by its checksums and by the hash of each crop."""
    names = checksums.damaged(store.folder)
    if not names:
        crops = checksums.damaged_crops(store)
        names = sorted({shard_path(store.folder, int(number)).name for number in crops["shard"]})
    return checksums.words(names, store.folder, data.prepare_command()) if names else None


def completeness(data: CropDataModule, items: pd.DataFrame) -> None:
    """How many of the published items are there; nothing where the data set has no published counts."""
    if not (published := data.published(items)):
        return
    real = int((items["label"] == 0).sum())
    found = {"real": real, "fake": len(items) - real}
    each = ", ".join(f"{found[kind]:,} of {number:,} {kind}" for kind, number in published.items() if number)
    what, whole, total = (
        medium(items),
        sum(published.values()),
        sum(found[kind] for kind, number in published.items() if number),
    )
    if found == published:
        say(f"complete: all {whole:,} published {what} are there ({each})")
    else:
        say(
            f"not the published data set: {total:,} of the published {whole:,} {what} are there ({each}); figures on "
            "this copy are not comparable with published ones",
            style="yellow",
        )


def hashes(
    items: pd.DataFrame, root: Path, num_workers: int = 0, timeout: float = 600.0, memory: float | None = None
) -> pd.Series:
    """SHA-256 of files that have the same size as another; None of others, which cannot have the same bytes.

    Args:
        items: the manifest's rows.
        root: the data set's folder.
        num_workers: processes that read the files; a file that hangs takes only its process along.
        timeout: seconds after which one hangs.
        memory: GB that a process may hold.
    """
    sizes = {name: path.stat().st_size if (path := root / name).is_file() else -1 for name in items["path"]}
    alike = Counter(sizes.values())
    files = [root / name for name, size in sizes.items() if size > 0 and alike[size] > 1]
    found = dict(run(file_hash, files, num_workers, timeout, memory))
    texts = [text if isinstance(text := found.get(root / name), str) else None for name in items["path"]]
    return pd.Series(texts, index=items.index, dtype=object)


def contradiction(items: pd.DataFrame) -> str | None:
    """Why training would refuse files with these hashes; None where it would not."""
    try:
        check_leaks(items)
    except ManifestError as error:
        return str(error)
    return None


def compare_contents(data: CropDataModule) -> str | None:
    """Say which prepared items look alike; return why training would refuse the data, None where it would not."""
    try:
        data.setup()
    except ManifestError as error:
        return str(error)
    if len(data.duplicates):
        say(f"{duplicates.words(data.duplicates)}; all of them in {data.folder / DUPLICATES}")
        unrelated = data.duplicates[~data.duplicates["related"].astype(bool)]
        for line in duplicates.listed(unrelated):
            say(f"  {line}")
    return None


def counts(items: pd.DataFrame) -> str:
    """Counts of a manifest in words."""
    real = int((items["label"] == 0).sum())
    return f"{real} real and {len(items) - real} fake {medium(items)}"


def medium(items: pd.DataFrame) -> str:
    """What a manifest's items are."""
    kinds = {Path(path).suffix.lower() not in VIDEOS for path in items["path"]}
    return "videos and pictures" if len(kinds) > 1 else "pictures" if True in kinds else "videos"


def show_progress(work: Iterator[str | None], total: int) -> Iterator[str | None]:
    """Draw a bar with counts and the time that remains."""
    columns = (
        TextColumn("preparing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rejected]} rejected"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task, rejected = bar.add_task("", total=total, rejected=0), 0
        for reason in work:
            rejected += reason is not None
            bar.update(task, advance=1, rejected=rejected)
            yield reason


def conclude(store: CropStore) -> None:
    """What was prepared."""
    rejected = store.items[store.items["rejected"].notna()]
    found = store.crops["prob"].dropna()  # pictures that are used whole have none
    what = f"{len(store.crops)} faces, median probability {found.median():.4f}" if len(found) else "whole pictures"
    say(f"{len(store.items) - len(rejected)} items prepared, {len(rejected)} rejected; {what}; crops in {store.folder}")
    for row in rejected.head(10).to_dict("records"):
        say(f"  rejected: {printable(row['path'])}: {printable(row['rejected'])}", style="yellow")
    if len(rejected) > 10:
        say(f"  all of them in {store.folder / 'rejected.csv'}", style="yellow")


@verb("prepare")
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    prepare(cfg)


if __name__ == "__main__":
    main()
