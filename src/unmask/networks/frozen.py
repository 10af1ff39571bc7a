"""Published networks that only look: found on disk, loaded at first use, never trained, in no checkpoint."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import torch
from torch import nn

from unmask.networks.weights import WeightsNotFound


class Frozen:
    """A network that is made at first use.

    It is no submodule of the module that keeps it, so that no optimizer sees it and no checkpoint holds it: a run
    whose evaluator's file is gone still samples.

    Args:
        make: what makes it, on the CPU.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self._make = make
        self._network: nn.Module | None = None

    def on(self, device: torch.device) -> nn.Module:
        """The network, on a device."""
        if self._network is None:
            self._network = self._make().eval().requires_grad_(False)
        return self._network.to(device)


def find(urls: Sequence[str], weights: str | None, download: bool) -> Path:
    """The file of a published network: the given one, else that at the usual place, `$TORCH_HOME/hub/checkpoints`.

    Args:
        urls: where the same weights are published; the names of the files are those that the usual place is asked for.
        weights: a local path, which goes first.
        download: fetch the first of `urls` where nothing lies.

    Raises:
        WeightsNotFound: there is none; the message says where it comes from and where it belongs.
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
    """The start of a file's SHA-256, which its name bears by torch.hub's custom: `name-DIGEST.pth`."""
    return url.rpartition("-")[2].partition(".")[0]


def is_published(path: Path, url: str) -> bool:
    """Whether a file holds the very bytes that are published at `url`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(digest_of(url))
