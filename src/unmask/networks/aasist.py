"""AASIST: a detector of synthetic speech with graph attention over time and frequency, on the waveform itself.

"AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", Jung et al. 2021
(arXiv:2110.01200). The layers and constants are those of the published weights (clovaai/aasist), which `from_authors`
loads; the two published logits, spoof and bona fide, become their difference, the logit that a recording is fake.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, max_pool2d, selu

from unmask.networks.graphs import GraphAttention, GraphPool, StackAttention
from unmask.networks.spectra import emphasise
from unmask.networks.waves import RATE, expect_waves
from unmask.networks.weights import load_state, read_state_dict

SOURCE = "https://github.com/clovaai/aasist, folder models/weights"
POOL = 3  # each of the 7 poolings divides the time by this number; the first one divides the frequency, too
SILENCE = 1e-6  # is added to the standard deviation of a waveform, which is 0 for digital silence
PATH_DROPOUT = 0.2  # dropout probability of the outputs of the two paths, as published


class SincFilters(nn.Module):
    """Fixed band-pass filters, evenly spaced on the mel scale from 0 Hz to half the sampling rate.

    Each filter is the difference of two ideal low-pass filters, multiplied by a Hamming window.

    Args:
        count: number of filters.
        length: number of taps of a filter; odd, so that the filter is symmetric.
    """

    filters: Tensor

    def __init__(self, count: int = 70, length: int = 129) -> None:
        super().__init__()
        if count < POOL or length < 3 or length % 2 == 0:
            raise ValueError(f"filters={count}, length={length}: expected at least {POOL} filters of odd length")
        highest = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700, dtype=torch.float64))
        mel = torch.linspace(0, 1, count + 1, dtype=torch.float64) * highest
        edge = 2 * 700 * (10 ** (mel / 2595) - 1) / RATE  # as a fraction of half the sampling rate, [count + 1]
        at = torch.arange(length, dtype=torch.float64) - length // 2
        low_pass = edge[:, None] * torch.sinc(edge[:, None] * at)
        window = torch.hamming_window(length, periodic=False, dtype=torch.float64)
        self.register_buffer("filters", (low_pass.diff(dim=0) * window).float()[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter waveforms [B, S] -> [B, count, S - length + 1]."""
        return conv1d(x.unsqueeze(1), self.filters.to(x.dtype))


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut on maps [B, C, frequency, time]; a pooling then divides the time by 3.

    Args:
        inside: number of input channels.
        outside: number of output channels.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, (2, 3), padding=(1, 1))
        self.norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, (2, 3), padding=(0, 1))
        self.shortcut = nn.Conv2d(inside, outside, (1, 3), padding=(0, 1)) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps [B, outside, frequency, time / 3] of maps [B, inside, frequency, time]."""
        return max_pool2d(whole(self.second(selu(self.norm(self.first(x)))) + self.shortcut(x)), (1, POOL))


def whole(x: Tensor) -> Tensor:
    """Return maps [..., time] without the last steps that are no whole window of a pooling, which ignores them.

    The time of an exported network is an expression of the input's length. With this, it is a single division after
    all seven poolings; without it, an export takes minutes.
    """
    return x.narrow(-1, 0, x.shape[-1] // POOL * POOL)


class Readout(NamedTuple):
    """The two graphs, [B, N, D] and [B, M, D], and the stack node [B, 1, D] at the end of a path."""

    temporal: Tensor
    spectral: Tensor
    stack: Tensor


class StackPath(nn.Module):
    """One of the two parallel paths: two layers of attention over both graphs, and a pooling between them.

    Args:
        inside: number of features of a node.
        outside: number of features of a node after the path.
        kept: share of the nodes that the pooling keeps.
        temperature: see `StackAttention`.
    """

    def __init__(self, inside: int, outside: int, kept: float, temperature: float) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(1, 1, inside))
        self.first = StackAttention(inside, outside, temperature)
        self.second = StackAttention(outside, outside, temperature)
        self.pool_temporal, self.pool_spectral = GraphPool(outside, kept), GraphPool(outside, kept)
        self.dropout = nn.Dropout(PATH_DROPOUT)

    def forward(self, temporal: Tensor, spectral: Tensor) -> Readout:
        """Return what is read of graphs [B, N, inside] and [B, M, inside]."""
        temporal, spectral, stack = self.first(temporal, spectral, self.stack)
        temporal, spectral = self.pool_temporal(temporal), self.pool_spectral(spectral)
        found = self.second(temporal, spectral, stack)
        sums = zip((temporal, spectral, stack), found, strict=True)
        return Readout(*(self.dropout(before + after) for before, after in sums))


class Aasist(nn.Module):
    """Classify a recording; the defaults are the sizes of AASIST-L, with 84,000 parameters.

    AASIST itself, with 297,000 parameters, has channels=(32, 32, 64, 64), widths=(64, 32) and kept=(0.5, 0.7, 0.5).

    Args:
        filters: number of band-pass filters.
        length: number of taps of a filter.
        channels: channels after the first four residual blocks; the fifth and the sixth have as many as the fourth.
        widths: numbers of features of a node in the two separate graphs, and in the joint ones.
        kept: shares of the nodes that are kept by the poolings of the spectral, the temporal and the joint graphs.
        temperatures: of the attention in the separate graphs, and in the joint ones.
        dropout: dropout probability before the last linear layer, 0 to 1.
        pre_emphasis: whether the high frequencies of each waveform are raised, and its variance is then set to 1. The
            authors' weights are for waveforms as they are.
        weights: path to the authors' `.pth` file for these sizes; None for random weights.
    """

    def __init__(
        self,
        filters: int = 70,
        length: int = 129,
        channels: Sequence[int] = (32, 32, 24, 24),
        widths: Sequence[int] = (24, 32),
        kept: Sequence[float] = (0.4, 0.5, 0.7),
        temperatures: Sequence[float] = (2.0, 100.0),
        dropout: float = 0.5,
        pre_emphasis: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        _check(channels, widths, kept, temperatures)
        alone, joint = widths
        self.shortest = length - 1 + POOL**7  # samples: shorter recordings leave nothing to the last pooling
        self.pre_emphasis = pre_emphasis
        self.filters, self.norm = SincFilters(filters, length), nn.BatchNorm2d(1)
        sizes = [1, *channels, channels[-1], channels[-1]]
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(sizes)))
        self.positions = nn.Parameter(torch.randn(1, filters // POOL, channels[-1]))
        self.spectral = GraphAttention(channels[-1], alone, temperatures[0])
        self.temporal = GraphAttention(channels[-1], alone, temperatures[0])
        self.pool_spectral, self.pool_temporal = GraphPool(alone, kept[0]), GraphPool(alone, kept[1])
        self.paths = nn.ModuleList(StackPath(alone, joint, kept[2], temperatures[1]) for _ in range(2))
        self.num_features = 5 * joint
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.num_features, 1))
        if weights is not None:
            load_state(self, _renamed(read_state_dict(weights, SOURCE), weights), weights)

    @classmethod
    def from_authors(
        cls,
        path: str | Path,
        channels: Sequence[int] = (32, 32, 24, 24),
        widths: Sequence[int] = (24, 32),
        kept: Sequence[float] = (0.4, 0.5, 0.7),
    ) -> Self:
        """Build the network with the authors' weights.

        Args:
            path: the authors' `.pth` file; `AASIST-L.pth` fits the default sizes.
            channels: see the constructor.
            widths: see the constructor.
            kept: see the constructor.

        Raises:
            WeightsNotFound: there is no file at `path`.
            ValueError: the file holds no weights of a network of these sizes.
        """
        return cls(channels=channels, widths=widths, kept=kept, weights=str(path))

    def encode(self, x: Tensor) -> Tensor:
        """Return the features [B, num_features] of waveforms x [B, S] in [-1, 1], 16 kHz.

        The authors use 64,600 samples (about 4 s); the network accepts any S of at least 2,315.
        """
        expect_waves(x, self.shortest)
        if self.pre_emphasis:
            x = emphasise(x)
            x = x / (x.std(dim=1, keepdim=True) + SILENCE)
        bands = max_pool2d(whole(self.filters(x).abs().unsqueeze(1)), POOL)
        maps = self.blocks(selu(self.norm(bands))).abs()  # [B, C, frequency, time]
        spectral = self.pool_spectral(self.spectral(maps.amax(3).transpose(1, 2) + self.positions))
        temporal = self.pool_temporal(self.temporal(maps.amax(2).transpose(1, 2)))
        first, second = (path(temporal, spectral) for path in self.paths)
        nodes = Readout(*(torch.maximum(a, b) for a, b in zip(first, second, strict=True)))
        parts = [part for graph in nodes[:2] for part in (graph.abs().amax(1), graph.mean(1))]
        return torch.cat([*parts, nodes.stack.squeeze(1)], dim=1)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, num_features]; positive means fake."""
        logit: Tensor = self.classifier(features)
        return logit.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of waveforms x [B, S] in [-1, 1], 16 kHz; positive means fake."""
        return self.head(self.encode(x))


def _check(
    channels: Sequence[int], widths: Sequence[int], kept: Sequence[float], temperatures: Sequence[float]
) -> None:
    for name, given, count in (("channels", channels, 4), ("widths", widths, 2), ("temperatures", temperatures, 2)):
        if len(given) != count or min(given) <= 0:
            raise ValueError(f"{name}={list(given)}: expected {count} numbers above 0")
    if len(kept) != 3 or not all(0 < share <= 1 for share in kept):
        raise ValueError(f"kept={list(kept)}: expected 3 fractions above 0 and at most 1")


# The authors' names of layers and of tensors within a layer, and ours. The layers come first in a name.
LAYERS = {
    "pos_S": "positions", "first_bn": "norm", "GAT_layer_S": "spectral", "GAT_layer_T": "temporal",
    "pool_S": "pool_spectral", "pool_T": "pool_temporal", "master1": "paths.0.stack", "master2": "paths.1.stack",
    "HtrgGAT_layer_ST11": "paths.0.first", "HtrgGAT_layer_ST12": "paths.0.second",
    "HtrgGAT_layer_ST21": "paths.1.first", "HtrgGAT_layer_ST22": "paths.1.second",
    "pool_hS1": "paths.0.pool_spectral", "pool_hT1": "paths.0.pool_temporal",
    "pool_hS2": "paths.1.pool_spectral", "pool_hT2": "paths.1.pool_temporal",
}  # fmt: skip
INNER = {
    "conv1": "first", "bn2": "norm", "conv2": "second", "conv_downsample": "shortcut", "bn": "norm", "proj": "score",
    "att_proj": "pair", "att_weight": "score", "proj_with_att": "neighbours", "proj_without_att": "own",
    "att_projM": "stack_pair", "proj_with_attM": "stack_neighbours", "proj_without_attM": "stack_own",
    "att_weight11": "score_temporal", "att_weight22": "score_spectral", "att_weight12": "score_mixed",
    "att_weightM": "score_stack", "proj_type1": "temporal", "proj_type2": "spectral",
}  # fmt: skip


def _renamed(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Return the authors' tensors under our names, with one logit instead of two.

    The first batch norm of each residual block is left out, because the authors' network does not use its output.

    Raises:
        ValueError: there is no output layer of two logits.
    """
    found = {}
    for name, value in state.items():
        layer, *rest = name.split(".")
        if layer == "encoder":  # encoder.NUMBER.0.LAYER.TENSOR
            layer, rest = f"blocks.{rest[0]}", rest[2:]
        inner = [INNER.get(part, part) for part in rest]
        found[".".join([LAYERS.get(layer, layer), *inner])] = value
    weight, bias = found.get("out_layer.weight"), found.get("out_layer.bias")
    if weight is None or bias is None or len(weight) != 2 or len(bias) != 2:
        raise ValueError(f"{origin} does not hold the weights of AASIST; get them from {SOURCE}")
    return found | {"classifier.1.weight": weight[:1] - weight[1:], "classifier.1.bias": bias[:1] - bias[1:]}
