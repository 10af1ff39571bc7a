"""The interface of networks with a per-frame encoder. Features of a frozen encoder can be computed once and cached."""

from torch import Tensor, nn


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
