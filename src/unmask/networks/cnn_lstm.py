"""CNN and LSTM: a per-frame encoder followed by a recurrent network over the frames of a clip.

After "Deepfake Video Detection Using Recurrent Neural Networks", Guera and Delp 2018 (doi 10.1109/AVSS.2018.8639163).
Unlike in the paper, the encoder, the pooling and the use of frame differences are configurable.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from unmask.networks.encoded import EncodedNetwork
from unmask.networks.layout import classifier

# Between consecutive frames, most pixels of a face change by 0.01 to 0.02 on the scale [0, 1]. Multiplied by 8, the
# differences have the spread that encoders expect of a channel. Differences above 1/16 (moving edges) are clipped.
DIFFERENCE_SCALE = 8.0
POOLINGS = ("last", "mean", "attention")
# Frames per forward pass on a CPU if the encoder is not being trained. With 16 frames, InceptionResnetV1 takes two
# thirds of the time of one pass over all 160 frames of a batch (4, 8, 16 and 32 frames were measured on two cores).
CPU_FRAMES = 16


class CnnLstm(EncodedNetwork):
    """Encode each frame, run an LSTM over the features, pool its outputs and classify.

    Args:
        encoder: a callable with the argument `channels` that builds the encoder. The encoder maps
            [N, channels, H, W] in [0, 1] to [N, num_features] and has the attributes `channels` and `num_features`.
        frames: length T of a clip; the network itself accepts any length.
        hidden: hidden size of the LSTM.
        layers: number of stacked LSTM layers.
        dropout: dropout probability between the LSTM's layers and before the last linear layer, 0 to 1.
        bidirectional: add a second LSTM that reads the clip backwards.
        pooling: `last` (the last output of each direction), `mean`, or `attention` (a learned weight per frame).
        differences: whether the encoder gets 6 channels: the frame and its difference from the previous frame.
        frozen: freeze the encoder, keep it in eval mode and train only the layers after it.
        head_width: width of a hidden layer of the classifier; None for a linear classifier.

    Raises:
        ValueError: an argument is invalid; the message says what is valid.
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        frames: int | None,
        hidden: int = 512,
        layers: int = 2,
        dropout: float = 0.5,
        bidirectional: bool = False,
        pooling: str = "last",
        differences: bool = False,
        frozen: bool = False,
        head_width: int | None = None,
    ) -> None:
        super().__init__()
        _check(encoder, frames, pooling, differences, frozen)
        self.differences, self.frozen, self.pooling, self.hidden = differences, frozen, pooling, hidden
        channels = 6 if differences else 3
        self.encoder = encoder(channels=channels)
        if self.encoder.channels != channels:
            raise ValueError(
                f"expected an encoder of {channels} channels, but got {self.encoder.channels}: build it with "
                f"channels={channels}"
            )
        width = hidden * (1 + bidirectional)
        self.lstm = nn.LSTM(
            int(self.encoder.num_features),  # type: ignore[arg-type]
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.attention = nn.Linear(width, 1) if pooling == "attention" else None
        self.classifier = classifier(width, dropout, head_width)
        if frozen:
            self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen encoder stays in eval mode, so that batch norm statistics do not change."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, T, F] of all frames of RGB clips x [B, T, 3, H, W] in [0, 1]."""
        if x.ndim != 5:
            raise ValueError(
                f"expected clips [B, T, 3, H, W], but got {list(x.shape)}; set frames, for example frames=16"
            )
        if self.differences:
            x = torch.cat([x, change(x)], dim=2)  # [B, T, 6, H, W]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            frames = x.flatten(0, 1)  # [B * T, C, H, W]
            if x.is_cpu and not torch.is_grad_enabled() and not self.encoder.training:
                features = torch.cat([self.encoder(part) for part in torch.split(frames, CPU_FRAMES)])
            else:
                features = self.encoder(frames)
        return features.view(*x.shape[:2], -1)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, T, F]; positive means fake."""
        if features.is_cpu and torch.is_autocast_enabled("cpu"):
            # CPU autocast casts the LSTM's weights, but not its initial state, which has the dtype of the features.
            features = features.to(torch.get_autocast_dtype("cpu"))
        outputs, _ = self.lstm(features)  # [B, T, width]
        logit: Tensor = self.classifier(self._pool(outputs))
        return logit.squeeze(1)

    def _pool(self, outputs: Tensor) -> Tensor:
        """Pool the outputs of the LSTM over time: [B, T, width] -> [B, width]."""
        if self.pooling == "mean":
            return outputs.mean(1)
        if self.attention is not None:
            weight: Tensor = self.attention(outputs).softmax(1)  # [B, T, 1]
            return (weight * outputs).sum(1)
        # The forward direction ends at the last frame, the backward direction at the first.
        return torch.cat([outputs[:, -1, : self.hidden], outputs[:, 0, self.hidden :]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB clips x [B, T, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))


def _check(
    encoder: Callable[..., nn.Module], frames: int | None, pooling: str, differences: bool, frozen: bool
) -> None:
    if isinstance(encoder, nn.Module):
        raise ValueError("encoder must be a factory, not a built module (in a config, add _partial_: true)")
    if frames is None or frames < 1 + differences:
        raise ValueError(f"frames={frames}: a CnnLstm expects clips; set frames, for example frames=16")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling}: expected one of {', '.join(POOLINGS)}")
    if frozen and differences:
        raise ValueError("a frozen encoder was not trained on frame differences: set frozen=false or differences=false")


def change(x: Tensor) -> Tensor:
    """Return 0.5 + `DIFFERENCE_SCALE` x (frame - previous frame) for clips [B, T, ...], clipped to [0, 1].

    The first frame, which has no previous frame, gets the second frame's difference, so that it does not appear static.
    """
    steps = x.diff(dim=1)
    steps = torch.cat([steps[:, :1], steps], dim=1)
    return (0.5 + DIFFERENCE_SCALE * steps).clamp(0, 1)
