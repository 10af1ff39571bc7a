"""The form of a network with an encoder of single frames, whose features can be computed once where it is frozen."""

from torch import Tensor, nn


class EncodedNetwork(nn.Module):
    """Frames through `encoder`, their features through `head`.

    Attributes:
        encoder: float [N, 3, H, W] in [0, 1] -> features [N, F].
        frozen: the encoder is not trained.
    """

    encoder: nn.Module
    frozen: bool

    def head(self, features: Tensor) -> Tensor:
        """Features of frames [B, F] or of clips [B, T, F] -> logit [B]."""
        raise NotImplementedError
