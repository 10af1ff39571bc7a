"""The interfaces of networks with features. Features of a frozen per-frame encoder can be computed once and cached."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Encoding(Protocol):
    """A network that classifies features."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, F] of frames [B, 3, H, W], or [B, F] or [B, T, F] of clips [B, T, 3, H, W]."""

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features."""


class EncodedNetwork(nn.Module):
    """Encode frames with `encoder` and classify their features with `head`.

    Attributes:
        encoder: maps float [N, 3, H, W] in [0, 1] to features [N, F].
        frozen: whether the encoder's weights are kept fixed.
    """

    encoder: nn.Module
    frozen: bool

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] for the features of frames, [B, F], or of clips, [B, T, F]."""
        raise NotImplementedError
