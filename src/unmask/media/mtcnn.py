"""MTCNN (arXiv:1604.02878) without PyTorch: NumPy around its three networks, which onnxruntime runs.

The boxes equal those of facenet-pytorch within a pixel. The steps are those of the paper: a pyramid of scales, a
network that proposes boxes at every position of each scale, and two networks that reject and correct the proposals.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.media.find import Faces
from unmask.media.kinds import Frames

Array = NDArray[np.float32]
Network = Callable[[Array], Sequence[Array]]  # x [B, 3, H, W] -> outputs

FOLDER = "mtcnn"  # name of the folder with the networks, next to the models that use them
FILES = ("pnet.onnx", "rnet.onnx", "onet.onnx")
SMALLEST, FACTOR = 20, 0.709  # smallest face, px; ratio of one scale of the pyramid to the previous one
CUTS = (0.6, 0.7, 0.7)  # minimum probability after each network
CELL, STRIDE = 12, 2  # field of view of the first network and the distance of its positions, px
SIDES = (24, 48)  # sides of the inputs of the second and the third network, px
MANY = 512  # boxes per batch


class Mtcnn:
    """Detect faces in frames of equal size.

    Args:
        folder: the folder with the files `FILES`, as `unmask export` writes it.

    Raises:
        ValueError: a file is missing, or onnxruntime is not installed.
    """

    smallest = SMALLEST

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise ValueError(
                f"{folder / missing[0]} is missing: a model finds faces with the networks in the folder {FOLDER} next "
                "to it. Copy this folder too, or export the run again"
            )
        self.propose, self.refine, self.output = (_network(folder / name) for name in FILES)

    def detect(self, frames: Frames) -> list[Faces]:
        """Return the faces in each of the frames, uint8 [N, H, W, 3]."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: NDArray[np.uint8]) -> Faces:
        # Sums of all pixels above and to the left, [H + 1, W + 1, 3].
        summed = np.asarray(cv2.integral(np.ascontiguousarray(frame)), np.int32)
        boxes = self._proposals(summed)
        boxes = self._refined(boxes, summed)
        return self._final(boxes, summed)

    def _proposals(self, summed: NDArray[np.int32]) -> Array:
        """Return square boxes [n, 4] that may contain a face."""
        height, width = summed.shape[0] - 1, summed.shape[1] - 1
        found = [np.zeros((0, 9), np.float32)]
        for scale in _scales(height, width):
            size = int(height * scale + 1), int(width * scale + 1)
            reg, prob = self.propose(_input(_area(summed, (0, 0, width, height), size)[None]))
            rows, columns = np.nonzero(prob[0, 1] >= CUTS[0])
            corner = np.stack([columns, rows], 1).astype(np.float32) * STRIDE
            first, last = np.floor((corner + 1) / np.float32(scale)), np.floor((corner + CELL) / np.float32(scale))
            score = prob[0, 1, rows, columns][:, None]
            one = np.concatenate([first, last, score, reg[0][:, rows, columns].T], 1).astype(np.float32)
            found.append(one[suppress(one[:, :4], one[:, 4], 0.5)])
        boxes = np.concatenate(found)
        boxes = boxes[suppress(boxes[:, :4], boxes[:, 4], 0.7)]
        sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
        return _square(boxes[:, :4] + boxes[:, 5:] * sides)

    def _refined(self, boxes: Array, summed: NDArray[np.int32]) -> Array:
        """Reject boxes with the second network, and correct the others -> square boxes [n, 4]."""
        if not len(boxes):
            return boxes
        boxes, (reg, prob) = _seen(self.refine, boxes, summed, SIDES[0])
        sure = prob[:, 1] > CUTS[1]
        boxes, reg, score = boxes[sure], reg[sure], prob[sure, 1]
        kept = suppress(boxes, score, 0.7)
        return _square(_corrected(boxes[kept], reg[kept]))

    def _final(self, boxes: Array, summed: NDArray[np.int32]) -> Faces:
        """Reject and correct boxes with the third network, and find the landmarks."""
        if not len(boxes):
            return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
        boxes, (reg, points, prob) = _seen(self.output, boxes, summed, SIDES[1])
        sure = prob[:, 1] > CUTS[2]
        boxes, reg, score = boxes[sure], reg[sure], prob[sure, 1]
        size = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        landmarks = points[sure].reshape(-1, 2, 5).transpose(0, 2, 1) * size + boxes[:, None, :2] - 1
        boxes = _corrected(boxes, reg)
        kept = suppress_inside(boxes, score, 0.7)
        boxes, score, landmarks = boxes[kept], score[kept], landmarks[kept]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        order = np.argsort(area)[::-1]
        return Faces(boxes[order], score[order], landmarks[order])


def _network(path: Path) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"an ONNX file needs onnxruntime: pip install onnxruntime ({error})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Array) -> list[Array]:
        return [np.asarray(one, np.float32) for one in session.run(None, {name: x})]

    return run


def _scales(height: int, width: int) -> list[float]:
    """Return the scales of the pyramid: at the first one, the smallest face fills the first network's view."""
    scale, scales = CELL / SMALLEST, list[float]()
    side = min(height, width) * scale
    while side >= CELL:
        scales.append(scale)
        scale, side = scale * FACTOR, side * FACTOR
    return scales


def _input(pixels: NDArray[np.float64]) -> Array:
    """Convert pixels [B, H, W, 3] in [0, 255] to the input of the networks [B, 3, H, W], about -1 to 1."""
    scaled = (pixels.astype(np.float32) - np.float32(127.5)) * np.float32(0.0078125)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _area(summed: NDArray[np.int32], box: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize a part of a picture by averaging over areas whose borders are whole pixels -> [height, width, 3].

    Args:
        summed: the integral image.
        box: left, top, right, bottom of the part, px.
        size: height and width of the result.
    """
    left, top, right, bottom = box
    y0, y1 = _borders(top, bottom, size[0])
    x0, x1 = _borders(left, right, size[1])
    total = summed[np.ix_(y1, x1)] - summed[np.ix_(y0, x1)] - summed[np.ix_(y1, x0)] + summed[np.ix_(y0, x0)]
    return np.asarray(total / ((y1 - y0)[:, None] * (x1 - x0)[None])[..., None])


def _borders(first: int, last: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide [first, last) into `count` ranges, which may overlap by a pixel; return their starts and ends."""
    at, length = np.arange(count), last - first
    return first + at * length // count, first + -(-(at + 1) * length // count)


def _seen(network: Network, boxes: Array, summed: NDArray[np.int32], side: int) -> tuple[Array, list[Array]]:
    """Show boxes to a network; return the boxes that are not empty within the picture, and the outputs for them."""
    height, width = summed.shape[0] - 1, summed.shape[1] - 1
    whole = np.trunc(boxes).astype(np.int64)
    corner, end = np.maximum(whole[:, :2], 1) - 1, np.minimum(whole[:, 2:], (width, height))
    inside = (end > corner).all(1)
    parts = [tuple(map(int, (*one, *other))) for one, other in zip(corner[inside], end[inside], strict=True)]
    outputs = list[list[Array]]()
    for start in range(0, len(parts), MANY):
        some = [_area(summed, part, (side, side)) for part in parts[start : start + MANY]]  # type: ignore[arg-type]
        outputs.append(list(network(_input(np.stack(some)))))
    return boxes[inside], [np.concatenate(one) for one in zip(*outputs, strict=True)]


def _corrected(boxes: Array, reg: Array) -> Array:
    """Move the borders of boxes by shares of their sizes, both [n, 4]."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return np.asarray(boxes + reg * size, np.float32)


def _square(boxes: Array) -> Array:
    """Enlarge boxes to squares with the same centres."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdims=True) if len(boxes) else size[:, :1]
    corner = boxes[:, :2] + size / 2 - side / 2
    return np.asarray(np.concatenate([corner, corner + side], 1), np.float32)


def suppress(boxes: Array, score: Array, most: float) -> NDArray[np.int64]:
    """Return the boxes to keep, the highest score first: of two whose IoU is above `most`, only the higher one.

    Of two boxes with equal scores, the first one is kept.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-score, kind="stable")
    return _greedy(boxes, order, most, lambda one, rest, inter: inter / (area[one] + area[rest] - inter), 0)


def suppress_inside(boxes: Array, score: Array, most: float) -> NDArray[np.int64]:
    """As `suppress`, but the intersection is divided by the smaller area, so that a box within another one is dropped.

    Here, a box includes the pixels on its right and lower border, and of two boxes with equal scores, the last one is
    kept. Probabilities near 1 are often equal in float32.
    """
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order = np.argsort(score, kind="stable")[::-1]
    return _greedy(boxes, order, most, lambda one, rest, inter: inter / np.minimum(area[one], area[rest]), 1)


def _greedy(
    boxes: Array,
    order: NDArray[np.int64],
    most: float,
    overlap: Callable[[int, NDArray[np.int64], Array], Array],
    border: int,
) -> NDArray[np.int64]:
    """Keep the first box in `order`, drop all boxes that overlap it by more than `most`, and so on."""
    kept = list[int]()
    while len(order):
        one, rest = int(order[0]), order[1:]
        kept.append(one)
        corner = np.maximum(boxes[one, :2], boxes[rest, :2])
        size = np.maximum(np.minimum(boxes[one, 2:], boxes[rest, 2:]) - corner + border, 0)
        order = rest[~(overlap(one, rest, size[:, 0] * size[:, 1]) > most)]
    return np.asarray(kept, np.int64)
