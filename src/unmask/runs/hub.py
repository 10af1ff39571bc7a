"""Download a pack from the Hugging Face Hub, only if the user gave its address `hf://owner/name@revision`.

checksums.json is downloaded first. Then exactly the files that it names are downloaded, after their names and sizes
were checked, and the pack is verified before it is put into the cache:

    $XDG_CACHE_HOME/unmask/packs/OWNER/NAME/COMMIT     (XDG_CACHE_HOME is ~/.cache by default)

Nothing in a pack is executed. huggingface_hub is imported only to download, because importing it takes long.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from unmask.files import lock, printable
from unmask.ranks import is_first
from unmask.runs import pack
from unmask.runs.address import COMMIT, Address, HubError, parse_address
from unmask.runs.errors import RunError

TIMEOUT = 30.0  # s, of one request
TOTAL = 5 * 2**30  # maximum size of a pack, bytes


def cache() -> Path:
    """Return the folder that keeps downloaded packs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unmask" / "packs"


def fetch(run: str) -> Path:
    """Return the folder of a pack on the hub, which is downloaded unless its commit is in the cache.

    Raises:
        HubError: the address is not valid, or the pack cannot be downloaded.
        PackError: the pack is refused.
    """
    address = parse_address(run)
    known = cache() / address.repository / address.revision
    if COMMIT.fullmatch(address.revision) and known.is_dir():
        return known
    with clear_errors(address):
        sizes, commit = _sizes(address)
    folder, exact = cache() / address.repository / commit, Address(address.repository, commit)
    with lock(folder, alone=True):
        if not folder.is_dir():
            _download(exact, sizes, folder)
    if commit != address.revision:
        _print(f"{address} is the commit {commit}; to always get this version, use run={exact}")
    return folder


def _sizes(address: Address) -> tuple[dict[str, int], str]:
    """Return the size of each file of a repository by name, and the commit."""
    from huggingface_hub import HfApi

    found = HfApi().model_info(address.repository, revision=address.revision, timeout=TIMEOUT, files_metadata=True)
    commit, files = str(found.sha), found.siblings or []
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(address.revision) and commit != address.revision):
        raise HubError(f"{address}: the hub answered with the commit '{printable(commit[:80])}'")
    return {one.rfilename: one.size for one in files if one.size is not None}, commit


def _download(address: Address, sizes: dict[str, int], folder: Path) -> None:
    """Download the files of a pack into a temporary folder, verify them, and rename the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(mkdtemp(prefix=f".{folder.name[:10]}.", dir=folder.parent))
    part = place / "pack"
    try:
        if not 0 < sizes.get(pack.CHECKSUMS, 0) <= pack.LISTING:
            raise HubError(
                f"{address}: this repository has no {pack.CHECKSUMS} of a valid size, so it is not a pack that unmask "
                "publish wrote"
            )
        _get(address, pack.CHECKSUMS, place, part)
        entries = pack.parse((part / pack.CHECKSUMS).read_bytes(), str(address))
        for name, entry in entries.items():
            if sizes.get(name) != entry.size:
                has = f"{sizes[name]:,} bytes" if name in sizes else "no such file"
                raise HubError(f"{address}: {name}: {pack.CHECKSUMS} says {entry.size:,} bytes, but the hub has {has}")
        if (total := sum(entry.size for entry in entries.values())) > TOTAL:
            raise HubError(f"{address}: its files have {total:,} bytes, expected at most {TOTAL:,}")
        _print(f"downloading {address} ({total / 1e6:.1f} MB)")
        for name in entries:
            _get(address, name, place, part)
        pack.verify(part)
        part.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _get(address: Address, name: str, place: Path, part: Path) -> None:
    """Download one file to `part`; the other files that huggingface_hub writes stay in `place`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with clear_errors(address):
        got = hf_hub_download(address.repository, name, revision=address.revision, local_dir=place / "download")
    target = part / name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(got, target)


@contextmanager
def clear_errors(address: Address, what: str = "download") -> Iterator[None]:
    """Turn the errors of huggingface_hub and of the network into a HubError; `what` is the action, for messages."""
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except RunError:
        raise
    except RepositoryNotFoundError:
        raise HubError(f"{address}: no such repository, or it is private (hf auth login logs in)") from None
    except RevisionNotFoundError:
        raise HubError(f"{address}: the repository has no such revision") from None
    except OfflineModeIsEnabled:
        raise HubError(f"{address}: HF_HUB_OFFLINE is set, and this pack is not in {cache()}") from None
    except Exception as error:  # errors of the network library, which differs between versions of huggingface_hub
        said = printable(str(error).strip().partition("\n")[0][:160]) or type(error).__name__
        raise HubError(f"{address}: the {what} failed ({said})") from None


def _print(text: str) -> None:
    """Print a line to standard error, because the output of `unmask predict` may be read by another program."""
    if is_first():
        print(text, file=sys.stderr)
