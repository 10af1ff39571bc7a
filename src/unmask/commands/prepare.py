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
from collections.abc import Iterator
from pathlib import Path

import hydra
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.commands._shell import console, fail_clearly, say
from unmask.config import conf_dir, validate
from unmask.data.datamodule import CropDataModule
from unmask.data.manifest import ManifestError
from unmask.data.prepare import parse_shard, prepare_parts
from unmask.data.prepare import prepare as prepare_items
from unmask.data.store import CropStore
from unmask.media.kinds import VIDEOS
from unmask.runs import register_resolvers

register_resolvers()


def prepare(cfg: DictConfig) -> None:
    """Prepare one data set, or with check=true only say what there is."""
    validate(cfg, "data")
    data: CropDataModule = instantiate(cfg.data, _convert_="all")
    if cfg.check:
        explain(data)
        return
    items = data.manifest()
    say(f"{data.name}: {counts(items)} below {data.root}")
    workers = min(os.cpu_count() or 1, 16) if cfg.prepare.num_workers is None else cfg.prepare.num_workers
    how = {"num_workers": workers, "timeout": cfg.prepare.timeout, "progress": show_progress}
    shard = parse_shard(cfg.prepare.shard)
    if shard is None:
        most = cfg.prepare.max_rejected
        conclude(prepare_items(items, data.root, data.folder, data.recipe, rerun=cfg.rerun, max_rejected=most, **how))
        return
    if cfg.rerun:
        raise ValueError(f"rerun=true would throw away other shards too: delete {data.folder} once, then start them")
    remaining = prepare_parts(items, data.root, data.folder, data.recipe, shard=shard, **how)
    say(
        f"shard {shard[0]} of {shard[1]} is prepared; {remaining} of {len(items)} items remain. "
        + ("They are for other shards." if remaining else "To join them: the same command without prepare.shard.")
    )


def explain(data: CropDataModule) -> None:
    """Where the data set is had, the layout, what was found, what is missing."""
    say(data.explain())
    say(f"data.root is {data.root}; crops go to {data.folder}")
    try:
        items = data.manifest()
    except ManifestError as error:
        say(f"missing: {str(error).splitlines()[0]}", style="yellow")
        raise SystemExit(1) from None
    say(f"found: {counts(items)}; nothing is missing")
    table = items.groupby(["split", "method"], dropna=False).size().reset_index(name="number")
    for row in table.to_dict("records"):
        say(f"  {row['split']!s:<6} {row['method']:<20} {row['number']}")


def counts(items: pd.DataFrame) -> str:
    """Counts of a manifest in words."""
    real = int((items["label"] == 0).sum())
    kinds = {Path(path).suffix.lower() not in VIDEOS for path in items["path"]}
    what = "videos and pictures" if len(kinds) > 1 else "pictures" if True in kinds else "videos"
    return f"{real} real and {len(items) - real} fake {what}"


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
        say(f"  rejected: {row['path']}: {row['rejected']}", style="yellow")
    if len(rejected) > 10:
        say(f"  all of them in {store.folder / 'rejected.csv'}", style="yellow")


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="prepare")
@fail_clearly
def main(cfg: DictConfig) -> None:
    """Run the verb."""
    prepare(cfg)


if __name__ == "__main__":
    main()
