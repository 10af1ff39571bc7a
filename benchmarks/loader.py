"""Compare reading a whole batch from the memory map at once with reading it sample by sample.

make bench ONLY=loader
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _bench import arguments, compare, interleave, report
from torch.utils.data import default_collate

from unmask.data.dataset import CropDataset, Sampling
from unmask.data.store import CropStore

ITEMS, FRAMES, SIZE, CLIP, BATCH = 64, 20, 160, 20, 16


def make_store(folder: Path) -> CropStore:
    """Create a store of random crops: 64 items of 20 frames at 160 px, about 98 MB."""
    names = np.repeat([f"d/real/{n:03d}" for n in range(ITEMS)], FRAMES)
    frame = np.tile(np.arange(FRAMES), ITEMS)
    pixels = np.random.default_rng(0).integers(0, 256, (len(names), 3, SIZE, SIZE), np.uint8)
    np.save(folder / "crops-00000.npy", pixels)
    crops = pd.DataFrame({"item": names, "track": 0, "frame": frame, "time": frame / 25, "shard": 0})
    crops.assign(offset=np.arange(len(names))).to_parquet(folder / "crops.parquet")
    pd.DataFrame({"item": np.unique(names), "label": 0, "method": "real"}).to_parquet(folder / "items.parquet")
    return CropStore(folder)


def main() -> None:
    options = arguments(__doc__, repeats=15)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        data = CropDataset(store, store.items, Sampling(frames_per_video=1, frames=CLIP))
        batches = [[(0, index) for index in range(at, at + BATCH)] for at in range(0, ITEMS, BATCH)]

        def at_once() -> None:
            for batch in batches:
                data.__getitems__(batch)

        def one_by_one() -> None:
            for batch in batches:
                default_collate([{k: v[0] for k, v in data.__getitems__([sample]).items()} for sample in batch])

        seconds = interleave({"sample by sample": one_by_one, "whole batch": at_once}, options.repeats)
    rate = ITEMS / statistics.median(seconds["whole batch"])
    one = compare(seconds, "sample by sample", "whole batch")
    report("loader", {"sample by sample / whole batch": one}, extra={"clips_per_second": rate})
    print(f"  {rate:.0f} clips of {CLIP}x{SIZE}x{SIZE} per second, cached, on one core")


if __name__ == "__main__":
    main()
