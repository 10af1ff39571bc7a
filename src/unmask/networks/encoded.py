"""Interface of networks with a per-frame encoder; if it is frozen, its features can be computed once and cached."""

from torch import Tensor, nn


class EncodedNetwork(nn.Module):
    """Encode frames with `encoder` and classify their features with `head`.

    Attributes:
        encoder: maps float [N, 3, H, W] in [0, 1] to features [N, F].
        frozen: whether the encoder is kept fixed.
    """

    encoder: nn.Module
    frozen: bool

    def head(self, features: Tensor) -> Tensor:
        """Features of frames [B, F] or features of clips [B, T, F] -> logit [B]."""
        raise NotImplementedError
