"""A single-frame detector with any image encoder and a linear classifier; any part of the encoder can be frozen."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from unmask.networks.encoded import EncodedNetwork
from unmask.networks.layout import expect_frames


class FrameClassifier(EncodedNetwork):
    """Classify a frame with an image encoder and a linear classifier.

    Args:
        encoder: a callable with the argument `channels` that builds the encoder. The encoder maps [N, 3, H, W] in
            [0, 1] to [N, num_features] and has the attributes `channels` and `num_features`.
        tuned: shell-style patterns of the encoder parameters to train: `*` trains all, an empty list freezes the
            encoder, `*norm*` trains only the layer norms, as GenD does (arXiv 2508.06248). Submodules with only frozen
            parameters stay in eval mode, so that batch norm does not update its running statistics.
        dropout: dropout probability before the classifier, 0 to 1.
        unit_length: whether to normalise features to unit length before the classifier, as GenD does.

    Raises:
        ValueError: a pattern matches no parameter, or `encoder` is a module rather than a callable that builds one.
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        tuned: Sequence[str] = ("*",),
        dropout: float = 0.0,
        unit_length: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(encoder, nn.Module):
            raise ValueError("encoder must be a factory, not a built module (in a config, add _partial_: true)")
        self.encoder = encoder(channels=3)
        self.unit_length = unit_length
        width: int = self.encoder.num_features  # type: ignore[assignment]
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))
        names = [name for name, _ in self.encoder.named_parameters()]
        for pattern in tuned:
            if not any(fnmatchcase(name, pattern) for name in names):
                few = ", ".join(names[:3])
                raise ValueError(f"tuned={pattern}: matches no parameter of the encoder; its parameters are {few}, ...")
        for name, parameter in self.encoder.named_parameters():
            parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in tuned))
        self.frozen = not any(parameter.requires_grad for parameter in self.encoder.parameters())
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen submodules of the encoder stay in eval mode."""
        super().train(mode)
        for part in self.encoder.modules():
            own = list(part.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                part.eval()
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, F] of RGB frames x [B, 3, H, W] in [0, 1]."""
        expect_frames(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Tensor = self.encoder(x)
        return features

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, F]; positive means fake."""
        if self.unit_length:
            features = normalize(features, dim=1)
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))
