"""The input of an exported model: what the other files of an export need to know about pixels, or about sound."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from unmask.config import Settings
from unmask.networks.waves import RATE

#: A batch of inputs: uint8 pixels, or float32 waveforms.
Values = NDArray[np.generic]


class Input(Protocol):
    """What an exported model takes: batches of pictures, of clips, or of windows of sound."""

    @property
    def name(self) -> str:
        """Name of the model's input."""

    @property
    def length(self) -> int | None:
        """Length of a clip or of a window, the axis after that of the batch; None for pictures."""

    @property
    def unit(self) -> str:
        """What a sample of a run is, in words and in the plural, such as `frames`."""

    @property
    def lengths(self) -> str:
        """How lengths are given in messages; `{}` stands for the numbers, as in `clips of {} frames`."""

    @property
    def noise(self) -> str:
        """What `random` returns, in words, such as `pictures of random pixels`."""

    def blank(self, count: int, length: int | None = None) -> Tensor:
        """Return `count` black or silent samples; `length` replaces the usual length."""

    def random(self, count: int) -> Values:
        """Return `count` random samples, the same in each call."""

    def extremes(self) -> Values:
        """Return samples that data rarely contains, but that a model has to score like PyTorch; there may be none."""

    def scaled(self, x: Tensor) -> Tensor:
        """Return a batch in the range of the network's input."""

    def resize(self) -> nn.Module:
        """Return the module that changes the size of scaled samples to that of the network's input."""

    def facts(self) -> dict[str, str]:
        """Return the entries of the record that say what a sample is: `level`, and the length in evaluation."""

    def describe(self) -> Settings:
        """Return the entry `input` of the record: name, type and axes."""


@dataclass(frozen=True)
class PixelInput:
    """Pictures or clips: uint8 RGB, [B, 3, S, S] or [B, T, 3, S, S].

    Args:
        crop_size: side S of the pixels, px.
        image_size: side of the network's input, px.
        frames: number T of frames of a clip; None for single frames.
    """

    crop_size: int
    image_size: int
    frames: int | None = None

    name: ClassVar[str] = "pixels"
    lengths: ClassVar[str] = "clips of {} frames"

    @property
    def length(self) -> int | None:
        """The number of frames of a clip; None for single frames."""
        return self.frames

    @property
    def unit(self) -> str:
        """`frames` or `clips`."""
        return "frames" if self.frames is None else "clips"

    @property
    def noise(self) -> str:
        """Describe random samples."""
        return f"{'pictures' if self.frames is None else 'clips'} of random pixels"

    def blank(self, count: int, length: int | None = None) -> Tensor:
        """Return black pictures, or black clips of `length` frames."""
        return torch.zeros(count, *self._shape(length or self.frames), dtype=torch.uint8)

    def random(self, count: int) -> Values:
        """Return random pixels."""
        return np.random.default_rng(0).integers(0, 256, (count, *self._shape(self.frames)), np.uint8)

    def extremes(self) -> Values:
        """Return no samples."""
        return np.zeros((0, *self._shape(self.frames)), np.uint8)

    def scaled(self, x: Tensor) -> Tensor:
        """Return the pixels in [0, 1]."""
        return x.float() / 255

    def resize(self) -> nn.Module:
        """Return the module that resizes pictures as in training."""
        same = self.crop_size == self.image_size
        return nn.Identity() if same else Resize(self.crop_size, self.image_size)

    def facts(self) -> dict[str, str]:
        """Return `level` and `frames`."""
        return {"level": "image" if self.frames is None else "clip", "frames": str(self.frames or 1)}

    def describe(self) -> Settings:
        """Describe the pixels."""
        axes = ["batch", *(["frame"] if self.frames else []), "channel", "row", "column"]
        return {"name": self.name, "type": "uint8", "colour": "RGB", "side": self.crop_size, "axes": axes}

    def _shape(self, frames: int | None) -> tuple[int, ...]:
        return (*(() if frames is None else (frames,)), 3, self.crop_size, self.crop_size)


@dataclass(frozen=True)
class SoundInput:
    """Windows of recordings: float32 [B, S] in [-1, 1], one channel, 16 kHz.

    Args:
        samples: number S of samples of a window, as in the evaluation of the run.
    """

    samples: int

    name: ClassVar[str] = "sound"
    unit: ClassVar[str] = "windows"
    lengths: ClassVar[str] = "windows of {} samples"
    noise: ClassVar[str] = "windows of random noise"

    @property
    def length(self) -> int | None:
        """The number of samples of a window."""
        return self.samples

    def blank(self, count: int, length: int | None = None) -> Tensor:
        """Return silent windows of `length` samples."""
        return torch.zeros(count, length or self.samples)

    def random(self, count: int) -> Values:
        """Return white noise, each window with another level."""
        rng = np.random.default_rng(0)
        found = rng.uniform(-1, 1, (count, self.samples)) * rng.uniform(0, 1, (count, 1))
        return found.astype(np.float32)

    def extremes(self) -> Values:
        """Return silence, noise of one step of 16 bits, and the loudest square wave."""
        quiet = np.sign(self.random(1)) / np.float32(32768)
        loud = np.sign(np.sin(np.arange(self.samples) / 10))[None]
        return np.concatenate([0 * quiet, quiet, loud]).astype(np.float32)

    def scaled(self, x: Tensor) -> Tensor:
        """Return the sound unchanged."""
        return x

    def resize(self) -> nn.Module:
        """Return a module that changes nothing."""
        return nn.Identity()

    def facts(self) -> dict[str, str]:
        """Return `level` and `samples`."""
        return {"level": "sound", "samples": str(self.samples)}

    def describe(self) -> Settings:
        """Describe the sound."""
        return {
            "name": self.name, "type": "float32", "rate": RATE, "channels": 1, "range": [-1, 1],
            "axes": ["batch", "sample"],
        }  # fmt: skip


class Resize(nn.Module):
    """Resize pictures [..., S, S] to [..., size, size] by antialiased bilinear interpolation, as two matrix products.

    Interpolation is linear and separable. So the matrix is measured: it is the resized identity matrix. Unlike the
    antialiased interpolation itself, matrix products can be exported and run everywhere.
    """

    matrix: Tensor

    def __init__(self, side: int, size: int) -> None:
        super().__init__()
        one = torch.eye(side)[None, None]  # rows are the positions of a single bright pixel
        columns = interpolate(one, (side, size), mode="bilinear", antialias=True, align_corners=False)
        self.register_buffer("matrix", columns[0, 0])  # [S, size]

    def forward(self, x: Tensor) -> Tensor:
        """Return the resized pictures, clipped to [0, 1]."""
        return (self.matrix.T @ (x @ self.matrix)).clamp(0, 1)
