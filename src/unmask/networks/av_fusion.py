"""A detector of forged clips with sound: an encoder of the pictures and one of the sound, fused late or in the middle.

Late fusion adds the logits of two separate detectors with learned weights. Middle fusion joins the features of both at
each frame, so that it can also compare what is seen with what is heard. Either branch can be used alone: as a network
of its own (`branches`), or of a trained network by leaving out an input.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from unmask.networks.layout import classifier
from unmask.networks.wav2vec2 import pooled

FUSIONS = ("late", "middle")
INPUTS = {"picture": "x", "sound": "sound"}  # branches, and the entries of a batch that they take


class AvFusion(nn.Module):
    """Classify clips with sound; see the head of this file.

    Args:
        picture: a callable with the argument `channels` that builds the encoder of frames, [N, 3, H, W] in [0, 1] ->
            [N, num_features].
        sound: the encoder of sound, waveforms [B, S] -> features over time [B, T, num_features].
        fusion: `late` or `middle`.
        branches: `picture`, `sound` or both; a branch that is left out is not built.
        width: number of features per branch and frame, and of the recurrent layer.
        dropout: dropout probability before the last linear layers, 0 to 1.
        alone: share of the training samples for which one branch, drawn at random, is left out, so that the trained
            network also works with the other one alone; 0 for none.
    """

    def __init__(
        self,
        picture: Callable[..., nn.Module],
        sound: nn.Module,
        fusion: str = "middle",
        branches: Sequence[str] = tuple(INPUTS),
        width: int = 64,
        dropout: float = 0.2,
        alone: float = 0.2,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion={fusion}: expected one of {', '.join(FUSIONS)}")
        if not branches or not set(branches) <= set(INPUTS):
            raise ValueError(f"branches={list(branches)}: expected picture, sound or both")
        if not 0 <= alone < 1:
            raise ValueError(f"alone={alone}: expected a share from 0 to below 1")
        self.names = [name for name in INPUTS if name in branches]
        self.inputs = tuple(INPUTS[name] for name in self.names)
        self.alone = alone
        encoders = {"picture": lambda: picture(channels=3), "sound": lambda: sound}
        self.encoders = nn.ModuleDict({name: encoders[name]() for name in self.names})
        self.narrow = nn.ModuleDict({name: _narrow(self.encoders[name], width) for name in self.names})
        both = len(self.names) == 2
        self.joint = both and fusion == "middle"
        heads = 1 if self.joint else len(self.names)
        self.heads = nn.ModuleList(Head((2 if self.joint else 1) * width, width, dropout) for _ in range(heads))
        self.absent = nn.Parameter(torch.zeros(2, width)) if self.joint else None  # instead of a missing branch
        self.weights = nn.Parameter(torch.full((2,), 0.5)) if both and not self.joint else None

    def forward(self, x: Tensor | None = None, sound: Tensor | None = None) -> Tensor:
        """Return the logits [B] of clips; positive means fake.

        Args:
            x: RGB clips [B, T, 3, H, W] in [0, 1]; None uses the sound alone.
            sound: waveforms [B, S] in [-1, 1], 16 kHz, from the start to the end of the clips; None uses the pictures
                alone.
        """
        given = {"picture": x, "sound": sound}
        found = [self._features(name, given[name]) for name in self.names]
        known = [one for one in found if one is not None]
        if not known:
            raise ValueError(f"AvFusion expected {' or '.join(self.inputs)}, but got none of them")
        there = self._there([one is not None for one in found], known[0])  # [B, branches]
        if self.absent is None:
            return self._late(found, there)
        frames = known[0].shape[1] if x is None else x.shape[1]
        return self._middle(found, there, frames, self.absent)

    def _features(self, name: str, given: Tensor | None) -> Tensor | None:
        """Return the features of a branch over time [B, T, width]; None without its input."""
        if given is None:
            return None
        if name == "sound":
            found = self.encoders[name](given)
        elif given.ndim != 5:
            raise ValueError(
                f"expected clips [B, T, 3, H, W], but got {list(given.shape)}; set frames, for example frames=16"
            )
        else:
            found = self.encoders[name](given.flatten(0, 1)).view(*given.shape[:2], -1)
        narrow: Tensor = self.narrow[name](found)
        return narrow

    def _there(self, given: list[bool], like: Tensor) -> Tensor:
        """Return which branches are used for which samples, bool [B, branches]; in training, some are left out."""
        there = torch.tensor(given, device=like.device).expand(len(like), -1)
        if not (self.training and self.alone and len(given) > 1 and all(given)):
            return there
        draws = torch.rand(2, len(like), device=like.device)
        kept = nn.functional.one_hot((draws[1] < 0.5).long(), 2).bool()
        return torch.where((draws[0] < self.alone)[:, None], kept, there)

    def _late(self, found: list[Tensor | None], there: Tensor) -> Tensor:
        """Return the sum of the branches' logits, or the logit of the only branch that is used -> [B]."""
        zero = torch.zeros(len(there), device=there.device)
        pairs = zip(found, self.heads, strict=True)
        logits = torch.stack([zero if one is None else head(one) for one, head in pairs], dim=1)
        only = (logits * there).sum(1)
        return only if self.weights is None else torch.where(there.all(1), (logits * self.weights).sum(1), only)

    def _middle(self, found: list[Tensor | None], there: Tensor, frames: int, absent: Tensor) -> Tensor:
        """Return the logits [B] of the features of both branches, joined at each of `frames` points in time."""
        parts = []
        for at, one in enumerate(found):
            nothing = absent[at].expand(len(there), frames, -1)
            timed = nothing if one is None else adaptive_avg_pool1d(one.transpose(1, 2), frames).transpose(1, 2)
            parts.append(torch.where(there[:, at, None, None], timed, nothing.to(timed.dtype)))
        logit: Tensor = self.heads[0](torch.cat(parts, dim=2))
        return logit


class Head(nn.Module):
    """Classify features over time with a bidirectional GRU and attention pooling.

    Args:
        inside: number of features.
        width: hidden size of each direction.
        dropout: dropout probability before the linear layer, 0 to 1.
    """

    def __init__(self, inside: int, width: int, dropout: float) -> None:
        super().__init__()
        self.recurrent = nn.GRU(inside, width, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * width, 1)
        self.classifier = classifier(4 * width, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits [B] of features [B, T, inside]."""
        outputs, _ = self.recurrent(features.float())
        logit: Tensor = self.classifier(pooled(outputs, self.attention))
        return logit.squeeze(1)


def _narrow(encoder: nn.Module, width: int) -> nn.Module:
    inside: int = encoder.num_features  # type: ignore[assignment]
    return nn.Sequential(nn.Linear(inside, width), nn.LayerNorm(width), nn.ReLU())
