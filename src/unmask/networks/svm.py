"""A frozen encoder whose features are classified by a support vector machine or by logistic regression.

After "Support-Vector Networks", Cortes and Vapnik 1995 (doi 10.1007/BF00994018). The fitted parameters are buffers, so
that a checkpoint holds only tensors; the decision values equal scikit-learn's up to rounding.
"""

from collections.abc import Callable
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from unmask.networks.encoded import EncodedNetwork
from unmask.networks.layout import expect_frames

# Buffers whose size is known only after the classifier has been fitted.
FITTED = ("support", "dual", "gamma")


class FeatureSVM(EncodedNetwork):
    """Encode a frame, standardise its features and classify them with a support vector machine.

    The decision value of standardised features z is `sum_i dual_i k(support_i, z) + intercept`. For the RBF kernel,
    `k(s, z)` is `exp(-gamma |s - z|^2)`. For a linear classifier, `gamma` is empty, `k(s, z)` is `s . z`, and `support`
    has only one row, the weights. The logit is the decision value times `slope`.

    Args:
        encoder: a callable with the argument `channels` that builds the encoder. The encoder maps [N, 3, H, W] in
            [0, 1] to [N, num_features] and has the attributes `channels` and `num_features`. It is never trained.
    """

    mean: Tensor
    scale: Tensor
    support: Tensor
    dual: Tensor
    gamma: Tensor
    intercept: Tensor
    slope: Tensor

    def __init__(self, encoder: Callable[..., nn.Module]) -> None:
        super().__init__()
        if isinstance(encoder, nn.Module):
            raise ValueError("encoder must be a factory, not a built module (in a config, add _partial_: true)")
        self.encoder, self.frozen = encoder(channels=3).requires_grad_(False).eval(), True
        self.num_features = int(self.encoder.num_features)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.zeros(self.num_features))
        self.register_buffer("scale", torch.ones(self.num_features))
        self.register_buffer("support", torch.zeros(1, self.num_features))
        self.register_buffer("dual", torch.zeros(1))
        self.register_buffer("gamma", torch.zeros(0))
        self.register_buffer("intercept", torch.zeros(()))
        self.register_buffer("slope", torch.ones(()))

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; the encoder stays in eval mode, because it is never trained."""
        super().train(mode)
        self.encoder.eval()
        return self

    def fill(self, **fitted: ArrayLike) -> None:
        """Store fitted arrays and numbers in the buffers of the same names; the buffers take the arrays' shapes."""
        for name, value in fitted.items():
            old = self.get_buffer(name)
            setattr(self, name, torch.tensor(value, dtype=old.dtype, device=old.device))

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, F] of RGB frames x [B, 3, H, W] in [0, 1]."""
        expect_frames(x)
        features: Tensor = self.encoder(x)
        return features

    def decision(self, features: Tensor) -> Tensor:
        """Return the decision values [B] of features [B, F]; positive means fake."""
        z = (features.float() - self.mean) / self.scale
        # Matrix products are avoided, because mixed precision would round them and thus change the logit.
        if len(self.gamma) == 0:
            kernel = (z[:, None] * self.support).sum(2)  # [B, S]
        else:
            distance = torch.cdist(z, self.support, compute_mode="donot_use_mm_for_euclid_dist")
            kernel = (-self.gamma * distance.square()).exp()
        return (kernel * self.dual).sum(1) + self.intercept

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, F]; positive means fake."""
        return self.slope * self.decision(features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in FITTED:
            if (found := state_dict.get(prefix + name)) is not None:
                setattr(self, name, self.get_buffer(name).new_empty(found.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
