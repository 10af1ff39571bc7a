"""Whether a mouth moves in time with a voice: embeddings of both at each frame, and the distance between them.

After "Out of Time: Automated Lip Sync in the Wild", Chung and Zisserman 2016, whose network embeds 0.2 s of mouth and
sound, and "Perfect Match", Chung et al. 2018 (arXiv:1809.08001), which trains the embeddings to find the matching time
among others. The training loss is `unmask.training.contrast.SyncContrast`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, normalize

SPAN = 5  # number of frames (and of steps of the sound) that an embedding sees


class AvSync(nn.Module):
    """Score how far apart the embeddings of mouth and sound are, averaged over the frames of a clip.

    Args:
        picture: a callable with the argument `channels` that builds the encoder of frames, [N, 3, H, W] in [0, 1] ->
            [N, num_features].
        sound: the encoder of sound, waveforms [B, S] -> features over time [B, T, num_features].
        width: number of features of an embedding.
        mouth: the part of the crop that is used: top, bottom, left and right, as fractions of its sides. The default is
            the lower part of an aligned face.
    """

    inputs = ("x", "sound")

    def __init__(
        self,
        picture: Callable[..., nn.Module],
        sound: nn.Module,
        width: int = 64,
        mouth: Sequence[float] = (0.5, 1.0, 0.2, 0.8),
    ) -> None:
        super().__init__()
        if len(mouth) != 4 or not (0 <= mouth[0] < mouth[1] <= 1 and 0 <= mouth[2] < mouth[3] <= 1):
            raise ValueError(f"mouth={list(mouth)}: expected [top, bottom, left, right] as fractions from 0 to 1")
        self.mouth, self.width = tuple(mouth), width
        self.picture, self.sound = picture(channels=3), sound
        self.embed_picture, self.embed_sound = (_embedding(part, width) for part in (self.picture, self.sound))
        self.scale, self.centre = nn.Parameter(torch.tensor(4.0)), nn.Parameter(torch.tensor(0.7))

    def encode(self, x: Tensor, sound: Tensor) -> Tensor:
        """Return the embeddings of mouth and sound, each of length 1, one after the other: [B, T, 2 width].

        Args:
            x: RGB clips [B, T, 3, H, W] in [0, 1], of at least two frames.
            sound: waveforms [B, S] in [-1, 1], 16 kHz, from the start to the end of the clips.
        """
        if x.ndim != 5 or x.shape[1] < 2:
            raise ValueError(
                f"expected clips [B, T, 3, H, W], but got {list(x.shape)}; set frames, for example frames=16"
            )
        frames = self.picture(self._mouths(x).flatten(0, 1)).view(*x.shape[:2], -1)
        heard = adaptive_avg_pool1d(self.sound(sound).transpose(1, 2), x.shape[1])  # [B, F, T]
        parts = (self.embed_picture(frames.transpose(1, 2)), self.embed_sound(heard))
        return torch.cat([normalize(part.float(), dim=1) for part in parts], dim=1).transpose(1, 2)

    def head(self, features: Tensor) -> Tensor:
        """Return the logits [B] of embeddings [B, T, 2 width]; they rise with the mean cosine distance."""
        logit: Tensor = self.scale * (distances(features).mean(1) - self.centre)
        return logit

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """Return the logits [B] of clips; positive means that mouth and sound do not belong together."""
        return self.head(self.encode(x, sound))

    def _mouths(self, x: Tensor) -> Tensor:
        """Cut the mouths out of clips [B, T, 3, H, W] -> [B, T, 3, h, w]."""
        height, width = x.shape[-2:]
        top, bottom, left, right = self.mouth
        return x[..., round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


def distances(features: Tensor) -> Tensor:
    """Return the cosine distances, 0 to 2, between the two halves of embeddings [B, T, 2 width] -> [B, T]."""
    picture, sound = features.chunk(2, dim=2)
    return 1 - (picture * sound).sum(2)


def _embedding(encoder: nn.Module, width: int) -> nn.Sequential:
    """Return layers that map features over time [B, F, T] to embeddings [B, width, T]."""
    inside: int = encoder.num_features  # type: ignore[assignment]
    return nn.Sequential(
        nn.Conv1d(inside, width, SPAN, padding=SPAN // 2), nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, width, 1)
    )
