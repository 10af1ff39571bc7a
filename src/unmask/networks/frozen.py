"""Published networks for evaluation: found on disk, loaded at first use, never trained, stored in no checkpoint."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import torch
from torch import nn

from unmask.networks.weights import WeightsNotFound


class Frozen:
    """A network that is built at first use.

    It is not a submodule of the module that holds it, so it is in no optimizer and no checkpoint: a run can still
    sample after its evaluator's file is gone.

    Args:
        make: builds the network on the CPU.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self._make = make
        self._network: nn.Module | None = None

    def on(self, device: torch.device) -> nn.Module:
        """Return the network, moved to the device."""
        if self._network is None:
            self._network = self._make().eval().requires_grad_(False)
        return self._network.to(device)


def find(urls: Sequence[str], weights: str | None, download: bool) -> Path:
    """Find the file of a published network: `weights` if given, else in `$TORCH_HOME/hub/checkpoints`.

    Args:
        urls: where the same weights are published; files with these names are looked up in the cache folder.
        weights: a local path, used instead of the cache folder.
        download: download the first of `urls` if no file is found.

    Raises:
        WeightsNotFound: there is no such file; the message says where to get it and where to put it.
    """
    source = " or ".join(urls)
    if weights is not None:
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        raise WeightsNotFound(path, source, f"{path}, or pass another path as weights=PATH")
    places = [Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2] for url in urls]
    for path in places:
        if path.is_file():
            return path
    path, place = places[0], f"{places[0]}, or anywhere and pass weights=PATH; download=true fetches it"
    if not download:
        raise WeightsNotFound(path.name, source, place)
    try:
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            raise URLError("HF_HUB_OFFLINE is set")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(urls[0], str(path), hash_prefix=digest_of(urls[0]))
    except OSError as error:
        raise WeightsNotFound(path.name, source, f"{place}, which failed ({error})") from error
    return path


def digest_of(url: str) -> str:
    """Return the start of a file's SHA-256, which torch.hub puts in its name: `name-DIGEST.pth`."""
    return url.rpartition("-")[2].partition(".")[0]


def is_published(path: Path, url: str) -> bool:
    """Whether a file is identical to the one published at `url`, by its SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(digest_of(url))
