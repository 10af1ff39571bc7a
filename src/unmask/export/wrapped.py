"""A detector network that takes raw pixels or sound and gives calibrated probabilities, as one module to export."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unmask.export.inputs import Input, PixelInput, SoundInput
from unmask.metrics.calibrate import Calibration, Isotonic, Platt, Temperature
from unmask.metrics.measured import Cloud
from unmask.networks.encoded import Encoding
from unmask.networks.layout import of_pictures


class Parts(NamedTuple):
    """What is exported together with a network for pictures or clips.

    Attributes:
        crop_size: side of the pixels that the exported model takes, px; the side of the recipe's crops.
        image_size: side of the network's input, px.
        frames: number of frames of a clip; None for a detector of single frames.
        calibration: the map from logits to probabilities; None for the plain sigmoid.
        cloud: the cloud of the features of the validation split; None if it is unknown.
        localises: whether the network returns pixel logits [B, 1, H, W].
    """

    crop_size: int
    image_size: int
    frames: int | None = None
    calibration: Calibration | None = None
    cloud: Cloud | None = None
    localises: bool = False

    @property
    def input(self) -> Input:
        """The input of the exported model."""
        return PixelInput(self.crop_size, self.image_size, self.frames)


class SoundParts(NamedTuple):
    """What is exported together with a network for sound.

    Attributes:
        samples: number of samples of a window, 16,000 per second.
        calibration: see `Parts`.
        cloud: see `Parts`.
    """

    samples: int
    calibration: Calibration | None = None
    cloud: Cloud | None = None

    @property
    def input(self) -> Input:
        """The input of the exported model."""
        return SoundInput(self.samples)

    @property
    def localises(self) -> bool:
        """False: sound has no pixel logits."""
        return False


AnyParts = Parts | SoundParts


class Wrapped(nn.Module):
    """Map raw pixels or sound to logits and calibrated probabilities.

    Pixels are uint8 RGB, [B, 3, S, S] or, for a detector of clips, [B, T, 3, S, S], where S is `parts.crop_size`.
    They are divided by 255 and resized to the network's input as in training; the network normalises its input.
    Sound is float32 [B, S] in [-1, 1], one channel, 16 kHz; it is not changed.

    Args:
        network: a detector network in eval mode, pixels in [0, 1] or sound -> logit [B], or pixel logits [B, 1, H, W].
        parts: what is exported together with the network.
    """

    def __init__(self, network: nn.Module, parts: AnyParts) -> None:
        super().__init__()
        self.network, self.localises, self.parts = network, parts.localises, parts
        self.encodes = isinstance(network, Encoding)
        self.resize = parts.input.resize()
        self.calibrate = calibrator(parts.calibration)
        self.distance = None if parts.cloud is None or not self.encodes else Distance(parts.cloud)

    @property
    def names(self) -> list[str]:
        """Names of the outputs, in order."""
        found = ["logit", "probability"]
        found += ["mask"] if self.localises else []
        found += ["features"] if self.encodes else []
        return found + (["distance"] if self.distance is not None else [])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs that `names` lists, for pixels [B, 3, S, S] or [B, T, 3, S, S], or for sound [B, S].

        Returns:
            `logit` [B]; `probability` [B], calibrated; `mask` [B, 1, H, W], the probability that a pixel is
            manipulated; `features` [B, F], the mean over the frames of a clip if the network has features per frame;
            `distance` [B] of the features to the cloud.
        """
        x = self.resize(self.parts.input.scaled(x))
        if not isinstance(self.network, Encoding):
            found: Tensor = self.network(x)
            logit = of_pictures(found) if self.localises else found
            return (logit, self.calibrate(logit), *([found.sigmoid()] if self.localises else []))
        encoded = self.network.encode(x)
        logit = self.network.head(encoded)
        features = (encoded.mean(1) if encoded.ndim == 3 else encoded).flatten(1)
        outputs = (logit, self.calibrate(logit), features)
        return outputs if self.distance is None else (*outputs, self.distance(features))


class Affine(nn.Module):
    """The sigmoid of slope x logit + offset."""

    slope: Tensor
    offset: Tensor

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor(slope))
        self.register_buffer("offset", torch.tensor(offset))

    def forward(self, logit: Tensor) -> Tensor:
        """Return the probabilities of logits, both [B]."""
        return (self.slope * logit + self.offset).sigmoid()


class Steps(nn.Module):
    """Linear interpolation between the points of an isotonic map, as a sum of one ramp per interval."""

    start: Tensor
    width: Tensor
    rise: Tensor
    first: Tensor

    def __init__(self, points: Isotonic) -> None:
        super().__init__()
        score, prob = np.asarray(points.score), np.asarray(points.prob)
        for name, values in (("start", score[:-1]), ("width", np.diff(score)), ("rise", np.diff(prob))):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        self.register_buffer("first", torch.tensor(float(prob[0])))

    def forward(self, logit: Tensor) -> Tensor:
        """Return the probabilities of logits, both [B]."""
        share = ((logit[:, None] - self.start) / self.width).clamp(0, 1)
        return self.first + (share * self.rise).sum(1)


class Distance(nn.Module):
    """The distance of features to a cloud; see `metrics.measured.Cloud`."""

    mean: Tensor
    axes: Tensor
    variance: Tensor

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        for name, values in (("mean", cloud.mean), ("axes", cloud.axes), ("variance", cloud.variance)):
            self.register_buffer(name, torch.from_numpy(np.asarray(values, np.float32)))
        self.rest, self.whole = float(cloud.rest), len(cloud.axes) == len(cloud.mean)

    def forward(self, features: Tensor) -> Tensor:
        """Return the distances [B] of features [B, F]."""
        difference = features - self.mean
        along = difference @ self.axes.T
        # The rest of the vector, not the difference of two squares, which float32 rounds to few digits.
        across = (difference - along @ self.axes).square().sum(1) * (not self.whole)
        return ((along.square() / self.variance).sum(1) + across / self.rest).div(len(self.mean)).sqrt()


def calibrator(calibration: Calibration | None) -> nn.Module:
    """Return a calibration map as a module, logit [B] -> probability [B]; None gives the sigmoid."""
    match calibration:
        case None:
            return nn.Sigmoid()
        case Platt(slope, offset):
            return Affine(slope, offset)
        case Temperature(temperature):
            return Affine(1 / temperature, 0.0)
        case Isotonic():
            return Steps(calibration)
