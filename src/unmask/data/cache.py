"""A folder of bounded size with copies of shards, shared by all processes of a machine.

Crops that do not fit on a machine stay in an object store (data/bucket.py), and shards are copied here when they are
needed. The rules below keep processes from disturbing each other:

- A process holds a shared lock on a shard while it reads the shard, and deletes a shard only if it gets an exclusive
  lock, so no shard is deleted while it is read. On a file system without locks a shard can be deleted while it is
  mapped, which is harmless on POSIX systems: the pages of an unlinked file stay valid until it is unmapped.
- A process copies at most one shard at a time, and holds no other shard meanwhile. So a process that waits for space
  never waits for itself.
- Before a shard is copied, its full size is reserved on the disk. So copies in progress count towards the folder's
  limit, and the folder never exceeds it.
- A shard gets its name only after its checksum was verified. If a process is killed while it copies, the next process
  that needs space deletes the incomplete copy.
"""

import errno
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from unmask.data.bucket import Bucket
from unmask.data.store import StoreError
from unmask.files import hold, lock, replacing, reserve

GIB = 2**30
SHARDS = "*/*/*/*-?????.npy"  # NAME/RECIPE/VERSION/crops-00000.npy
WAIT = 0.05  # s between two attempts to make room


@dataclass(frozen=True)
class Cache:
    """Where shards of crops at a URL are kept, and how much space they may take; not used for crops on disk.

    Args:
        folder: a folder on a local disk; the processes of a machine share it.
        gib: maximum size of all shards in the folder, GiB; the tables of the data sets are not counted.
        offline: whether to read only what is already in the folder, and download nothing.
    """

    folder: str | Path = "outputs/cache"
    gib: float = 50.0
    offline: bool = False

    @classmethod
    def default(cls) -> "Cache":
        """Return the cache in the folder that the environment variable `UNMASK_CACHE` names."""
        return cls(os.environ.get("UNMASK_CACHE", "outputs/cache"))

    def __post_init__(self) -> None:
        if not self.gib > 0:
            raise ValueError(f"data.cache.gib={self.gib}: expected a size above 0")

    @contextmanager
    def reading(self, path: Path, bucket: Bucket | None, known: int) -> Iterator[BinaryIO]:
        """Yield a shard that is open for reading and is not deleted until the block ends; first copy it if necessary.

        Args:
            path: the shard's path in `folder`.
            bucket: the store from which the shard is downloaded if it is not in the cache, under the same file name;
                None if nothing may be downloaded.
            known: the CRC-32 of the shard.

        Raises:
            StoreError: the shard cannot be copied; the message names the URL and says what to do.
        """
        while (file := self._open(path)) is None:
            if bucket is None:
                raise StoreError(
                    f"{path} is missing, and nothing is downloaded: give the URL in the command "
                    "(paths.prepared=URL), and set data.cache.offline=false"
                )
            with lock(path, alone=True):  # another process may be copying it
                if not path.is_file():
                    file = self._copy(path, bucket, known)
                    break
        with file:
            yield file

    def _open(self, path: Path) -> BinaryIO | None:
        """Open and lock a shard, and mark it as used just now; None if it is missing."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        hold(file)
        if os.fstat(file.fileno()).st_nlink == 0:  # deleted before it was locked
            file.close()
            return None
        with suppress(OSError):
            os.utime(path)
        return file

    def _copy(self, path: Path, bucket: Bucket, known: int) -> BinaryIO:
        """Copy a shard and return it, open and locked."""
        size = bucket.size(path.name)
        if size > self.gib * GIB:
            raise StoreError(
                f"data.cache.gib={self.gib}: {bucket.url}/{path.name} alone has {size / GIB:.2f} GiB; increase it"
            )
        with replacing(path) as temporary:
            try:
                file = self._reserved(temporary, size)
                try:
                    _fill(file, bucket, path.name, size, known)
                except BaseException:
                    file.close()
                    raise
            except OSError as error:
                self._full(error, f"{bucket.url}/{path.name}")
        file.seek(0)
        return file

    def _full(self, error: OSError, url: str) -> NoReturn:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        raise StoreError(
            f"{self.folder}: the disk is full, so {url} cannot be copied; free some space, or set a smaller "
            "data.cache.gib or another data.cache.folder"
        ) from None

    def _reserved(self, temporary: Path, size: int) -> BinaryIO:
        """Return a new, locked file of this size; wait until other processes have finished with some shards."""
        while True:
            with lock(Path(self.folder) / "shards", alone=True):
                if self._make_room(size):
                    file = temporary.open("x+b")
                    hold(file)
                    file.truncate(size)
                    reserve(temporary)
                    return file
            time.sleep(WAIT)

    def _make_room(self, size: int) -> bool:
        """Delete the shards that have not been used for the longest time; return whether `size` bytes are free."""
        for leftover in Path(self.folder).glob(f"{SHARDS}.*.tmp"):
            _delete(leftover)  # fails if its process is alive
        found = [(stat.st_mtime_ns, path, stat.st_size) for path, stat in self._files()]
        excess = sum(each for *_, each in found) + size - int(self.gib * GIB)
        for _, path, each in sorted(found):
            if excess <= 0:
                break
            if path.suffix != ".tmp" and _delete(path):
                excess -= each
        return excess <= 0

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for pattern in (SHARDS, f"{SHARDS}.*.tmp"):
            for path in Path(self.folder).glob(pattern):
                with suppress(FileNotFoundError):  # renamed or deleted meanwhile
                    yield path, path.stat()


def _fill(file: BinaryIO, bucket: Bucket, name: str, size: int, known: int) -> None:
    found = 0
    for part in bucket.parts(name, size):
        file.write(part)
        found = zlib.crc32(part, found)
    file.flush()
    if found != known:
        raise StoreError(bucket.damaged(name))


def _delete(path: Path) -> bool:
    """Delete a file unless another process holds it; return whether it is gone."""
    try:
        with path.open("rb") as file:
            hold(file, alone=True, wait=False)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True
