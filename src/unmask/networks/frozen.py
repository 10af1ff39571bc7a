"""Published networks for evaluation: they are loaded at first use, never trained and never stored in checkpoints."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from unmask.networks.weights import digest_of


class Frozen:
    """Hold a frozen network, which is built at its first use.

    The network is not a registered submodule, so that optimizers and checkpoints do not contain it. Because the network
    is built only when it is used, images can be generated without the weights file of the evaluator.

    Args:
        make: a function that builds the network on the CPU.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self._make = make
        self._network: nn.Module | None = None

    def on(self, device: torch.device) -> nn.Module:
        """Return the network on `device`; the first call builds it."""
        if self._network is None:
            self._network = self._make().eval().requires_grad_(False)
        return self._network.to(device)


def is_published(path: Path, url: str) -> bool:
    """Return whether a file is the one published at `url`, whose file name contains the first digits of the SHA-256."""
    digest = digest_of(url)
    with path.open("rb") as file:
        return digest is not None and hashlib.file_digest(file, "sha256").hexdigest().startswith(digest)
