"""Similarity of images and captions in a shared space, as in CLIP (arXiv 2103.00020)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

COLDEST = math.log(100)  # limit of the learned `scale`, a logarithm, as in the paper


class Matcher(nn.Module):
    """Compare images with captions, to train a text encoder: it learns which words describe what is visible.

    Args:
        encoder: images [B, 3, S, S] in [0, 1] -> vectors [B, encoder.outputs].
        width: length of the vectors of the text encoder.
        temperature: initial temperature, by which the cosine similarities are divided; it is learned.
    """

    def __init__(self, encoder: nn.Module, width: int = 128, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"module.matcher.temperature={temperature}: expected a number above 0")
        self.encoder = encoder
        self.project = nn.Linear(width, int(encoder.outputs))  # type: ignore[arg-type]
        self.scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Return the similarity of each image to each caption [B, B]: their cosine, divided by the temperature.

        Args:
            x: images [B, 3, S, S] in [0, 1].
            words: vectors of the captions [B, words, width].
        """
        seen, read = self.encoder(x), self.project(words.mean(1))
        with torch.autocast(x.device.type, enabled=False):  # the steps of bfloat16 are too coarse for cosines near 1
            cosines = normalize(seen.float(), dim=1) @ normalize(read.float(), dim=1).T
        return cosines * self.scale.clamp(max=COLDEST).exp()
