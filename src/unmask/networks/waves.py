"""Waveforms as the input of networks: float [B, S] in [-1, 1], mono, 16 kHz. This file does not import PyTorch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # Hz: sampling rate of all waveforms


def expect_waves(x: "Tensor", shortest: int = 1) -> None:
    """Check that x is a batch of waveforms [B, S] with at least `shortest` samples.

    Raises:
        ValueError: it is not; the message says what was expected.
    """
    if x.ndim != 2:
        raise ValueError(
            f"expected waveforms [B, S], but got {list(x.shape)}: this network is for sound; choose a data set of "
            "recordings, or another module/network"
        )
    if x.shape[1] < shortest:
        raise ValueError(
            f"recordings of {x.shape[1]} samples are too short: the network needs at least {shortest} "
            f"({shortest / RATE:.2f} s); set a larger data.sampling.seconds"
        )
