"""Export the three networks of the face detector MTCNN; `media.mtcnn` runs them without PyTorch."""

from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from unmask.export.onnx import to_onnx
from unmask.files import replacing
from unmask.media.mtcnn import FILES, FOLDER

ABOUT = {"about": "MTCNN (arXiv:1604.02878)", "licence": "MIT (facenet-pytorch)"}


def export_faces(beside: Path) -> Path:
    """Write the face detector's networks to the folder `mtcnn` next to a model; return the folder."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    folder = beside.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for name, kind, side, outputs in (
        (FILES[0], PNet, 40, ["box", "prob"]),
        (FILES[1], RNet, 24, ["box", "prob"]),
        (FILES[2], ONet, 48, ["box", "landmarks", "prob"]),
    ):
        _export(kind().eval(), side, folder / name, outputs)
    return folder


def _export(network: nn.Module, side: int, out: Path, outputs: list[str]) -> None:
    """Export one network; only the first one, which scans whole pictures, takes any height and width."""
    free: dict[int, object] = {0: Dim.DYNAMIC}
    if out.name == FILES[0]:
        free |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with replacing(out) as part:
        to_onnx(network, (torch.zeros(2, 3, side, side + 2 * (2 in free)),), part, (["x"], outputs), (free,), ABOUT)
