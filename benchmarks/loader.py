"""How much faster a batch is gathered at once from the memory map than sample by sample; a ratio, in one run.

make bench ONLY=loader
"""

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from unmask.data.dataset import CropDataset, Sampling
from unmask.data.store import CropStore

ITEMS, FRAMES, SIZE, CLIP, BATCH, PAIRS = 64, 20, 160, 20, 16, 15


def make_store(folder: Path) -> CropStore:
    """A store of random crops: 64 items of 20 frames at 160 px, about 98 MB."""
    names = np.repeat([f"d/real/{n:03d}" for n in range(ITEMS)], FRAMES)
    frame = np.tile(np.arange(FRAMES), ITEMS)
    pixels = np.random.default_rng(0).integers(0, 256, (len(names), 3, SIZE, SIZE), np.uint8)
    np.save(folder / "crops-00000.npy", pixels)
    crops = pd.DataFrame({"item": names, "track": 0, "frame": frame, "time": frame / 25, "shard": 0})
    crops.assign(offset=np.arange(len(names))).to_parquet(folder / "crops.parquet")
    pd.DataFrame({"item": np.unique(names), "label": 0, "method": "real"}).to_parquet(folder / "items.parquet")
    return CropStore(folder)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        data = CropDataset(store, store.items, Sampling(per_item=1, frames=CLIP))
        batches = [[(0, index) for index in range(at, at + BATCH)] for at in range(0, ITEMS, BATCH)]

        def at_once() -> None:
            for batch in batches:
                data.__getitems__(batch)

        def one_by_one() -> None:
            for batch in batches:
                default_collate([{k: v[0] for k, v in data.__getitems__([sample]).items()} for sample in batch])

        at_once(), one_by_one()
        seconds = [(timed(at_once), timed(one_by_one)) for _ in range(PAIRS)]
    ratios = [slow / fast for fast, slow in seconds]
    rate = ITEMS / statistics.median(fast for fast, _ in seconds)
    result = {
        "what": "sample by sample / whole batch, seconds",
        "ratios": ratios,
        "median": statistics.median(ratios),
        "clips_per_second": rate,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    out = Path("outputs/bench/loader.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2))
    print(f"loader: whole batches are {result['median']:.2f} times faster than sample by sample")
    print(f"        {rate:.0f} clips of {CLIP}x{SIZE}x{SIZE} a second, warm, one core; median of {PAIRS} pairs; {out}")


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
