"""Crops at a URL: the tables are copied to the local cache once, and shards when they are read.

    CACHE/NAME/RECIPE/VERSION/items.parquet, crops.parquet, ...   the tables
    CACHE/NAME/RECIPE/VERSION/crops-00000.npy                     the shards that were read last

VERSION is a hash of checksums.json, so crops that were prepared again never meet copies of the earlier ones.
"""

import hashlib
import json
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.data import checksums
from unmask.data.bucket import Bucket
from unmask.data.cache import GIB, Cache
from unmask.data.store import AGAIN, CHECKSUMS, DTYPES, DUPLICATES, CropStore, StoreError, shard_path
from unmask.files import lock, read_json, replace_file

TABLES = ("recipe.json", "items.parquet", "crops.parquet")  # the last one marks a complete store
OPTIONAL = ("audit.json", "rejected.csv", DUPLICATES)
_NAME = re.compile(r"(items|crops)\.parquet|(crops|masks|sound)-\d{5,}\.npy")
_copied: dict[tuple[str, str], Path] = {}  # (URL, cache) -> the copy that this process uses


class RemoteStore(CropStore):
    """A finished store at a URL, opened for reading.

    Args:
        folder: the copy of its tables.
        bucket: its files; None reads only shards that are in the cache.
        cache: keeps the shards.
    """

    def __init__(self, folder: Path, bucket: Bucket | None, cache: Cache) -> None:
        super().__init__(folder)
        self.bucket, self.cache = bucket, cache
        self._known: dict[str, int] = read_json(folder / CHECKSUMS, AGAIN)

    def __getstate__(self) -> dict[str, object]:
        own = {"bucket": self.bucket, "cache": self.cache, "_known": self._known}
        return super().__getstate__() | own

    def has(self, name: str) -> bool:
        """Return whether the store contains a file, such as `masks-00000.npy`."""
        return name in self._known

    def cache_advice(self, window: int | None) -> str | None:
        """Return a warning if an epoch would download shards repeatedly.

        Args:
            window: the number of shards that are shuffled together; None shuffles all of them.
        """
        kind = "crops" if len(self.crops) else "sound"
        first, shards = shard_path(self.folder, 0, kind).name, [name for name in self._known if name.startswith(kind)]
        shards = [name for name in shards if name.endswith(".npy")]
        if self.bucket is None or first not in shards:
            return None
        used = min(window or len(shards), len(shards))
        need, fit = used * self.bucket.size(first) / GIB, int(self.cache.gib * GIB / self.bucket.size(first))
        if need <= self.cache.gib:
            return None
        return (
            f"data.cache.gib={self.cache.gib:g}: {used} of {len(shards)} shards are shuffled together, which take "
            f"about {need:.3g} GiB, so each epoch downloads shards repeatedly; increase data.cache.gib, or set "
            f"data.sampling.window={max(fit, 1)} (docs/cluster.md)"
        )

    @contextmanager
    def _shard(self, kind: str, number: int) -> Iterator[NDArray[np.integer]]:
        """Yield the memory map of a shard; the shard stays in the cache until the block ends."""
        path = shard_path(self.folder, number, kind)
        if path.name not in self._known:
            raise StoreError(f"{path} is not in {CHECKSUMS}: the tables in {self.folder} do not belong together")
        with self.cache.reading(path, self.bucket, self._known[path.name]) as file:
            np.lib.format.read_magic(file)
            shape, *_ = np.lib.format.read_array_header_1_0(file)
            yield np.memmap(file, DTYPES[kind], "r", file.tell(), shape)


def open_store(url: str, place: str, cache: Cache) -> RemoteStore:
    """Open the store at a URL; its tables are copied to `<cache>/<place>/<version>` unless they are there.

    With `cache.offline`, a URL is read only if this process already read it, otherwise the last copy is used.

    Raises:
        StoreError: there is no store at this URL, or it cannot be read or copied.
    """
    if sys.platform == "win32":
        raise StoreError(
            f"data.prepared={url}: crops at a URL cannot be read on Windows, which lacks the file locks that their "
            "cache needs; copy the crops to a local folder"
        )
    key = (url, str(cache.folder))
    if key not in _copied and cache.offline:
        return RemoteStore(_last_copy(Path(cache.folder) / place, url), None, cache)
    bucket = Bucket(url)
    if key not in _copied or not (_copied[key] / "crops.parquet").is_file():
        _copied[key] = _copy_tables(bucket, Path(cache.folder) / place)
    return RemoteStore(_copied[key], bucket, cache)


def verify(store: RemoteStore) -> None:
    """Check the cached files of a store against its checksums; damaged ones are deleted and copied again.

    Raises:
        StoreError: the files cannot be copied again, or must not be.
    """
    bad = [name for name in checksums.damaged(store.folder) if (store.folder / name).is_file()]
    if bad and store.bucket is None:
        raise StoreError(f"{store.folder} is damaged ({', '.join(bad[:3])}); delete it, so that it is copied again")
    for name in bad:
        (store.folder / name).unlink()
    if store.bucket is not None and bad:
        _copy_tables(store.bucket, store.folder.parent)


def _last_copy(folder: Path, url: str) -> Path:
    found = sorted(folder.glob("*/crops.parquet"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise StoreError(
            f"the prepared crops are at {url}, and nothing is downloaded unless the command contains the URL: add "
            f"paths.prepared={url.removesuffix('/' + '/'.join(folder.parts[-2:]))}"
        )
    return found[-1].parent


def _copy_tables(bucket: Bucket, folder: Path) -> Path:
    """Copy and check the tables of a store; return the folder of the copy."""
    try:
        about = bucket.read(CHECKSUMS)
    except FileNotFoundError:
        raise StoreError(
            f"{bucket.url} contains no prepared crops ({CHECKSUMS} is missing): prepare them in a local folder, copy "
            "this folder there (docs/data.md, Crops in an object store), and check the name and the recipe"
        ) from None
    known = _parse(about, bucket)
    copy = folder / hashlib.sha256(about).hexdigest()[:12]
    with lock(copy, alone=True):
        if (copy / CHECKSUMS).is_file() and all((copy / name).is_file() for name in TABLES):
            return copy
        copy.mkdir(parents=True, exist_ok=True)
        replace_file(copy / CHECKSUMS, about)
        for name in (*OPTIONAL, *TABLES):
            try:
                content = bucket.read(name)
            except FileNotFoundError:
                if name in OPTIONAL:
                    continue
                raise StoreError(bucket.damaged(name)) from None
            if name in known and zlib.crc32(content) != known[name]:
                raise StoreError(bucket.damaged(name))
            replace_file(copy / name, content)
    return copy


def _parse(about: bytes, bucket: Bucket) -> dict[str, int]:
    try:
        known = json.loads(about)
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(_NAME.fullmatch(name) and isinstance(known[name], int) for name in known):
        raise StoreError(
            f"{bucket.url}/{CHECKSUMS} is damaged: expected checksums of tables and shards; {AGAIN} and copy it"
        )
    return known
