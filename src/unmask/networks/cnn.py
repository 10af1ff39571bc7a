"""A small CNN on noise residuals, which contain differences between neighbouring pixels but little image content.

The first layer applies fixed high-pass filters of the spatial rich model ("Rich Models for Steganalysis of Digital
Images", Fridrich and Kodovsky 2012, doi 10.1109/TIFS.2012.2190402). Its output is clipped at a few grey levels, so that
edges do not dominate noise. The next layers start at full resolution and use average instead of max pooling, as in
"Structural Design of Convolutional Neural Networks for Steganalysis", Xu et al. 2016 (doi 10.1109/LSP.2016.2548421).
Bayar and Stamm 2016 (doi 10.1145/2909827.2930786) learn the filters instead, but this needs more than a few hundred
images.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from unmask.networks.layout import expect_frames

SECOND = [1.0, -2.0, 1.0]
SQUARE_3 = [[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]]
SQUARE_5 = [
    [-1.0, 2.0, -2.0, 2.0, -1.0],
    [2.0, -6.0, 8.0, -6.0, 2.0],
    [-2.0, 8.0, -12.0, 8.0, -2.0],
    [2.0, -6.0, 8.0, -6.0, 2.0],
    [-1.0, 2.0, -2.0, 2.0, -1.0],
]


def high_pass() -> Tensor:
    """Return four filters [4, 1, 5, 5] with centre weight -1 and no response to constant or linear brightness.

    Each filter predicts a pixel from its neighbours and returns the prediction error. The four filters use these
    neighbours: left and right; above and below; the 3x3 square around the pixel; the 5x5 square around the pixel.
    """
    filters = torch.zeros(4, 5, 5)
    filters[0, 2, 1:4] = torch.tensor(SECOND) / 2
    filters[1, 1:4, 2] = torch.tensor(SECOND) / 2
    filters[2, 1:4, 1:4] = torch.tensor(SQUARE_3) / 4
    filters[3] = torch.tensor(SQUARE_5) / 12
    return filters[:, None]


class ResidualCnn(nn.Module):
    """Classify a frame by its noise residuals; the network has 48,193 parameters at width 16.

    Features are averaged over the frame, so that the network accepts any frame size: it can be trained on small crops
    (augment=crops) and applied to whole frames. Do not resample the input, since resampling changes the residuals.

    Args:
        width: channels of the first stage; the other stages have 2, 3 and 4 times as many.
        truncate: maximum absolute residual in grey levels (of 255); larger residuals are clipped.
        dropout: dropout probability before the classifier, 0 to 1.
    """

    filters: Tensor

    def __init__(self, width: int = 16, truncate: float = 4.0, dropout: float = 0.5) -> None:
        super().__init__()
        if truncate <= 0:
            raise ValueError(f"truncate={truncate}: expected a number of grey levels above 0")
        self.truncate, self.num_features = truncate, 4 * width
        self.register_buffer("filters", high_pass().repeat(3, 1, 1, 1), persistent=False)
        stages: list[nn.Module] = []
        channels = len(self.filters)
        for times in (1, 2, 3, 4):
            convolution = nn.Conv2d(channels, times * width, 3, padding=1, bias=False)
            stages += [convolution, nn.BatchNorm2d(times * width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = times * width
        self.stages = nn.Sequential(*stages[:-1])  # the last pooling is not needed: `encode` averages over the frame
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.num_features, 1))

    def residuals(self, x: Tensor) -> Tensor:
        """Return residuals [B, 12, H, W] in [-1, 1] of RGB frames x [B, 3, H, W] in [0, 1]: four maps per channel."""
        edged = pad(x, (2, 2, 2, 2), mode="reflect")
        levels = 255 * conv2d(edged, self.filters.to(x.dtype), groups=3)
        return (levels / self.truncate).clamp(-1, 1)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of RGB frames x [B, 3, H, W] in [0, 1]."""
        expect_frames(x)
        features: Tensor = self.stages(self.residuals(x).contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        return self.head(self.encode(x))
