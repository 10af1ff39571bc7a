"""Crops at a URL: the same batches as from a folder, in a cache that stays small, whatever else reads from it."""

import errno
import multiprocessing
import shutil
import sys
import threading
import time
import zlib
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import TINY, unmask
from test_data import LISTED, PATHS, painted, tree
from unmask.data import bucket, remote, shards
from unmask.data import cache as caches
from unmask.data.bucket import Bucket
from unmask.data.cache import GIB, Cache
from unmask.data.datamodule import DataModule
from unmask.data.dataset import Sampling
from unmask.data.loader import Loader
from unmask.data.prepare import prepare
from unmask.data.prepared import Prepared
from unmask.data.samplers import CountedSampler
from unmask.data.sampling import balanced_order, windowed_order
from unmask.data.store import StoreError
from unmask.runs.identity import prepared_hash, run_id, seedless_id

SHARD = 16 * 3 * 16 * 16 + 128  # bytes of a shard of `local`: two items of eight crops, and the header


@pytest.fixture(autouse=True)
def no_copies_are_known(monkeypatch):
    monkeypatch.setattr(remote, "_copied", {})
    monkeypatch.setattr(bucket, "PAUSES", ())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of crops: 36 items in 18 shards, of which all but two contain only one class."""
    place = tmp_path_factory.mktemp("made")
    data = painted(tree(place / "raw", LISTED, *PATHS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.merge, "__defaults__", (SHARD - 128,))
        prepare(data.manifest(), data.source.root, data.members[0][0].folder, data.recipe, num_workers=0)
    return place / "prepared"


@pytest.fixture
def local(made, tmp_path) -> DataModule:
    """A data module of a copy of these crops."""
    shutil.copytree(made, tmp_path / "prepared")
    return painted(tmp_path / "raw")


class Ranges(SimpleHTTPRequestHandler):
    """A web server that answers requests for a part of a file, as object stores do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, asked = path.read_bytes(), self.headers.get("Range")
        self.send_response(206 if asked else 200)
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content = content[int(first) : int(last) + 1]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(local):
    """The URL of a web server with the crops of `local`."""
    place = local.members[0][0].folder.parents[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(place)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def at(local: DataModule, url: str, cache: Cache, **parts) -> DataModule:
    known = {"sampling": local.sampling, "loader": local.loader, "split": local.split} | parts
    return DataModule(local.source, local.recipe, **known, prepared=url, cache=cache)


def small(tmp_path: Path, shards: float = 3.5) -> Cache:
    return Cache(tmp_path / "cache", shards * SHARD / GIB)


def url_of(local: DataModule) -> str:
    return f"file://{local.members[0][0].folder.parents[1]}"


def batches(data: DataModule, epoch: int = 0) -> list[dict[str, torch.Tensor]]:
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_same(a: list, b: list) -> None:
    assert len(a) == len(b) > 1
    for one, two in zip(a, b, strict=True):
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def size(cache: Cache) -> int:
    return sum(stat.st_size for _, stat in cache._files())


# -- the same batches, in a small cache


@pytest.mark.parametrize(("window", "workers"), [(None, 0), (2, 0), (4, 0), pytest.param(4, 2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:data.cache.gib")
def test_batches_equal_the_local_ones_and_the_cache_stays_small(local, served, tmp_path, monkeypatch, window, workers):
    parts = {"sampling": replace(local.sampling, window=window), "loader": Loader(16, 4)}
    cache, sizes = small(tmp_path), []
    made = Cache._make_room
    monkeypatch.setattr(
        Cache, "_make_room", lambda self, need: made(self, need) and not sizes.append(size(self) + need)
    )
    here = DataModule(local.source, local.recipe, local.split, **parts, prepared=tmp_path / "prepared")
    there = at(local, served, cache, **parts | {"loader": Loader(16, 4, workers)})
    for epoch in (0,) if workers else (0, 1):
        assert_same(batches(here, epoch), batches(there, epoch))
    assert size(cache) <= cache.gib * GIB
    assert workers or (len(sizes) > 18 and max(sizes) <= cache.gib * GIB), "more than the cache holds was read"
    there.verify()


def read_all(local: DataModule, url: str, cache: Cache, seed: int) -> None:
    """One of several processes: read all shards three times, in an order of its own."""
    torch.set_num_threads(1)
    here = local.members[0][0].store
    there = Prepared(local.source, local.recipe, url, cache).store
    rng, shards = np.random.default_rng(seed), here.crops["shard"].to_numpy()
    for number in np.concatenate([rng.permutation(np.unique(shards)) for _ in range(3)]):
        offset = here.crops["offset"].to_numpy()[shards == number]
        wanted = np.full_like(offset, number), offset
        np.testing.assert_array_equal(here.pixels(*wanted), there.pixels(*wanted))


@pytest.mark.slow
def test_processes_share_a_cache_of_a_single_shard(local, tmp_path):
    """Each waits until another has finished reading; a killed process leaves nothing that counts for ever."""
    cache, context = small(tmp_path, 1.2), multiprocessing.get_context("spawn")
    ours = [context.Process(target=read_all, args=(local, url_of(local), cache, seed)) for seed in range(3)]
    [process.start() for process in ours]
    most = 0
    while any(process.is_alive() for process in ours):
        most = max(most, size(cache))
        time.sleep(0.001)
    assert [process.exitcode for process in ours] == [0, 0, 0]
    # A file that is renamed or replaced while the folder is listed may be counted twice.
    assert SHARD <= most <= 2 * SHARD and size(cache) <= cache.gib * GIB
    left = next((tmp_path / "cache").glob("*/*/*/")) / "crops-00001.npy.0123456789ab.tmp"
    left.write_bytes(bytes(SHARD))
    read_all(local, url_of(local), cache, 0)
    assert not left.exists()


def test_a_shard_that_is_read_is_not_deleted(local, tmp_path):
    cache = small(tmp_path, 2.5)
    store = Prepared(local.source, local.recipe, url_of(local), cache).store
    with store._shard("crops", 0) as held:
        before = held[:].copy()
        for number in range(1, 9):
            with store._shard("crops", number):
                pass
        assert (store.folder / "crops-00000.npy").is_file() and np.array_equal(held, before)
        del held
    for number in range(9, 12):
        with store._shard("crops", number):
            pass
    assert not (store.folder / "crops-00000.npy").is_file() and len(list(store.folder.glob("crops-?????.npy"))) == 2


def test_the_run_has_the_same_id(local, tmp_path):
    parts = {"source": local.source, "recipe": local.recipe, "split": local.split}
    here = prepared_hash(parts | {"prepared": str(tmp_path / "prepared")})
    there = prepared_hash(parts | {"prepared": url_of(local), "cache": small(tmp_path)})
    assert here == there != ""
    config = {"data": {"prepared": "${paths.prepared}", "sampling": {"window": None}, "batch_size": 8}}
    url = {"data": {"prepared": "s3://b/p", "cache": {"gib": 3}, "sampling": {"window": None}, "batch_size": 8}}
    older = {"data": {"prepared": "${paths.prepared}", "sampling": {}, "batch_size": 8}}
    later = {"data": config["data"] | {"recipe": {"square": None}}}
    before = {"data": config["data"] | {"recipe": {}}}
    for identity in (lambda settings: run_id(settings, here), seedless_id):
        assert identity(config) == identity(url) == identity(older)
        assert identity(config) != identity({"data": config["data"] | {"sampling": {"window": 4}}})
        assert identity(later) == identity(before) != identity({"data": config["data"] | {"recipe": {"square": 9}}})


@pytest.mark.slow
def test_trained_and_evaluated_from_a_url(workplace, demo_root, tmp_path):
    """The same figures as from a folder; a URL in the config of a run is not read unless the command contains it."""
    here = [
        *TINY,
        "data=demo_celebdf",
        f"data.root={demo_root}",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "latency=false",
    ]
    common = ["experiment=celebdf/meso4", *here, "data.batch_size=4", "handling=false", "explain=0", "feature_maps=[]"]
    url = f"file://{workplace / 'outputs/prepared'}"
    unmask("train", *common, f"paths.prepared={workplace / 'outputs/prepared'}", cwd=tmp_path)
    (first,) = [path.parent for path in tmp_path.glob("outputs/celebdf/meso4/*/metrics.json")]
    figures = yaml.safe_load((first / "metrics.json").read_text())
    shutil.rmtree(first)
    unmask("train", *common, f"data.prepared={url}", cwd=tmp_path)
    again = yaml.safe_load((first / "metrics.json").read_text())
    assert (again["test"], again["score"]) == (figures["test"], figures["score"])
    unmask("evaluate", f"run={first}", f"paths.prepared={url}", "trainer=cpu", cwd=tmp_path)
    shutil.rmtree(tmp_path / "outputs/cache")
    remote._copied.clear()
    said = unmask("evaluate", f"run={first}", "trainer=cpu", cwd=tmp_path, expect=1).stderr
    assert f"paths.prepared={url}" in said and not (tmp_path / "outputs/cache").exists()
    said = unmask("prepare", *here, f"data.prepared={url}", cwd=tmp_path, expect=1).stderr
    assert "unmask prepare writes to a local folder" in said


# -- the order


def test_a_window_keeps_the_samples_and_the_mixture_and_reads_few_shards():
    """Real samples lie in 6 shards and fakes in 34; the window has 8 shards."""
    shard = np.repeat(np.arange(40), 100)
    label = (shard >= 6).astype(np.int64)

    def draw(rng: np.random.Generator) -> np.ndarray:
        order = balanced_order(label, rng)
        place = windowed_order(np.arange(len(order)), shard[order], label[order], 8, rng)
        return order[place]

    def epoch(number: int) -> np.ndarray:
        sampler = CountedSampler(len(label), 0, draw)
        sampler.set_epoch(number)
        return sampler.order()

    order, rng = epoch(3), np.random.default_rng([0, 3])
    assert np.array_equal(np.sort(order), np.sort(balanced_order(label, rng))), "the samples of the epoch are the same"
    assert np.array_equal(order, epoch(3)) and not np.array_equal(order, epoch(4))
    rows = order.reshape(-1, 50)
    assert np.abs((label[rows] == 0).sum(1) - 25).max() <= 2, "each batch is balanced"
    reads = [set(shard[row].tolist()) for row in rows]
    assert max(map(len, reads)) <= 12, "8, or up to 12 where a window ends within a batch"
    new = sum(len(now - before) for before, now in zip([set(), *reads], reads, strict=False))
    assert new <= 44, f"{new} shards are read anew, of 40"


@pytest.mark.parametrize("balance", ["none", "classes", "methods", "pairs"])
def test_every_balance_keeps_its_samples_and_pairs(local, balance):
    local.setup("fit")
    samples = local.samples["train"]
    free, unit = replace(local.sampling, balance=balance).order(samples)
    near, same = replace(local.sampling, balance=balance, window=4).order(samples)
    a, b = (order(np.random.default_rng(1)).reshape(-1, unit) for order in (free, near))
    assert unit == same and not np.array_equal(a, b)
    assert np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


def test_a_resumed_epoch_reads_the_remaining_batches(local, tmp_path):
    parts = {"sampling": replace(local.sampling, window=4), "loader": Loader(16, 4)}
    data = at(local, url_of(local), small(tmp_path, 6), **parts)
    whole = batches(data)
    resumed = at(local, url_of(local), small(tmp_path, 6), **parts)
    resumed.load_state_dict({"batches": 2})
    assert_same(whole[2:], batches(resumed))


def test_a_cache_that_is_too_small_is_said(local, tmp_path):
    with pytest.warns(UserWarning, match=r"18 of 18 shards are shuffled together.*set data.sampling.window=3"):
        batches(at(local, url_of(local), small(tmp_path)))
    with pytest.raises(ValueError, match=r"data.sampling.window=1: expected null or a number of shards of at least 2"):
        Sampling(window=1)


# -- errors in one line


def fail(local: DataModule, url: str, cache: Cache) -> str:
    with pytest.raises(StoreError) as caught:
        batches(at(local, url, cache))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:data.cache.gib")
def test_what_is_wrong_is_named_with_the_url(local, tmp_path, monkeypatch):
    place, cache = local.members[0][0].folder, small(tmp_path)
    url = url_of(local)
    assert f"{url}/x/celebdf_v2/{place.name} contains no prepared crops" in fail(local, f"{url}/x", cache)
    assert "http://127.0.0.1:9" in (said := fail(local, "http://127.0.0.1:9", cache)) and "check the address" in said
    assert "Protocol not known: nothing" in fail(local, "nothing://x", cache)
    assert "data.cache.gib=1e-09" in fail(local, url, Cache(tmp_path / "cache", 1e-9))
    assert "nothing is downloaded" in fail(local, url, Cache(tmp_path / "other", offline=True))
    with pytest.raises(ValueError, match=r"data.cache.gib=0: expected a size above 0"):
        Cache(gib=0)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(caches, "reserve", lambda path: (_ for _ in ()).throw(full))
    assert "the disk is full" in (said := fail(local, url, cache)) and f"{url}/celebdf_v2/{place.name}/crops-0" in said
    monkeypatch.undo()
    for path in place.glob("crops-*.npy"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    said = fail(local, url, cache)
    assert f"{url}/celebdf_v2/{place.name}/crops-0" in said and "does not match checksums.json" in said
    assert not list((tmp_path / "cache").glob("*/*/*/crops-?????.npy*.tmp")), "no damaged shard is kept"


def test_a_missing_package_is_named_with_its_command(local, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'unmask[s3]'" in fail(local, "s3://bucket/prefix", small(tmp_path))


@pytest.mark.parametrize("name", ["../../x.npy", "/etc/passwd", "crops-00000.npy/../../x"])
def test_the_store_names_no_file_outside_of_itself(local, tmp_path, name):
    (local.members[0][0].folder / "checksums.json").write_text(f'{{"{name}": 1}}')
    assert "checksums.json is damaged" in fail(local, url_of(local), small(tmp_path))


def test_a_damaged_copy_is_copied_again(local, tmp_path):
    data = at(local, url_of(local), small(tmp_path, 30))
    before = batches(data)
    folder = data.members[0][0].folder
    for name in ("crops-00002.npy", "items.parquet"):
        (folder / name).write_bytes(b"damaged")
    data.verify()
    assert_same(before, batches(at(local, url_of(local), small(tmp_path, 30))))


def test_crops_that_were_prepared_again_do_not_meet_earlier_copies(local, tmp_path):
    store = Prepared(local.source, local.recipe, url_of(local), small(tmp_path, 30)).store
    place = local.members[0][0].folder
    sums = yaml.safe_load((place / "checksums.json").read_text())
    changed = (place / "crops-00000.npy").read_bytes()[:-1] + b"?"
    (place / "crops-00000.npy").write_bytes(changed)
    sums["crops-00000.npy"] = zlib.crc32(changed)
    (place / "checksums.json").write_text(str(sums).replace("'", '"'))
    remote._copied.clear()
    other = Prepared(local.source, local.recipe, url_of(local), small(tmp_path, 30)).store
    assert other.folder != store.folder and other.folder.parent == store.folder.parent


# -- a real S3 interface, where it is installed (pip install s3fs 'moto[server]')


@pytest.mark.slow
def test_s3(local, tmp_path, monkeypatch):
    pytest.importorskip("moto", reason="needs pip install s3fs 'moto[server]'")
    s3fs = pytest.importorskip("s3fs", reason="needs pip install s3fs 'moto[server]'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "ENDPOINT_URL": address}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    files = s3fs.S3FileSystem()
    files.mkdir("bucket")
    files.put(str(local.members[0][0].folder.parents[1]) + "/", "bucket/prefix/", recursive=True)
    data = at(local, "s3://bucket/prefix", small(tmp_path, 6), sampling=replace(local.sampling, window=4))
    here = DataModule(
        local.source, local.recipe, local.split, data.sampling, local.loader, prepared=tmp_path / "prepared"
    )
    assert_same(batches(here), batches(data))
    assert "contains no prepared crops" in fail(local, "s3://bucket/other", small(tmp_path))
    assert "contains no prepared crops" in fail(local, "s3://missing/prefix", small(tmp_path))
    server.stop()


def test_bytes_are_read_in_parts(tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(1000)
    (tmp_path / "a").write_bytes(content)
    monkeypatch.setattr(bucket, "PART", 64)
    assert b"".join(Bucket(f"file://{tmp_path}").parts("a", 1000)) == content
    with pytest.raises(StoreError, match="does not match"):
        list(Bucket(f"file://{tmp_path}").parts("a", 1001))
