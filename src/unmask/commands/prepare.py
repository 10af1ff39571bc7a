"""Turn a data set into face crops, once for all trainings: decode, detect, track, crop.

  unmask prepare data=celebdf_v2 data.root=DIR              prepare
  unmask prepare data=celebdf_v2 data.root=DIR check=true   only report what is found and what is missing
  unmask prepare experiment=celebdf/cnn_lstm                prepare only what a preset needs

  unmask prepare data=celebdf_v2 prepare.shard=3/16         prepare the third of 16 shards, e.g. on one of 16 machines

Crops are stored below outputs/prepared (paths.prepared), in a folder whose name depends on the recipe and the decoder.
The same command resumes after an interruption; rerun=true starts over. Items that cannot be prepared are listed with
the reason in rejected.csv. When all shards are prepared, a call without prepare.shard merges them.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.application import STORE, verb
from unmask.config import Settings
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import console, say
from unmask.data import checksums, duplicates
from unmask.data.bucket import is_url
from unmask.data.contents import Member, open_contents
from unmask.data.manifest import SAMPLES, ManifestError, check_leaks
from unmask.data.prepare import parse_shard, prepare_parts
from unmask.data.prepare import prepare as prepare_items
from unmask.data.prepared import Prepared, members
from unmask.data.source import Source
from unmask.data.split import Split
from unmask.data.store import DUPLICATES, CropStore, StoreError, shard_path
from unmask.files import file_hash, printable
from unmask.media.kinds import RECORDINGS, VIDEOS
from unmask.media.pcm import RATE
from unmask.parallel.workers import run

VOICES = "demo_voices"  # folder of the demo voices, which take less than a minute to render


def prepare(cfg: DictConfig) -> None:
    """Prepare a data set, or each data set of a mixture; with check=true only report what is found."""
    settings = resolved(cfg, *STORE, "data.blend")["data"]
    source, recipe, split, blend = (build(settings[part]) for part in ("source", "recipe", "split", "blend"))
    if is_url(settings["prepared"]):
        raise ValueError(
            f"data.prepared={settings['prepared']}: unmask prepare writes to a local folder; set paths.prepared=DIR, "
            "then copy this folder to the URL (docs/data.md, Crops in an object store)"
        )
    work = members(source, split, recipe, settings["prepared"])
    workers = min(os.cpu_count() or 1, 16) if cfg.prepare.num_workers is None else cfg.prepare.num_workers
    how = {"num_workers": workers, "timeout": cfg.prepare.timeout, "memory": _memory(cfg.prepare.memory)}
    blended = bool(blend is not None and blend.parts)
    if cfg.check:
        whole = [explain(prepared, own, how) for prepared, own in work]
        if all(whole) and (problem := compare_contents(work, blended)) is not None:
            refuse(problem)
        return
    for prepared, own in work:
        prepare_one(prepared, own, cfg, how)
    if cfg.prepare.shard is None and (problem := compare_contents(work, blended)) is not None:
        say(f"unmask train will refuse this data: {problem}", style="yellow")


def prepare_one(prepared: Prepared, split: Split, cfg: DictConfig, how: Settings) -> None:
    """Prepare one data set, or one shard of it; the demo voices are rendered first if they are missing."""
    if prepared.source.demo and prepared.source.root.name == VOICES:
        render_missing(prepared.source)
    source, items = prepared.source, prepared.manifest(split)
    say(f"{source.name}: {counts(items)} in {source.root}")
    how = how | {"progress": show_progress}
    shard = parse_shard(cfg.prepare.shard)
    if shard is None:
        most = {"rerun": cfg.rerun, "max_rejected": cfg.prepare.max_rejected}
        conclude(prepare_items(items, source.root, prepared.folder, prepared.recipe, **most, **how))
        return
    if cfg.rerun:
        raise ValueError(
            f"rerun=true would also delete the other shards; to start over, delete {prepared.folder}, then prepare all "
            "shards"
        )
    remaining = prepare_parts(items, source.root, prepared.folder, prepared.recipe, shard=shard, **how)
    say(
        f"shard {shard[0]} of {shard[1]} is prepared; {remaining} of {len(items)} items remain for other shards. "
        + ("" if remaining else "To merge the shards, run the same command without prepare.shard.")
    )


def render_missing(source: Source) -> None:
    """Render the demo voices unless all of them exist; a folder that `unmask demo` did not make is left alone."""
    from unmask.commands.demo import shown
    from unmask.demo.folder import NOTE
    from unmask.demo.voices import render_voices

    try:
        source.require_root()
        source.find_items()
    except ManifestError:
        if source.root.exists() and not (source.root / NOTE).is_file():
            return
        with shown("recordings") as progress:
            render_voices(source.root, workers=os.cpu_count() or 1, progress=progress)


def refuse(problem: str) -> None:
    """Print why training would refuse the data, and exit with code 1."""
    say(f"unmask train will refuse this data: {problem}", style="yellow")
    raise SystemExit(1)


def _memory(bound: object) -> float | None:
    """Return the value of `prepare.memory` in GB, or None for no limit; reject invalid values.

    Raises:
        ValueError: the value is neither null nor a finite number above 0.
    """
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound < float("inf"):
        raise ValueError(f"prepare.memory={bound}: expected the memory limit of a process in GB, such as 4, or null")
    return float(bound)


def explain(prepared: Prepared, split: Split, how: Settings) -> bool:
    """Print where to download the data set, its layout, what was found and what is missing; check for duplicates.

    Args:
        prepared: the data set and its recipe.
        split: the rule by which the data set is split.
        how: keyword arguments of `hashes`.

    Returns:
        Whether the data set is prepared.
    """
    source = prepared.source
    say(source.explain())
    say(f"data.root is {source.root}; crops are written to {prepared.folder}")
    try:
        items = prepared.manifest(split)
    except ManifestError as error:
        say(f"missing: {str(error).splitlines()[0]}", style="yellow")
        raise SystemExit(1) from None
    say(f"found: {counts(items)}")
    completeness(source, items)
    table = items.groupby(["split", "method"], dropna=False).size().reset_index(name="number")
    for row in table.to_dict("records"):
        say(f"  {row['split']!s:<6} {row['method']:<20} {row['number']}")
    try:
        store = prepared.store
    except StoreError:
        say("not prepared yet: files are compared only byte for byte; unmask prepare also compares their contents")
        if (problem := contradiction(items.assign(sha256=hashes(items, source.root, **how)))) is not None:
            refuse(problem)
        return False
    if (problem := damage(prepared, store)) is not None:
        refuse(problem)
    return True


def damage(prepared: Prepared, store: CropStore) -> str | None:
    """Return a message that names the files of a store that changed since it was prepared; None if none changed."""
    names = checksums.damaged(store.folder)
    if not names:
        tables = {"crops": checksums.damaged_crops(store), "sound": checksums.damaged_sounds(store)}
        shards = ((kind, int(number)) for kind, table in tables.items() for number in table["shard"])
        names = sorted({shard_path(store.folder, number, kind).name for kind, number in shards})
    return checksums.words(names, store.folder, prepared.command()) if names else None


def completeness(source: Source, items: pd.DataFrame) -> None:
    """Print how many of the published items were found, if their numbers are known."""
    if not (published := source.published(items)):
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
        say(f"complete: all {whole:,} published {what} are present ({each})")
    else:
        say(
            f"not the published data set: {total:,} of the published {whole:,} {what} are present ({each}); metrics on "
            "this copy are not comparable with published metrics",
            style="yellow",
        )


def hashes(
    items: pd.DataFrame, root: Path, num_workers: int = 0, timeout: float = 600.0, memory: float | None = None
) -> pd.Series:
    """Return the SHA-256 of each file that has the same size as another file, and None for files of unique size.

    Args:
        items: the manifest's rows.
        root: the data set's folder.
        num_workers: number of processes that read files; if reading a file hangs, only its process is stopped.
        timeout: time in s after which reading a file counts as hanging.
        memory: maximum memory of a process in GB; None for no maximum.
    """
    sizes = {name: path.stat().st_size if (path := root / name).is_file() else -1 for name in items["path"]}
    alike = Counter(sizes.values())
    files = [root / name for name, size in sizes.items() if size > 0 and alike[size] > 1]
    found = dict(run(file_hash, files, num_workers, timeout, memory))
    texts = [text if isinstance(text := found.get(root / name), str) else None for name in items["path"]]
    return pd.Series(texts, index=items.index, dtype=object)


def contradiction(items: pd.DataFrame) -> str | None:
    """Return why training would refuse the data because of identical files, or None if it would accept it."""
    try:
        check_leaks(items)
    except ManifestError as error:
        return str(error)
    return None


def compare_contents(work: Sequence[Member], blended: bool) -> str | None:
    """Print the near-duplicates among the prepared items; return why training would refuse the data, or None."""
    try:
        contents = open_contents(work, blended)
    except ManifestError as error:
        return str(error)
    found = contents.duplicates
    if len(found):
        files = ", ".join(str(prepared.folder / DUPLICATES) for prepared, _ in work)
        say(f"{duplicates.words(found)}; the full list is in {files}")
        for line in duplicates.listed(found[~found["related"].astype(bool)]):
            say(f"  {line}")
    return None if blended else one_class(contents.items)


def one_class(items: pd.DataFrame) -> str | None:
    """Return which split of a manifest with both classes lacks a class that a detector needs; None if none does."""
    used = items[items["rejected"].isna()]
    if used["label"].nunique() < 2:
        return None  # for generators, and for false positive rates
    if not (used["split"] == "train").any():
        return None  # for evaluation only
    for split in ("train", "val"):
        if (of := used[used["split"] == split])["label"].nunique() < 2:
            return (
                f"the {split} split contains {counts(of)}, but a detector needs both; set a larger "
                "data.split.val_fraction, such as 0.3, in prepare and train, or add items"
            )
    return None


def counts(items: pd.DataFrame) -> str:
    """Return the numbers of real and fake items in a manifest as text."""
    real = int((items["label"] == 0).sum())
    return f"{real} real and {len(items) - real} fake {medium(items)}"


def medium(items: pd.DataFrame) -> str:
    """Return what the items of a manifest are, such as "videos" or "videos and pictures"."""
    suffixes = {Path(path).suffix.lower() for path in items["path"]}
    kinds = {"videos": suffixes & VIDEOS, "recordings": suffixes & RECORDINGS}
    kinds["pictures"] = suffixes - VIDEOS - RECORDINGS
    return " and ".join(name for name, found in kinds.items() if found) or "videos"


def show_progress(work: Iterator[str | None], total: int) -> Iterator[str | None]:
    """Draw a progress bar with counts and the remaining time."""
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
    """Print what was prepared and what was rejected."""
    rejected = store.items[store.items["rejected"].notna()]
    found = store.crops["prob"].dropna()  # NaN if a crop is a whole picture
    minutes = store.sounds[SAMPLES].sum() / RATE / 60
    what = f"{len(store.crops)} faces, median face probability {found.median():.4f}" if len(found) else "whole pictures"
    what = (what if len(store.crops) else "") + ("; " if len(store.crops) and minutes else "")
    what += f"{minutes:.1f} minutes of sound" if minutes else ""
    say(f"{len(store.items) - len(rejected)} items prepared, {len(rejected)} rejected; {what}; crops in {store.folder}")
    for row in rejected.head(10).to_dict("records"):
        say(f"  rejected: {printable(row['path'])}: {printable(row['rejected'])}", style="yellow")
    if len(rejected) > 10:
        say(f"  the full list is in {store.folder / 'rejected.csv'}", style="yellow")


@verb("prepare")
def main(cfg: DictConfig) -> None:
    """Run `unmask prepare`."""
    prepare(cfg)


if __name__ == "__main__":
    main()
