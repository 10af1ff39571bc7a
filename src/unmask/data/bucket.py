"""Read the files of a store at a URL: s3://, gs://, https://, file:// or any other that fsspec knows."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Protocol, TypeVar

from unmask.data.store import StoreError

PART = 2**23  # bytes per request
AT_ONCE = 8  # requests at the same time; a connection to S3 gives about 50 to 90 MB/s
PAUSES = (1.0, 4.0)  # s before the second and the third attempt at a request
EXTRAS = {"s3": "'unmask[s3]'", "s3a": "'unmask[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}

T = TypeVar("T")


class FileSystem(Protocol):
    """The part of fsspec's interface that is used here."""

    def cat_file(self, path: str, *, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to `end` (not included)."""

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None if it is unknown."""


def is_url(place: object) -> bool:
    """Return whether a place is a URL that fsspec reads, not a path."""
    return "://" in str(place)


class Bucket:
    """The files of one store below a URL; read only.

    Args:
        url: the folder of the store, such as `s3://BUCKET/PREFIX/celebdf_v2/1a2b3c4d5e`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the URL cannot be read.
        """
        return self._ask(lambda files, path: files.cat_file(f"{path}/{name}"), ())

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            StoreError: the file is missing or cannot be read, or the server does not report its size.
        """
        try:
            size = self._ask(lambda files, path: files.size(f"{path}/{name}"), PAUSES)
        except FileNotFoundError:
            size = None
        if size is None:
            raise StoreError(self.damaged(name))
        return size

    def parts(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file of `size` bytes in parts of at most 8 MiB, of which eight are read at a time.

        Raises:
            StoreError: the file is shorter, or cannot be read.
        """

        def part(start: int) -> bytes:
            end = min(start + PART, size)
            found = self._ask(lambda files, path: files.cat_file(f"{path}/{name}", start=start, end=end), PAUSES)
            if len(found) != end - start:
                raise StoreError(self.damaged(name))
            return found

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for first in range(0, size, AT_ONCE * PART):
                yield from pool.map(part, range(first, min(first + AT_ONCE * PART, size), PART))

    def damaged(self, name: str) -> str:
        """Return the error message for a file that is missing or differs from checksums.json."""
        return (
            f"{self.url}/{name} is missing or does not match checksums.json; copy the prepared crops there again "
            "(docs/data.md, Crops in an object store)"
        )

    def _ask(self, question: Callable[[FileSystem, str], T], pauses: tuple[float, ...]) -> T:
        """Ask the file system, and repeat this after each of the pauses in s if it fails."""
        for pause in (*pauses, None):
            try:
                return question(*_connect(self.url))
            except (FileNotFoundError, PermissionError, StoreError, ImportError) as error:
                self._refuse(error)
            except Exception as error:  # each file system of fsspec has errors of its own
                if pause is None:
                    self._refuse(error)
            time.sleep(pause or 0)
        raise AssertionError

    def _refuse(self, error: Exception) -> NoReturn:
        """Raise a StoreError instead of an error of the file system, except for a missing file."""
        if isinstance(error, FileNotFoundError | StoreError):
            raise error
        protocol = self.url.partition("://")[0]
        if isinstance(error, ImportError):
            package = EXTRAS.get(protocol, f"fsspec's package for {protocol}")
            raise StoreError(
                f"{self.url}: reading {protocol}:// needs another package: pip install {package}"
            ) from None
        said = (str(error).splitlines() or [""])[0][:200]
        raise StoreError(
            f"{self.url} cannot be read ({type(error).__name__}: {said}): check the address, the network and the "
            "credentials in the environment; a local copy is read with paths.prepared=DIR"
        ) from None


def _connect(url: str) -> tuple[FileSystem, str]:
    """Return fsspec's file system for a URL and the path of the URL in it; fsspec keeps one connection per process."""
    import fsspec  # imported here, because crops on disk do not need it

    files, path = fsspec.core.url_to_fs(url)
    return files, str(path)
