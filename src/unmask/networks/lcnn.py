"""LCNN: a light convolutional network with max-feature-map activations, on spectral features of a recording.

"STC Antispoofing Systems for the ASVspoof2019 Challenge", Lavrentyeva et al. 2019 (arXiv:1904.05576), table 2. An
activation, from "A Light CNN for Deep Face Representation with Noisy Labels" (arXiv:1511.02683), is the maximum of two
halves of the channels, so that channels compete. Unlike in the paper, the last maps are pooled over time, so that
recordings of any length can be classified.
"""

import torch
from torch import Tensor, nn

from unmask.networks.waves import expect_waves

POOLED = 16  # total stride of the four poolings in frequency
STRIDES = (1, 2, 4, 8, 16)
SHORTEST = 3200  # samples: a shorter recording leaves nothing to the last pooling
HIDDEN = 80  # features before the last linear layer, as in the paper


class MaxFeatureMap(nn.Module):
    """Return the larger of two halves of the channels: [B, 2 C, ...] -> [B, C, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maximum of channel c and channel C + c."""
        first, second = x.chunk(2, dim=1)
        return torch.maximum(first, second)


class LcnnEncoder(nn.Module):
    """Encode a recording as a sequence of features over time.

    Args:
        features: maps waveforms [B, S] to features [B, F, T], and has the attribute `num_features` F.
        width: channels after the first convolution; the paper has 32.
        stride: number of spectral frames, 10 ms each, per step of the output: 1, 2, 4, 8 or 16, as in the paper.
    """

    def __init__(self, features: nn.Module, width: int = 32, stride: int = 16) -> None:
        super().__init__()
        if stride not in STRIDES:
            raise ValueError(f"stride={stride}: expected one of {', '.join(map(str, STRIDES))}")
        count: int = features.num_features  # type: ignore[assignment]
        if count < POOLED or width % 2:
            raise ValueError(
                f"{count} spectral features and width={width}: expected at least {POOLED} features and an even width"
            )
        self.features, self.norm = features, nn.BatchNorm1d(count)
        wide, wider = 3 * width // 2, 2 * width

        def layer(inside: int, outside: int, kernel: int, norm: bool = True) -> list[nn.Module]:
            convolution = nn.Conv2d(inside, 2 * outside, kernel, padding=kernel // 2)
            return [convolution, MaxFeatureMap(), *([nn.BatchNorm2d(outside)] if norm else [])]

        pools = [nn.MaxPool2d((2, 2 if stride > 2**number else 1)) for number in range(4)]
        self.stages = nn.Sequential(
            *layer(1, width, 5, norm=False), pools[0],
            *layer(width, width, 1), *layer(width, wide, 3, norm=False), pools[1], nn.BatchNorm2d(wide),
            *layer(wide, wide, 1), *layer(wide, wider, 3, norm=False), pools[2],
            *layer(wider, wider, 1), *layer(wider, width, 3),
            *layer(width, width, 1), *layer(width, width, 3, norm=False), pools[3],
        )  # fmt: skip
        self.num_features = width * (count // POOLED)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [B, T, num_features] of waveforms x [B, S] in [-1, 1], 16 kHz."""
        expect_waves(x, SHORTEST)
        maps = self.stages(self.norm(self.features(x)).unsqueeze(1))  # [B, width, F / 16, T]
        return torch.as_tensor(maps.flatten(1, 2).transpose(1, 2))


class Lcnn(nn.Module):
    """Classify a recording by the mean and the standard deviation over time of what `LcnnEncoder` finds.

    Args:
        features: maps waveforms [B, S] to features [B, F, T], such as `Lfcc` or `LogMel`.
        width: channels after the first convolution; the paper has 32.
        dropout: dropout probability before the classifier, 0 to 1.
    """

    def __init__(self, features: nn.Module, width: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        self.encoder = LcnnEncoder(features, width)
        self.num_features = 2 * self.encoder.num_features
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.num_features, 2 * HIDDEN),
            MaxFeatureMap(),
            nn.BatchNorm1d(HIDDEN),
            nn.Linear(HIDDEN, 1),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of waveforms x [B, S] in [-1, 1], 16 kHz."""
        found = self.encoder(x)
        spread = (found.float().var(1, correction=0) + 1e-5).sqrt().to(found.dtype)
        return torch.cat([found.mean(1), spread], dim=1)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of waveforms x [B, S] in [-1, 1], 16 kHz; positive means fake."""
        return self.head(self.encode(x))
