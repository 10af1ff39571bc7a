"""Classify crops of a frame at their native resolution, because resizing a frame removes fine traces of a forgery."""

import torch
from torch import Tensor, nn

from unmask.networks.layout import expect_frames


class MultiCrop(nn.Module):
    """In training, classify one random crop per frame; otherwise, combine the logits of a regular grid of crops.

    Set `image_size` to the size of the stored frames, so that they are not resized before they are cropped.

    Args:
        network: maps frames [B, 3, size, size] to logits [B].
        size: side of a crop, px.
        grid: number of crops per side. The crops overlap or leave gaps, as needed to reach all corners of the frame.
        top: the frame's logit is the mean of the `top` highest logits of its crops; None uses the mean of all crops. A
            low value suits forgeries that edit only a small region.

    Raises:
        ValueError: an argument is out of range or, in `forward`, a frame is smaller than a crop.
    """

    def __init__(self, network: nn.Module, size: int = 128, grid: int = 3, top: int | None = None) -> None:
        super().__init__()
        if size < 1 or grid < 1:
            raise ValueError(f"size={size}, grid={grid}: expected whole numbers above 0")
        if top is not None and not 1 <= top <= grid**2:
            raise ValueError(f"top={top}: expected 1 to {grid**2}, the number of crops, or null")
        self.network, self.size, self.grid, self.top = network, size, grid, top

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of RGB frames x [B, 3, H, W] in [0, 1]; positive means fake."""
        expect_frames(x)
        room = x.shape[2] - self.size, x.shape[3] - self.size
        if min(room) < 0:
            raise ValueError(
                f"frames of {x.shape[3]}x{x.shape[2]} px are smaller than crops of {self.size} px: increase "
                "image_size, or decrease module.network.size"
            )
        if self.training:
            logit: Tensor = self.network(torch.stack([self._draw(one, room) for one in x]))
            return logit
        rows, columns = (torch.linspace(0, extent, self.grid).round().long().tolist() for extent in room)
        crops = [x[..., top : top + self.size, left : left + self.size] for top in rows for left in columns]
        logits: Tensor = self.network(torch.cat(crops)).unflatten(0, (len(crops), -1))  # [crops, B]
        return (logits if self.top is None else logits.topk(self.top, dim=0).values).mean(0)

    def on_whole_frames(self) -> nn.Module:
        """Return the network that classifies crops; for heat maps, it is applied to whole frames."""
        return self.network

    def _draw(self, frame: Tensor, room: tuple[int, int]) -> Tensor:
        """Return a random crop [3, size, size] of a frame [3, H, W]."""
        top, left = (int(torch.randint(extent + 1, ())) for extent in room)
        return frame[:, top : top + self.size, left : left + self.size]
