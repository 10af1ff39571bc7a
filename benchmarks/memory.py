"""Measure the peak memory of preparing 5,000 items and training on them, with a limit of 2 GiB.

The items are simulated: a recipe makes 20 crops of 160x160 from each item's name, 7.7 GB in total (twice that during
merging). Preparing and training use unmask's own code, each in its own process. The memory of the process and its
workers is measured, including imports; shared pages are counted once. It includes mapped pages of files. The system can
drop these at any time, so only the anonymous memory is strictly needed.

make bench ONLY=memory   (ARGS='--items 500' for a small run)
"""

import contextlib
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from _bench import arguments, report

LIMIT, GIB = 2.0, 2**30
FRAMES, SIZE, STEPS, WORKERS = 20, 160, 100, 2
KINDS = {"all": "Pss", "anonymous": "Pss_Anon", "files": "Pss_File", "shared": "Pss_Shmem"}


class Simulated:
    """A recipe that makes noise from a file's name."""

    suffixes: ClassVar[frozenset[str]] = frozenset({".mp4"})
    option: ClassVar[str] = "simulated"
    masks: ClassVar[bool] = False
    key = "simulated"

    def describe(self) -> dict[str, object]:
        return {"frames": FRAMES, "crop_size": SIZE, "decoder": "none"}

    def words(self, image_size: int) -> str:
        return "noise"

    def landmarks_in_crop(self, box: Any, landmarks: Any) -> Any:
        return landmarks

    def __call__(self, path: Path, mask: Path | None = None) -> SimpleNamespace:
        rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(path.name.encode(), digest_size=8).digest(), "big"))
        return SimpleNamespace(
            track=np.zeros(FRAMES, np.int64),
            frame=np.arange(FRAMES),
            time=np.arange(FRAMES) / 25,
            box=np.tile(np.float32([0, 0, SIZE, SIZE]), (FRAMES, 1)),
            landmarks=np.zeros((FRAMES, 5, 2), np.float32),
            prob=np.ones(FRAMES, np.float32),
            pixels=rng.integers(0, 256, (FRAMES, 3, SIZE, SIZE), np.uint8),
            masks=None,
            statistics={"frames": float(FRAMES), "width": float(rng.integers(200, 900))},
        )


def data_module(folder: Path) -> Any:
    from unmask.data.datamodule import DataModule
    from unmask.data.dataset import Sampling
    from unmask.data.loader import Loader
    from unmask.data.split import Split
    from unmask.datasets.folder import Folder

    sampling, loader = Sampling(frames_per_video=FRAMES), Loader(image_size=SIZE)
    source, split = Folder("simulated", folder / "raw"), Split("predefined")
    return DataModule(source, Simulated(), split, sampling, loader, prepared=folder / "prepared")


def prepare_all(folder: Path) -> None:
    from unmask.data.prepare import prepare

    data = data_module(folder)
    ((prepared, split),) = data.members
    prepare(prepared.manifest(split), prepared.source.root, prepared.folder, data.recipe, num_workers=WORKERS)


def train(folder: Path) -> None:
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from overhead import trainer

    from unmask.application import register_resolvers
    from unmask.config import conf_dir

    torch.set_num_threads(1)
    register_resolvers()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        place = [f"paths.out={folder}/run", f"data.root={folder}/raw"]
        steps = ["trainer.max_epochs=1", f"+trainer.limit_train_batches={STEPS}", "+trainer.limit_val_batches=20"]
        cfg = compose("train", ["data=folder", "trainer=cpu", f"image_size={SIZE}", *place, *steps])
        with open(os.devnull, "w") as void, contextlib.redirect_stdout(void):
            trainer(cfg, bare=False).fit(instantiate(cfg.module, _convert_="all"), data_module(folder))


def make_files(folder: Path, items: int) -> None:
    """Write one file per item, each with different content."""
    for number in range(items):
        path = folder / "raw" / ("real" if number % 2 else "fake/made") / f"{number:05d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)


def family(pid: int) -> list[int]:
    """Return the IDs of a process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [one for child in (task / "children").read_text().split() for one in family(int(child))]
    return found


def resident(pid: int) -> dict[str, float]:
    """Return the memory of a process and all its descendants in GiB, by kind."""
    found = dict.fromkeys(KINDS, 0.0)
    for member in family(pid):
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()[1:]
            lines = dict(row.split(":", 1) for row in rows)
            for kind, name in KINDS.items():
                found[kind] += int(lines.get(name, "0 kB").split()[0]) * 1024 / GIB
    return found


def peak_of(work: Callable[[Path], None], folder: Path) -> tuple[dict[str, float], float]:
    """Run `work` in a process; return its peak memory in GiB by kind, and its duration in seconds."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    start, most = time.perf_counter(), dict.fromkeys(KINDS, 0.0)

    def watch() -> None:
        while process.is_alive():
            now = resident(process.pid)
            most.update({kind: max(most[kind], now[kind]) for kind in KINDS})
            time.sleep(0.05)

    process.start()
    watcher = threading.Thread(target=watch)
    watcher.start()
    process.join()
    watcher.join()
    if process.exitcode:
        sys.exit(f"memory: {work.__name__} failed")
    return most, time.perf_counter() - start


def main() -> None:
    options = arguments(__doc__, 1, items=5000)
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("memory: skipped, because only Linux reports a process's memory by kind")
    size = options.items * FRAMES * 3 * SIZE**2
    if (free := shutil.disk_usage(tempfile.gettempdir()).free) < 2 * size + 2 * GIB:
        sys.exit(f"memory: skipped, expected {2 * size / GIB + 2:.0f} GiB free in {tempfile.gettempdir()}, found "
                 f"{free / GIB:.0f}; TMPDIR sets another folder")  # fmt: skip
    comparisons: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), options.items)
        for what, work in (("preparing", prepare_all), ("training", train)):
            runs = [peak_of(work, Path(name)) for _ in range(options.repeats if work is train else 1)]
            for kind in KINDS:
                ratios = [most[kind] / LIMIT for most, _ in runs]
                median = sorted(ratios)[len(ratios) // 2]
                bound = {"at_most": 1.0} if kind in ("all", "anonymous") else {}
                key = f"{what}, {kind}"
                comparisons[key] = {"what": f"peak GiB / {LIMIT:g} GiB", "ratios": ratios, "median": median, **bound}
                comparisons[key] |= {"gib": median * LIMIT, "seconds": runs[0][1]}
    about = {"items": options.items, "crops_gb": size / 1e9, "training_steps": STEPS, "workers": WORKERS}
    report("memory", comparisons, "training, all", ("pytorch-lightning", "pandas", "numpy"), about)
    for name, one in comparisons.items():
        print(f"  {name}: peak {one['gib']:.2f} GiB ({one['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
