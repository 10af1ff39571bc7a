"""Render a picture with one row per sample of a generator: the sample, then its nearest training images."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmask.training.samples import grid, pixels

SHOWN, NEIGHBOURS = 6, 5  # maximum numbers of rows and of training images per row
TILE, LETTER = 96, 12  # px: minimum side of an image, and font size


def poster(rows: Sequence[tuple[Tensor, Tensor, list[float]]], words: Sequence[str]) -> NDArray[np.uint8]:
    """Render `words` above rows of images; a row is (sample [1, 3, S, S], neighbours [K, 3, S, S], K distances)."""
    tiles = []
    for sample, neighbours, distances in rows:
        labels = ["sample", *(f"{value:.4g}" for value in distances)]
        shown = [_tile(x, label) for x, label in zip(pixels(torch.cat([sample, neighbours])), labels, strict=True)]
        tiles += shown + [torch.zeros_like(shown[0])] * (1 + NEIGHBOURS - len(shown))
    tiles += [torch.zeros_like(tiles[0])] * (SHOWN * (1 + NEIGHBOURS) - len(tiles))
    canvas = grid(torch.stack(tiles))
    head = Image.new("RGB", (canvas.shape[1], 4 + len(words) * (LETTER + 4)), "white")
    for at, line in enumerate(words):
        _write(head, (4, 2 + at * (LETTER + 4)), line)
    return np.concatenate([np.asarray(head), canvas])


def _tile(picture: NDArray[np.uint8], label: str) -> Tensor:
    """Render an image [S, S, 3] above a label -> [3, H, W] in [0, 1]; small images are enlarged."""
    side = max(TILE, picture.shape[0])
    canvas = Image.new("RGB", (side, side + LETTER + 6), "white")
    canvas.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST))
    _write(canvas, (4, side + 1), label)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1) / 255


def _write(canvas: Image.Image, at: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(canvas).text(at, text, fill="black", font=ImageFont.load_default(LETTER))
