"""Preparing is safe to leave alone: killed, sharded, run twice at once, fed with what is no video."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from conftest import TINY, unmask
from test_data import LISTED, PATHS, Painted, module, tree
from unmask.commands.prepare import one_class
from unmask.config import allowed
from unmask.data import work
from unmask.data.parts import part_path, read_about
from unmask.data.prepare import parse_shard, prepare, prepare_parts
from unmask.data.store import StoreError
from unmask.media.crops import Crops
from unmask.media.encode import write_video
from unmask.media.reader import open_media
from unmask.media.recipe import FaceCrops
from unmask.parallel.workers import Stop

MADE = ("items.parquet", "crops.parquet", "rejected.csv", "audit.json", "recipe.json")


def same_store(a: Path, b: Path) -> None:
    """Byte for byte, and nothing else lies there."""
    names = sorted(path.name for path in a.iterdir())
    assert set(MADE) < set(names) and "crops-00000.npy" in names
    assert sorted(path.name for path in b.iterdir()) == names
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


# -- hostile media


class Hanging(FaceCrops):
    """A decoder that never comes back from one file."""

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        if "0091" in path.name:
            time.sleep(3600)
        return super().__call__(path)


def write_odd(path: Path, frames: np.ndarray) -> None:
    """An mp4 of odd height and width, which needs 4:4:4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.slow
def test_bad_files_are_listed_with_their_reasons_and_the_others_prepared(demo_root, tmp_path, monkeypatch):
    root = tmp_path / "raw"
    shutil.copytree(demo_root, root)
    (root / "methods.csv").unlink()
    for folder in ("Celeb-real", "Celeb-synthesis", "YouTube-real"):
        for path in sorted(root.glob(f"{folder}/*.mp4"))[3:]:
            path.unlink()
    listed = sorted(root.glob("Celeb-real/*.mp4"))
    (root / "List_of_testing_videos.txt").write_text(f"1 Celeb-real/{listed[0].name}\n")
    good, frames = listed[0], open_media(listed[0]).read(list(range(8)))
    write_odd(root / "Celeb-real/id70_0000.mp4", frames[:, 1:, 1:])
    write_video(root / "Celeb-real/id71_0000.mp4", frames[:1], fps=25)
    bad = {name: root / f"Celeb-real/id8{at}_0000.mp4" for at, name in enumerate(("empty", "cut", "text", "faceless"))}
    bad["empty"].touch()
    bad["cut"].write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    bad["text"].write_text("this is no video at all\n" * 50)
    write_video(bad["faceless"], [np.full((96, 128, 3), 20 * at, np.uint8) for at in range(8)], fps=25)
    shutil.copy(good, root / "Celeb-real/id90_0091.mp4")

    monkeypatch.setattr(allowed, "ALLOWED", (*allowed.ALLOWED, "test_prepare"))
    done = unmask(
        "prepare",
        "data=celebdf_v2",
        f"data.root={root}",
        "data.recipe._target_=test_prepare.Hanging",
        *TINY,
        "prepare.num_workers=1",
        "prepare.timeout=6",
        cwd=tmp_path,
    )
    store = next((tmp_path / "outputs/prepared/celebdf_v2").glob("*/"))
    reasons = pd.read_csv(store / "rejected.csv").set_index("item")["rejected"]
    assert reasons.index.str.rpartition("/").get_level_values(2).tolist() == [
        *(f"id8{at}_0000" for at in range(4)),
        "id90_0091",
    ]
    for reason, expected in zip(
        reasons,
        [
            "the file is empty",
            "cut off:",
            "not a readable video",
            "no face found",
            "timed out after 6 s",
        ],
        strict=True,
    ):
        assert expected in reason
    items = pd.read_parquet(store / "items.parquet").set_index("item")
    assert items.loc["celebdf_v2/celeb/id70_0000", ["statistic.width", "statistic.height"]].tolist() == [
        frames.shape[2] - 1,
        frames.shape[1] - 1,
    ]
    crops = pd.read_parquet(store / "crops.parquet").groupby("item").size()
    assert crops["celebdf_v2/celeb/id70_0000"] == 4 and crops["celebdf_v2/celeb/id71_0000"] == 1
    assert set(crops.index) == set(items.index) - set(reasons.index)
    assert "5 rejected" in done.stdout


def test_too_many_failures_lose_nothing(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    items = module(root).manifest()
    items.loc[: len(items) - 4, "path"] = "bad.mp4"
    store = tmp_path / "store"
    with pytest.raises(StoreError, match=r"33 of 36 items .* The other 3 are kept.* prepare.max_rejected=1"):
        prepare(items, root, store, Painted(), num_workers=0)
    assert len(pd.read_csv(store / "rejected.csv")) == 33
    counted: list[int] = []
    right = module(root).manifest()
    prepare(right, root, store, Painted(), 0, progress=lambda work, total: counted.append(total) or work)
    assert counted == [33], "the good ones are kept, the others tried again"
    prepare(right, root, tmp_path / "whole", Painted(), num_workers=0)
    same_store(tmp_path / "whole", store)
    with pytest.warns(UserWarning, match="33 of 36 items"):
        assert len(prepare(items, root, tmp_path / "all", Painted(), 0, max_rejected=1.0).crops) == 3 * 8


def test_a_full_disk_is_no_item_s_fault(tmp_path, monkeypatch):
    root = tree(tmp_path / "raw", LISTED, *PATHS)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_part", full)
        with pytest.raises(Stop, match="No space left on device"):
            prepare(module(root).manifest(), root, tmp_path / "store", Painted(), num_workers=0)
    assert len(prepare(module(root).manifest(), root, tmp_path / "store", Painted(), num_workers=0).crops) == 36 * 8


def test_a_file_that_changed_since_is_told(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    items = module(root).manifest()
    prepare(items, root, tmp_path / "store", Painted(), num_workers=0)
    (root / PATHS[0]).write_bytes(b"another film")
    with pytest.warns(UserWarning, match=f"1 files have changed in size .* such as {PATHS[0]}"):
        prepare(items, root, tmp_path / "store", Painted(), num_workers=0)


# -- killed


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(what, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_killed_in_the_middle_and_started_again(workplace, demo_root, tmp_path):
    """`workplace` was prepared in one go, in one process."""
    arguments = ["data=demo_celebdf", f"data.root={demo_root}", *TINY]
    command = [sys.executable, "-m", "unmask.commands.prepare", *arguments, "prepare.num_workers=1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = next((workplace / "outputs/prepared/demo_celebdf").glob("*/"))
    parts = tmp_path / "outputs/prepared/demo_celebdf" / whole.name / "parts"
    wait_for(lambda: len(list(parts.glob("*.npz"))) >= 3, 90)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(map(lives, workers)), 20)  # they do not linger
    items = pd.read_parquet(whole / "items.parquet")["item"]
    done = [part_path(parts.parent, item) for item in items if part_path(parts.parent, item).is_file()]
    assert 3 <= len(done) < len(items)
    done[0].write_bytes(done[0].read_bytes()[:1000])  # a power cut may leave such a one
    (parts / "0123.npz.abcd.tmp").write_bytes(b"half")
    unmask("prepare", *arguments, "prepare.num_workers=0", cwd=tmp_path)
    same_store(whole, parts.parent)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_workers_that_hang_end_with_their_parent(tmp_path):
    code = (
        "import test_workers\nfrom unmask.parallel.workers import run\n"
        "if __name__ == '__main__':\n    list(run(test_workers.work, ['hang'], workers=1))\n"
    )
    (tmp_path / "main.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    )
    wait_for(lambda: len(children(process.pid)) >= 2, 60)  # the worker, and multiprocessing's own tracker
    workers = children(process.pid)
    # The one that has turned its back on stderr has started, and hangs.
    wait_for(lambda: any(os.readlink(f"/proc/{pid}/fd/2") == os.devnull for pid in workers), 60)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(lives, workers)), 20)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["write_shard", "write_rejected", "audit", "finish"])
def test_a_killed_merge_leaves_no_trace(tmp_path, monkeypatch, step):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    items = module(root).manifest()
    prepare(items, root, tmp_path / "whole", Painted(), num_workers=0)

    def killed(*_):
        raise KeyboardInterrupt

    where = "unmask.data.prepare" if step in ("audit", "finish") else "unmask.data.shards"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"{where}.{'_write_shard' if step == 'write_shard' else step}", killed)
        prepare(items, root, tmp_path / "store", Painted(), num_workers=0)
    (tmp_path / "store/crops-00007.npy").write_bytes(b"of an older merge with smaller shards")
    (tmp_path / "store/crops-00000.npy.abcd.tmp").write_bytes(b"half")
    prepare(items, root, tmp_path / "store", Painted(), num_workers=0)
    same_store(tmp_path / "whole", tmp_path / "store")


def test_parts_of_another_root_are_not_mixed_in(tmp_path):
    root, other = (tree(tmp_path / name, LISTED, *PATHS) for name in ("raw", "other"))
    items = module(root).manifest()
    prepare_parts(items, root, tmp_path / "store", Painted(), num_workers=0, shard=(1, 2))
    with pytest.raises(
        StoreError, match=r"is used for crops of the files in .*raw, not in .*other; start over with rerun=true"
    ):
        prepare(items, other, tmp_path / "store", Painted(), num_workers=0)
    prepare(items, other, tmp_path / "store", Painted(), num_workers=0, rerun=True)
    assert json.loads((tmp_path / "store/recipe.json").read_text())["root"] == str(other)


# -- sharded, and several at once


def test_shards_prepared_apart_are_the_whole(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    items = module(root).manifest()
    items.loc[[3, 9], "path"] = ["bad1.mp4", "bad2.mp4"]
    prepare(items, root, tmp_path / "whole", Painted(), num_workers=0)
    store = tmp_path / "store"
    assert prepare_parts(items, root, store, Painted(), num_workers=0, shard=(2, 3)) == 24
    assert [read_about(store, item) is not None for item in items["item"][:4]] == [False, True, False, False]
    assert prepare_parts(items, root, store, Painted(), num_workers=0, shard=(1, 3)) == 12
    assert prepare_parts(items, root, store, Painted(), num_workers=0, shard=(3, 3)) == 0
    assert not (store / "crops.parquet").exists()
    prepare(items, root, store, Painted(), num_workers=0)
    same_store(tmp_path / "whole", store)
    assert prepare_parts(items, root, store, Painted(), num_workers=0, shard=(1, 3)) == 0, "it is done"


@pytest.mark.slow
def test_shards_through_the_console(workplace, demo_root, tmp_path):
    arguments = ["prepare", "data=demo_celebdf", f"data.root={demo_root}", *TINY, "prepare.num_workers=0"]
    wrong = unmask(*arguments, "prepare.shard=0/2", cwd=tmp_path, expect=1)
    assert "prepare.shard=0/2: expected INDEX/COUNT, counted from 1, such as 3/16" in wrong.stderr
    total = len(pd.read_parquet(next((workplace / "outputs/prepared").glob("*/*/items.parquet"))))
    first = unmask(*arguments, "prepare.shard=1/2", cwd=tmp_path)
    assert f"{total // 2} of {total} items remain" in first.stdout
    assert "delete" in unmask(*arguments, "prepare.shard=2/2", "rerun=true", cwd=tmp_path, expect=1).stderr
    second = unmask(*arguments, "prepare.shard=2/2", cwd=tmp_path)
    assert (
        f"0 of {total} items remain for other shards. To merge the shards, run the same command without prepare.shard"
        in second.stdout
    )
    unmask(*arguments, cwd=tmp_path)
    whole = next((workplace / "outputs/prepared/demo_celebdf").glob("*/"))
    same_store(whole, tmp_path / "outputs/prepared/demo_celebdf" / whole.name)


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "1/0", "-1/4", "1/2/3"])
def test_a_wrong_shard_is_refused(text):
    assert parse_shard("3/16") == (3, 16) and parse_shard(None) is None
    with pytest.raises(ValueError, match=r"counted from 1, such as 3/16"):
        parse_shard(text)


class Slow(Painted):
    """Takes its time, so that two calls meet."""

    def __call__(self, path: Path, mask: Path | None = None) -> Crops:
        time.sleep(0.005)
        return super().__call__(path)


def test_two_calls_at_once_do_no_harm(tmp_path):
    root = tree(tmp_path / "raw", LISTED, *PATHS)
    items = module(root).manifest()
    prepare(items, root, tmp_path / "whole", Painted(), num_workers=0)
    failed = []

    def call(delay: float) -> None:
        time.sleep(delay)
        try:
            assert len(prepare(items, root, tmp_path / "store", Slow(), num_workers=0).crops) == 36 * 8
        except BaseException as error:
            failed.append(error)

    calls = [threading.Thread(target=call, args=(delay,)) for delay in (0, 0, 0.08)]
    for thread in calls:
        thread.start()
    time.sleep(0.1)
    with pytest.raises(StoreError, match="another process is working"):
        prepare(items, root, tmp_path / "store", Slow(), num_workers=0, rerun=True)
    for thread in calls:
        thread.join()
    assert not failed
    same_store(tmp_path / "whole", tmp_path / "store")


def test_a_split_that_lacks_a_class_is_reported():
    columns = ("split", "label", "path", "rejected")
    rows = [("train", 0, "a.mp4", None), ("train", 1, "b.mp4", None), ("val", 1, "c.mp4", None)]
    told = one_class(pd.DataFrame(rows, columns=columns))
    assert told is not None and "the val split contains 0 real and 1 fake videos" in told
    rows.append(("val", 0, "d.mp4", None))
    assert one_class(pd.DataFrame(rows, columns=columns)) is None
    rows[-1] = ("val", 0, "d.mp4", "no face found")
    assert one_class(pd.DataFrame(rows, columns=columns)) is not None
    for_evaluation = pd.DataFrame([("test", *row[1:]) for row in rows], columns=columns)
    assert one_class(for_evaluation) is None and one_class(pd.DataFrame(rows[:1], columns=columns)) is None
