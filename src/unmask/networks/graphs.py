"""Graph layers of AASIST: attention over the nodes of one graph or of two different graphs, and pooling of nodes.

After "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", Jung et al. 2021
(arXiv:2110.01200, sections 2.2 and 3). A graph is a tensor [B, N, D] of N nodes with D features. Every node is
connected to all nodes, itself included. The attention between two nodes is computed from the element-wise product of
their features, so it is symmetric before the softmax.
"""

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import selu

NODE_DROPOUT = 0.2  # dropout probability of the nodes' features before attention, as published
DENOMINATOR = 1_000  # largest denominator of the share of nodes that a pooling keeps; other shares are rounded
POOL_DROPOUT = 0.3  # dropout probability of the features from which a pooling layer scores the nodes


class GraphAttention(nn.Module):
    """Update all nodes of a graph with the attention-weighted mean of all nodes and with themselves.

    Args:
        inside: number of features D of a node.
        outside: number of features of an updated node.
        temperature: the attention logits are divided by this number before the softmax.
    """

    def __init__(self, inside: int, outside: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.pair = nn.Linear(inside, outside)
        self.score = _weight(outside)
        self.neighbours, self.own = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.norm = nn.BatchNorm1d(outside)
        self.dropout = nn.Dropout(NODE_DROPOUT)

    def forward(self, nodes: Tensor) -> Tensor:
        """Update the nodes [B, N, D] -> [B, N, outside]."""
        nodes = self.dropout(nodes)
        logit = torch.tanh(self.pair(_products(nodes))) @ self.score  # [B, N, N, 1]
        weight = (logit.squeeze(-1) / self.temperature).softmax(-1)
        return _activated(self.neighbours(weight @ nodes) + self.own(nodes), self.norm)


class StackAttention(nn.Module):
    """Update the nodes of a temporal and a spectral graph jointly, and a stack node that collects from all of them.

    The heterogeneous stacking graph attention layer of the paper: the two graphs are first projected to one space; the
    attention between nodes has own weights for temporal, spectral and mixed pairs. The stack node receives from all
    nodes, but no node receives from it.

    Args:
        inside: number of features of a node and of the stack node.
        outside: number of features after the update.
        temperature: the attention logits are divided by this number before the softmax.
    """

    def __init__(self, inside: int, outside: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.temporal, self.spectral = nn.Linear(inside, inside), nn.Linear(inside, inside)
        self.pair, self.stack_pair = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.score_temporal, self.score_spectral = _weight(outside), _weight(outside)
        self.score_mixed, self.score_stack = _weight(outside), _weight(outside)
        self.neighbours, self.own = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.stack_neighbours, self.stack_own = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.norm = nn.BatchNorm1d(outside)
        self.dropout = nn.Dropout(NODE_DROPOUT)

    def forward(self, temporal: Tensor, spectral: Tensor, stack: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update both graphs and the stack node.

        Args:
            temporal: [B, N, inside].
            spectral: [B, M, inside].
            stack: the stack node [B, 1, inside].

        Returns:
            The same three, with `outside` features.
        """
        count = temporal.shape[1]
        nodes = self.dropout(torch.cat([self.temporal(temporal), self.spectral(spectral)], dim=1))
        weight = (self._logits(nodes, count) / self.temperature).softmax(-1)
        from_all = torch.tanh(self.stack_pair(nodes * stack)) @ self.score_stack  # [B, N + M, 1]
        from_all = (from_all / self.temperature).softmax(1)
        stack = self.stack_neighbours(from_all.transpose(1, 2) @ nodes) + self.stack_own(stack)
        nodes = _activated(self.neighbours(weight @ nodes) + self.own(nodes), self.norm)
        return nodes[:, :count], nodes[:, count:], stack

    def _logits(self, nodes: Tensor, count: int) -> Tensor:
        """Return the attention logits [B, N + M, N + M] of all pairs; the first `count` nodes are temporal."""
        above, below = torch.tanh(self.pair(_products(nodes))).tensor_split([count], dim=1)
        first = [above[:, :, :count] @ self.score_temporal, above[:, :, count:] @ self.score_mixed]
        second = [below[:, :, :count] @ self.score_mixed, below[:, :, count:] @ self.score_spectral]
        return torch.cat([torch.cat(first, dim=2), torch.cat(second, dim=2)], dim=1).squeeze(-1)


class GraphPool(nn.Module):
    """Keep the nodes of a graph with the highest scores, multiplied by their scores.

    Args:
        features: number of features of a node.
        kept: share of the nodes that are kept, rounded down, but at least one node.
    """

    def __init__(self, features: int, kept: float) -> None:
        super().__init__()
        # A ratio of integers, so that an exported network computes the same count, and for graphs of any size: an
        # exporter replaces int(N * kept) by a constant.
        self.kept = Fraction(kept).limit_denominator(DENOMINATOR)
        self.score = nn.Linear(features, 1)
        self.dropout = nn.Dropout(POOL_DROPOUT)

    def forward(self, nodes: Tensor) -> Tensor:
        """Return the kept nodes [B, K, D] of a graph [B, N, D], the highest score first."""
        score = self.score(self.dropout(nodes)).sigmoid()  # [B, N, 1]
        count = max(1, nodes.shape[1] * self.kept.numerator // self.kept.denominator)
        best = score.topk(count, dim=1).indices.expand(-1, -1, nodes.shape[2])
        kept: Tensor = (nodes * score).gather(1, best)
        return kept


def _weight(features: int) -> nn.Parameter:
    """Return the initial weights [features, 1] that reduce a pair's features to one attention logit."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(features, 1)))


def _products(nodes: Tensor) -> Tensor:
    """Return the element-wise products of the features of all pairs of nodes: [B, N, D] -> [B, N, N, D]."""
    return nodes.unsqueeze(2) * nodes.unsqueeze(1)


def _activated(nodes: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Apply batch norm over all nodes of the batch, and a SELU, to nodes [B, N, D]."""
    return selu(norm(nodes.flatten(0, 1)).view_as(nodes))
